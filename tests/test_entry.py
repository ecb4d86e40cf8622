"""What a program inherits from a strange shell: relative folders, an 8-bit locale, no home, no right to write."""

import json
import os
import subprocess
import sys
from pathlib import Path

import madeup
import pytest

from ortholib import entry, paths
from ortholib.errors import UsageError
from ortholib.report import chapter

ROOT = Path(__file__).resolve().parents[1]
# Another user without a passwd entry, who owns what we own: needs user namespaces, and util-linux 2.38
STRANGER = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # as an 8-bit locale, without having to have one


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    return madeup.project(tmp_path / "project", monkeypatch)


@pytest.fixture
def stranger() -> list[str]:
    try:
        known = subprocess.run([*STRANGER, "true"], capture_output=True).returncode == 0
    except OSError:
        known = False
    if not known:
        pytest.skip("unshare --map-user: no user namespaces here")
    return STRANGER


def call(*words, before=(), cwd=None, **environment) -> subprocess.CompletedProcess:
    """Python with these words and this environment, and nothing else."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.defpath, "TMPDIR": "/absent", **environment}
    command = [*before, sys.executable, *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8")


def program(body: str, **options) -> subprocess.CompletedProcess:
    """What `body`, an expression, prints as a program of ours."""
    names = "import os\nfrom pathlib import Path\nfrom ortholib import entry, locks, paths\n"
    return call("-c", f"{names}entry.run(lambda: print({body}))", **options)


def test_a_chapter_from_a_strange_shell(home, stranger, tmp_path):
    """No home, no passwd entry, an 8-bit locale, relative folders: the kernel has what the shell meant."""
    madeup.notebook(
        home,
        'import json, os\nfrom pathlib import Path\nassert backbone == "κ ≥ 1" and Path.home().is_dir()',
        'print("told", json.dumps({k: v for k, v in os.environ.items() if k.startswith("ORTHOLIB")}))',
    )
    (home / "params" / "phantom" / f"{madeup.CHAPTER}.yaml").write_text('backbone: "κ ≥ 1"\n', encoding="utf-8")
    (tmp_path / "shell").mkdir()
    (tmp_path / "shell" / "project").symlink_to(home)
    there = {"ORTHOLIB_HOME": "project", "ORTHOLIB_RUNS": "../größe", "ORTHOLIB_DATA": "d", "ORTHOLIB_WEIGHTS": "./w"}
    words = ("-m", "ortholib.cli", "run", madeup.CHAPTER, "--json")
    done = call(*words, before=stranger, cwd=tmp_path / "shell", **there, **ASCII)
    assert done.returncode == 0 and done.stderr.count("has no home folder") == 1, done.stderr
    assert not Path(done.stderr.split("caches lie in ")[1].split()[0]).exists()
    folder = tmp_path / "größe" / "phantom" / madeup.CHAPTER
    assert json.loads(done.stdout)["folder"] == str(folder)
    told = (folder / "run.log").read_text(encoding="utf-8").split("told ")[1]
    inherited = json.loads(told.split("\n")[0])
    assert Path(inherited.pop("ORTHOLIB_PHANTOM")).is_relative_to(home / "data")
    assert inherited == {
        "ORTHOLIB_HOME": str(home),
        "ORTHOLIB_RUNS": str(tmp_path / "größe"),
        "ORTHOLIB_DATA": str(tmp_path / "shell" / "d"),
        "ORTHOLIB_WEIGHTS": str(tmp_path / "shell" / "w"),
        "ORTHOLIB_RUN": str(folder.with_name(f"{madeup.CHAPTER}.partial")),
    }


def test_a_notebook_opened_by_hand_refuses_relative_folders_and_8_bit_text(home, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_DATA", "data/real")
    with pytest.raises(UsageError, match=r"ORTHOLIB_DATA=data/real: .* give the whole path"):
        chapter.start(madeup.CHAPTER, "real")
    monkeypatch.setenv("ORTHOLIB_DATA", "/data/real")
    assert chapter.start(madeup.CHAPTER, "real").folder.is_dir()
    monkeypatch.setattr(entry.locale, "getpreferredencoding", lambda _: "ISO-8859-1")
    with pytest.raises(UsageError, match="make lab"):
        chapter.start(madeup.CHAPTER, "real")


@pytest.mark.parametrize("environment", [ASCII, {"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "UTF8:strict"}])
def test_text_is_utf8_in_any_locale(environment, tmp_path):
    (tmp_path / "κ").write_text("κ ≥ 1", encoding="utf-8")
    done = program("Path(chr(954)).read_text(), os.environ['PYTHONUTF8']", cwd=tmp_path, **environment)
    assert done.stdout == "κ ≥ 1 1\n", done.stderr


def test_folders_at_home_and_of_modules(tmp_path):
    there = {"HOME": str(tmp_path), "ORTHOLIB_DATA": "~/data", "XDG_CACHE_HOME": "~/c", "ORTHOLIB_RUNS": ""}
    names = ("ORTHOLIB_DATA", "XDG_CACHE_HOME", "PYTHONPATH")
    done = program(f"*map(os.environ.get, {names}), paths.weights_root()", cwd=ROOT, PYTHONPATH=".:tests", **there)
    expected = [f"{tmp_path}/data", f"{tmp_path}/c", f"{ROOT}:{ROOT}/tests", f"{tmp_path}/c/ortholib/weights"]
    assert done.stdout.split() == expected, done.stderr


def test_a_folder_that_cannot_be_written_is_one_sentence(home, stranger, tmp_path):
    home.chmod(0o555)
    try:
        done = program("locks.held(paths.runs() / 'salt').__enter__()", before=stranger, cwd=home, HOME=str(tmp_path))
    finally:
        home.chmod(0o755)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"error: {home}/runs: Permission denied. {entry.RIGHTS}\n"


def test_a_full_disk_is_one_sentence(capsys, monkeypatch):
    def full():
        raise OSError(entry.errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "argv", ["ortholib"])
    with pytest.raises(SystemExit) as leaving:
        entry.run(full)
    assert leaving.value.code == 1 and "No space left on device. Make room" in capsys.readouterr().err


def test_a_deleted_folder_and_a_tilde_of_nobody(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ortholib"])
    monkeypatch.setenv("ORTHOLIB_DATA", "~nobody-of-that-name/data")
    with pytest.raises(SystemExit) as leaving:
        entry.run(paths.data_root)
    assert leaving.value.code == 2 and "ORTHOLIB_DATA=~nobody-of-that-name/data" in capsys.readouterr().err
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(SystemExit) as leaving:
        entry.run(paths.project)
    assert leaving.value.code == 2 and "has been deleted" in capsys.readouterr().err
