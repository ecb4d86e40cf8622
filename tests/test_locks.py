"""Locks that Snakemake leaves behind: removed where nobody can be at work, respected elsewhere."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ortholib import locks
from ortholib.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]
SNAKEFILE = """
from pathlib import Path
from ortholib import locks

claimed = locks.claim(Path(".snakemake"))

rule all:
    output: "made"
    shell: "touch began; [ -e quick ] || sleep 60; touch {output}"
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """Snakemake's folder as a run leaves it when killed."""
    folder = tmp_path / ".snakemake"
    (folder / "locks").mkdir(parents=True)
    (folder / "locks" / "0.output.lock").write_text("made\n")
    return folder


def snakemake(home: Path) -> subprocess.Popen:
    command = [Path(sys.executable).with_name("snakemake"), "--cores", "1", "--rerun-incomplete"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(command, cwd=home, env=environment, **options)


def test_after_a_kill_the_next_run_goes_on(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    first = snakemake(tmp_path)
    while not (tmp_path / "began").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.1)
    second = snakemake(tmp_path)  # while the first lives, nothing is taken from it
    _, said = second.communicate(timeout=120)
    assert second.returncode and f"at work here already (process {first.pid} on" in said and "LockException" in said
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert any((tmp_path / ".snakemake" / "locks").iterdir())
    (tmp_path / "quick").touch()
    third = snakemake(tmp_path)
    _, said = third.communicate(timeout=120)
    assert third.returncode == 0 and "Removed the locks of a killed Snakemake" in said, said
    assert (tmp_path / "made").exists()


def test_a_living_owner_is_respected(folder, capsys, monkeypatch):
    (folder / "owners").write_text(f"process 4711 on {socket.gethostname()}\n")
    with open(folder / "owners") as living:
        fcntl.flock(living, fcntl.LOCK_SH)
        locks.claim(folder).close()
        said = capsys.readouterr().err
        assert "at work here already (process 4711 on" in said and "wait for it, or end it" in said
        monkeypatch.setattr(sys, "argv", ["snakemake", "--unlock"])
        with pytest.raises(UsageError, match=r"process 4711 .* end it before you unlock"):
            locks.claim(folder)
    assert list((folder / "locks").iterdir())


@pytest.mark.parametrize("owners", ["", "process 4711 on elsewhere\n", "process 1 on {here}\nprocess 2 on elsewhere\n"])
def test_locks_that_may_be_of_another_machine_are_respected(folder, capsys, owners):
    (folder / "owners").write_text(owners.format(here=socket.gethostname()))
    for _ in range(2):  # the next call knows of the other machine still
        locks.claim(folder).close()
        assert "make unlock" in capsys.readouterr().err
        assert list((folder / "locks").iterdir())


def test_a_fresh_start_says_nothing_and_forgets_who_came_before(tmp_path, capsys):
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / ".snakemake" / "owners").write_text("process 4711 on elsewhere\n")
    with locks.claim(tmp_path / ".snakemake"):
        assert (tmp_path / ".snakemake/owners").read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    assert capsys.readouterr().err == ""
