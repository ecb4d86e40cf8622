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
    """commit (git, or `$ORTHOLIB_COMMIT`), dirty flag, versions and hardware, for `run.json`."""
    from ortholib import device  # torch, which takes seconds to import

    return {
        "commit": os.environ.get("ORTHOLIB_COMMIT") or _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
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
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            text = node.body[0]
            lines[text.lineno - 1 : text.end_lineno] = [""] * (text.end_lineno - text.lineno + 1)
    for token in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip()) + "\n"
