"""Where a result comes from: the code that made it, the commit, the versions, the machine."""

import hashlib
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from ortholib import paths

PACKAGE = Path(__file__).parents[1]
PACKAGES = ("ortholib", "torch", "torchvision", "timm", "scikit-learn", "numpy", "pandas", "pillow")


def package() -> str:
    """Hash of the sources of the package (16 digits): it says which code ran, and is part of no key."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.relative_to(PACKAGE).as_posix().encode() + b"\n" + file.read_bytes())
    return digest.hexdigest()[:16]


def record() -> dict:
    """commit (git, or `$ORTHOLIB_COMMIT`), dirty flag, code, versions and hardware, for `run.json`.

    dirty: whether code, notebooks or parameters differ from the commit, new files included; None without git.
    """
    from ortholib import machine  # torch, which takes seconds to import

    changed = _git("status", "--porcelain", "--", "ortholib", "notebooks", "params")
    return {
        "commit": os.environ.get("ORTHOLIB_COMMIT") or _git("rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),
        "code": package(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "hardware": machine.describe(),
    }


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=paths.project(), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
