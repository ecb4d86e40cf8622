"""Where a result comes from: the code that made it, the commit, the versions, the machine."""

import ast
import hashlib
import io
import os
import platform
import subprocess
import tokenize
from importlib.metadata import version
from pathlib import Path

from ortholib import paths

PACKAGE = Path(__file__).parent
PACKAGES = ("ortholib", "torch", "torchvision", "timm", "scikit-learn", "numpy", "pandas", "pillow")
TEXT = [tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", None)]  # the second from Python 3.12 on


def modules_used(source: str) -> set[Path]:
    """Files of `ortholib` that a piece of Python source imports, and those they import in turn."""
    found: set[Path] = set()
    waiting = _imports(source)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting |= _imports(file.read_text())
    return found


def code_hash(files: set[Path]) -> str:
    """Hash of what the files do, 16 digits: comments, docstrings and blank lines do not count."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.relative_to(PACKAGE).as_posix().encode() + b"\n" + _bare(file.read_text()).encode())
    return digest.hexdigest()[:16]


def record() -> dict:
    """commit (git, or `$ORTHOLIB_COMMIT`), dirty flag, versions and hardware, for `run.json`.

    dirty: whether code, notebooks or parameters differ from the commit, new files included; None without git.
    """
    from ortholib import device  # torch, which takes seconds to import

    changed = _git("status", "--porcelain", "--", "ortholib", "notebooks", "params")
    return {
        "commit": os.environ.get("ORTHOLIB_COMMIT") or _git("rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "hardware": device.describe(),
    }


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=paths.project(), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _imports(source: str) -> set[Path]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    files = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == "ortholib":
            # a name that is no module is something inside one, and that module is listed beside it
            places = (PACKAGE.joinpath(*parts[1:]).with_suffix(".py"), PACKAGE.joinpath(*parts[1:], "__init__.py"))
            files |= {place for place in places if place.is_file()}
    return files


def _bare(source: str) -> str:
    """The source without comments, docstrings, blank lines and spaces at line ends; text in quotes stays as it is."""
    lines = source.encode().splitlines()  # bytes, as `ast` counts columns
    inside = set()  # rows that end within a text, where blanks count
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        (first, column), (last, _) = token.start, token.end
        if token.type == tokenize.COMMENT:
            lines[first - 1] = lines[first - 1][: len(token.line[:column].encode())]
        elif token.type in TEXT:
            inside.update(range(first - 1, last - 1))
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node) is not None:
            text = node.body[0]
            first, last = text.lineno - 1, text.end_lineno - 1
            head, tail = lines[first][: text.col_offset], lines[last][text.end_col_offset :]
            lines[first : last + 1] = [b""] * (last - first + 1)
            lines[last] = head + tail
            inside.difference_update(range(first, last))
    kept = [line if row in inside else line.rstrip() for row, line in enumerate(lines) if row in inside or line.strip()]
    return b"\n".join(kept).decode() + "\n"
