"""Mutated files, bombs and odd entries: each is read or listed with its reason, and nothing else happens."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import hostile
import pandas as pd
import pytest

from ortholib.data import files

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
FILES = 2000


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("hostile") / "root"
    root.mkdir()
    for name, data in (*hostile.mutated(FILES), *hostile.bombs().items()):
        (root / name).write_bytes(data)
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    outside.write_bytes(hostile.sound(0)[".png"])
    hostile.odd_entries(root, outside)
    return root


@pytest.fixture(scope="module")
def manifest(folder) -> Path:
    """Every entry of the folder with a group and a label, also those that no template would list."""
    names = sorted(path.name for path in folder.iterdir())
    table = pd.DataFrame({"path": names, "group": [f"p{i // 3}" for i in range(len(names))]})
    table["abnormal"] = [i % 2 for i in range(len(names))]
    file = folder.parent / "manifest.csv"
    table.to_csv(file, index=False)
    return file


def state(root: Path) -> dict[str, tuple]:
    found = {}
    for path in sorted(root.rglob("*")):
        stat = path.lstat()
        plain = path.is_file() and not path.is_symlink()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if plain else ""
        found[str(path.relative_to(root))] = (digest, stat.st_mode, stat.st_mtime_ns, stat.st_size)
    return found


def command(*words) -> dict:
    """Run the command line in a process of its own: its JSON, after looking at its end, its words and its memory."""
    asked = [sys.executable, "-m", "ortholib.cli", *map(str, words), "--json"]
    process = subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, said = process.communicate()
    assert process.returncode == 0, (process.returncode, said[-2000:])
    assert "Traceback" not in said
    return json.loads(out)


def test_every_file_is_read_or_listed(folder, manifest):
    before = state(folder)
    words = [manifest, "--root", folder]
    checked = command("data", "check", *words)
    bad = checked["unreadable_files"]
    listed = {name for name in before if (folder / name).is_file() and not (folder / name).is_symlink()}
    noted = " ".join(checked["notes"])
    assert checked["images"] == checked["readable"] + checked["unreadable"] >= FILES
    assert all(bad.values())
    assert len(listed) == FILES + len(hostile.bombs())
    for name in ("link-out.png", "circle.png", "dangling.png", "folder.png", "pipe.png", "linked-folder"):
        assert name in bad or name in noted, name
    assert bad["bomb-size.png"].startswith("more than the") and "voxels" in bad["bomb.npy"] + bad["bomb.nii"]
    packed = command("data", "pack", *words, "--size", 32)
    assert packed["N"] == checked["readable"] and all(packed["failed"].values())
    audited = command("data", "audit", *words, "--label", "abnormal")
    assert audited["images"] == checked["images"] and audited["unreadable"] == checked["unreadable"]
    assert state(folder) == before


def test_memory_and_time_stay_within_bounds(folder):
    """Peak of one process that inspects and reads every plain file, the bombs included."""
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom ortholib.data import files\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    if path.is_file() and not path.is_symlink() and not files.inspect(path)[2]:\n"
        "        try:\n            files.read(path)\n"
        "        except files.UNREADABLE:\n            pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 2 * 2**20  # KiB


def test_another_thousand_never_escape(tmp_path):
    """Other seeds, in this process: whatever the bytes, `inspect` answers and `read` raises what it says it raises."""
    for seed in (1, 2):
        for name, data in hostile.mutated(500, seed):
            path = tmp_path / name
            path.write_bytes(data)
            width, height, reason = files.inspect(path)
            assert (width > 0 and height > 0) != bool(reason)
            if not reason:
                try:
                    assert files.read(path).ndim == 2 and files.frames(path) >= 1
                except files.UNREADABLE as error:
                    assert files.reason(error)
            os.unlink(path)
