"""How a program of ours begins and ends: what it inherits from the shell is put right before kernels and jobs inherit
it in turn, and what goes wrong is told in one sentence."""

import atexit
import codecs
import errno
import json
import locale
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ortholib import paths
from ortholib.errors import OrthoError, UsageError

FOLDERS = ("ORTHOLIB_HOME", "ORTHOLIB_DATA", "ORTHOLIB_RUNS", "ORTHOLIB_WEIGHTS", "HF_HOME", "XDG_CACHE_HOME")
# What a system refuses, and what to do then.
RIGHTS = "Work in a checkout that this user may write to; ORTHOLIB_RUNS names another folder for the runs."
SPACE = "Make room; ORTHOLIB_RUNS names another folder for the runs."
REFUSED = {errno.EACCES: RIGHTS, errno.EPERM: RIGHTS, errno.EROFS: RIGHTS, errno.ENOSPC: SPACE, errno.EDQUOT: SPACE}


class Interrupted(BaseException):
    """Ctrl-C. Not KeyboardInterrupt, which typer would turn into a bare "Aborted!" with exit code 1."""


def run(program: Callable) -> None:
    """Settle, then call; errors become one line on standard error and the exit code of their kind."""

    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        settle()
        program()
    except OrthoError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        _fail(f"{error.filename or 'writing'}: {error.strerror}. {REFUSED[error.errno]}", 1)
    except Interrupted:
        print("interrupted: nothing is lost, run the same command again and it goes on", file=sys.stderr)
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, before)


def settle() -> None:
    """Put right what this process, and all that it starts, inherit.

    Text is UTF-8: where the locale or PYTHONIOENCODING says otherwise, the same command starts anew in Python's UTF-8
    mode. Folders named relative to the current one or to `~` become absolute: kernels and jobs work elsewhere. A user
    without a home (no HOME, no passwd entry) gets an empty one until the program ends. Raises UsageError where the
    current folder is gone, or `~` has no meaning.
    """
    os.environ["PYTHONUTF8"] = "1"
    printed = os.environ.pop("PYTHONIOENCODING", "").partition(":")[0] or "utf-8"
    if not (_utf8(printed) and _utf8(locale.getpreferredencoding(False))):
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError("the current folder has been deleted; change into one that exists.") from None
    try:
        Path.home()
    except RuntimeError:
        home = os.environ["HOME"] = tempfile.mkdtemp(prefix="ortholib-home-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        print(f"this user has no home folder: caches lie in {home} until this ends, HOME keeps them", file=sys.stderr)
    for name in FOLDERS:
        if folder := paths.named(name):
            os.environ[name] = str(folder)
    if folders := os.environ.get("PYTHONPATH"):
        os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, folders.split(os.pathsep)))


def check() -> None:
    """Raise UsageError in a kernel that somebody else started with what `settle` would have put right."""
    loose = [f"{name}={os.environ[name]}" for name in FOLDERS if os.environ.get(name, "/")[:1] not in ("/", "")]
    if loose:
        raise UsageError(f"{', '.join(loose)}: a notebook has another current folder; give the whole path.")
    if not _utf8(locale.getpreferredencoding(False)):
        raise UsageError("this kernel reads text in an 8-bit encoding; start JupyterLab by `make lab` or PYTHONUTF8=1.")


def _utf8(name: str) -> bool:
    return codecs.lookup(name).name == "utf-8"


def _fail(message: str, code: int) -> None:
    if "--json" in sys.argv:
        print(json.dumps({"error": message}))
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
