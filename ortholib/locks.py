"""One writer at a time for a thing on disk, across processes."""

import fcntl
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ortholib.errors import UsageError


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Wait for, then hold, the lock `<path>.lock`. The system frees it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def claim(folder: Path) -> TextIO:
    """Say in `<folder>/owners` that this process runs Snakemake there; hold the returned file open as long as it does.

    folder: Snakemake's own, `.snakemake`, whose locks outlive a killed process. They are removed where all who may have
    made them ran on this machine and none lives; else standard error says who holds them and what to do, and Snakemake
    decides. The system's lock on the file tells who lives: a process id may belong to another by now. Raises UsageError
    where `--unlock` would take them from a living one.
    """
    folder.mkdir(exist_ok=True)
    file = open(folder / "owners", "a+")  # noqa: SIM115
    file.seek(0)
    owners, here = file.read().splitlines(), socket.gethostname()
    left = any((folder / "locks").glob("*.lock"))
    if left and not owners:
        owners = ["an unknown process"]
        print(owners[0], file=file)
    who = ", ".join(owners)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    if left and not alone:
        if "--unlock" in sys.argv:
            raise UsageError(f"Snakemake is at work here ({who}); end it before you unlock.")
        print(f"Snakemake is at work here already ({who}): wait for it, or end it.", file=sys.stderr)
    elif left and all(owner.endswith(f" on {here}") for owner in owners):
        print(f"Removed the locks of a killed Snakemake ({who}).", file=sys.stderr)
        shutil.rmtree(folder / "locks")
        left = False
    elif left:
        print(f"Locked by {who}, which cannot be seen from {here}. If it has ended: make unlock", file=sys.stderr)
    if alone and not left:
        file.truncate(0)
    print(f"process {os.getpid()} on {here}", file=file, flush=True)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file
