"""The data root is never written to: neither a byte, a time, a permission, nor a file that comes and goes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from ortholib import cli
from ortholib.data import datasets, split, tasks


def command(*words) -> dict:
    result = CliRunner().invoke(cli.app, [*map(str, words), "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


@pytest.mark.parametrize(("by", "locked"), [("root", False), ("environment", True)])
def test_commands_leave_the_root_as_it_is(fracatlas, kneekl, tree, monkeypatch, by, locked):
    root = fracatlas.parent
    runs = root.parent / f"{root.name}-runs"  # a sibling: below `root` it would change what is compared
    monkeypatch.setenv("ORTHOLIB_RUNS", str(runs))
    monkeypatch.setenv("ORTHOLIB_DATA", str(root))
    (kneekl / "train" / "0" / "broken.jpg").write_bytes(b"")
    folders = [path for path in (root, *root.rglob("*")) if path.is_dir()]
    if locked:
        for path in root.rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        root.chmod(0o555)
    before = tree(root)
    try:
        for name, folder, label in (("fracatlas", fracatlas, "fractured"), ("kneekl", kneekl, "kl")):
            where = ["--root", folder] if by == "root" else []
            checked = command("data", "check", name, *where)
            packed = command("data", "pack", name, "--size", 16, *where)
            assert packed["N"] == checked["readable"] and packed["store"].startswith(str(runs))
            assert command("data", "pack", name, "--size", 16, *where)["hash"] == packed["hash"]
            whole = datasets.load(name)
            for kind in ("official", "clean", "random"):
                split.make(whole, kind, label)
            datasets.fingerprint(name, "real")
        tasks.prepare("kneekl", "kl", "official", 16, "real")
        command("data", "list")
        assert tree(root) == before
    finally:
        for path in folders:
            path.chmod(0o755)


def test_nothing_below_the_root_is_opened_for_writing(fracatlas):
    """Holds for the superuser too, whom no permission stops: every opening is watched."""
    written, changes = [], {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.utime", "os.truncate"}
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def watch(event, details):  # an audit hook stays for the life of the process
        if watching and (event in changes or (event == "open" and details[2] & writing)):
            written.append(str(details))

    watching = True
    sys.addaudithook(watch)
    try:
        command("data", "check", "fracatlas", "--root", fracatlas)
        command("data", "pack", "fracatlas", "--root", fracatlas, "--size", 16)
    finally:
        watching = False
    assert any("pixels.u8" in entry for entry in written)  # the hook sees
    assert not [entry for entry in written if str(fracatlas) in entry]


def test_check_tells_what_is_there(fracatlas, films, phantom):
    checked = command("data", "check", "fracatlas", "--root", phantom)
    assert (checked["images"], checked["readable"], checked["unreadable"]) == (80, 77, 3)
    assert (checked["positives"], checked["negatives"], checked["boxes"]) == (20, 60, films["fracture_count"].sum())
    assert checked["groups"] == 80 - 6 and checked["label_conflicts"] == 1 and checked["reasons"] == {"truncated": 3}
    bad = films[films["defect"] == "truncated"]
    assert checked["unreadable_files"] == dict.fromkeys(bad["path"], "truncated")
    knees = command("data", "check", "kneekl", "--root", phantom)
    assert (knees["images"], knees["groups"], knees["label_conflicts"]) == (40, 20, 0)
    assert knees["per_class"] == {"0": 13, "1": 6, "2": 11, "3": 10}
    assert knees["official_parts"] == {"train": 26, "val": 4, "test": 10}


SLOW = """
import sys, time
from ortholib import cli
from ortholib.data import pixels
one = pixels._one
pixels._one = lambda path, size: time.sleep(0.1) or one(path, size)
sys.argv = ["ortholib", *sys.argv[1:]]
cli.main()
"""


def test_interrupted_on_the_command_line(kneekl, tree, tmp_path):
    before = tree(kneekl)
    words = ["data", "pack", "kneekl", "--root", str(kneekl), "--size", "16"]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *words], stderr=subprocess.PIPE, text=True)
    while not sum(file.stat().st_size for file in tmp_path.glob("runs/stores/*.partial/pixels.u8")) >= 5 * 256:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130 and said.splitlines()[-1].startswith("interrupted: nothing is lost")
    assert "Traceback" not in said
    assert command(*words)["N"] == 40
    assert tree(kneekl) == before
