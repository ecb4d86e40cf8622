"""Where things live: the project, its runs, the user's data and weights."""

import os
import shutil
import sys
from pathlib import Path

from ortholib.errors import OrthoError, UsageError

EDITIONS = ("phantom", "real", "paper")  # folders of runs and params


def named(variable: str) -> Path | None:
    """The folder that an environment variable names, absolute; None where it is not set or empty."""
    value = os.environ.get(variable)
    try:
        return Path(value).expanduser().resolve() if value else None
    except RuntimeError as error:  # of expanduser
        raise UsageError(f"{variable}={value}: no home folder is known for ~; give the whole path.") from error


def project() -> Path:
    """Root of the checkout: `$ORTHOLIB_HOME`, or the first folder upwards that holds `notebooks/` and `params/`."""
    if home := named("ORTHOLIB_HOME"):
        return home
    here = Path.cwd().resolve()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
            return folder
    raise UsageError(
        f"{here} is not inside the project: no folder upwards holds notebooks/ and params/. "
        "Change into the checkout or set ORTHOLIB_HOME to it."
    )


def runs() -> Path:
    """Folder of fits, stores and executed chapters (`runs/` of the project, or `$ORTHOLIB_RUNS`)."""
    return named("ORTHOLIB_RUNS") or (project() / "runs").resolve()


def put(made: Path, folder: Path) -> None:
    """Rename `made` to `folder`. What stood there is moved aside first and then deleted, so that a kill at any moment
    leaves a whole folder or none, never half of one."""
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    made.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def data_root(edition: str = "real") -> Path | None:
    """Folder of the data sets: the phantom's for its edition, else the user's, `$ORTHOLIB_DATA` (None: not set).

    Raises OrthoError where the phantom is asked for and nobody made sure of it.
    """
    return _phantom() if edition == "phantom" else named("ORTHOLIB_DATA")


def weights_root(edition: str = "real") -> Path:
    """Folder of pretrained weights: the phantom's stand-ins for its edition, else `$ORTHOLIB_WEIGHTS`, else the
    platform's cache folder. Raises OrthoError as `data_root` does."""
    if edition == "phantom":
        return _phantom() / "weights"
    if root := named("ORTHOLIB_WEIGHTS"):
        return root
    if sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = named("XDG_CACHE_HOME") or Path.home() / ".cache"
    return cache / "ortholib" / "weights"


def _phantom() -> Path:
    """What `ortholib.phantom.ensure` left in the environment, for this process and for those that it starts."""
    root = os.environ.get("ORTHOLIB_PHANTOM")
    if not root or not Path(root).is_dir():
        raise OrthoError(
            f"ORTHOLIB_PHANTOM is {root or 'not set'}; expected the folder of the generated images and weights. Call "
            "ortholib.phantom.ensure() first, or set it to a folder that `ortholib data phantom --out DIR` wrote."
        )
    return Path(root).resolve()
