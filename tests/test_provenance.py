"""Provenance: which modules count, what of their text counts, and what a record says about where it was made."""

import ast
import subprocess
from pathlib import Path

import pytest

from ortholib import provenance

SOURCE = '''"""A module."""

import os


class Knee:
    """A knee."""

    side = "L"


def grade(knee):
    """Its grade."""
    text = """first

    third"""
    # from the joint space
    return text, 4


async def later():
    """Not now."""
    return f"""{os.sep}

"""
'''


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "ortholib"
    (folder / "datasets").mkdir(parents=True)
    monkeypatch.setattr(provenance, "PACKAGE", folder)
    return folder


def hashed(package: Path, source: str) -> str:
    (package / "a.py").write_text(source)
    return provenance.code_hash({package / "a.py"})


def test_modules_used_follows_every_way_to_import(package):
    sources = {
        "a.py": "import ortholib.b\nimport numpy",
        "b.py": "def f():\n    from ortholib.datasets import c",  # imported when called: used all the same
        "c.py": "",
        "datasets/__init__.py": "from ortholib.datasets.kneekl import read",
        "datasets/c.py": "from ortholib import a, VERSION",  # a circle
        "datasets/kneekl.py": "import ortholib.datasets.base as base",
        "datasets/base.py": "",
        "unrelated.py": "import ortholib.a",
        "__init__.py": "",
    }
    for name, source in sources.items():
        (package / name).write_text(source)
    used = {str(file.relative_to(package)) for file in provenance.modules_used("from ortholib import a as first")}
    assert used == set(sources) - {"c.py", "unrelated.py"}
    assert provenance.modules_used("import numpy\nfrom json import loads") == set()


def test_package_imports_only_in_ways_that_are_followed():
    for file in provenance.PACKAGE.rglob("*.py"):
        relative = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom) and n.level]
        assert not relative, f"{file.name}: relative imports are not followed by modules_used"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', '"""Another\n\ntext."""'),
        ('"""A knee."""', "'''Joint.'''"),
        ('    """Its grade."""\n', ""),
        ('    """Not now."""\n', ""),
        ("# from the joint space", "# from the joint space and the spurs"),
        ("    # from the joint space\n", ""),
        ('side = "L"', 'side = "L"  # of é and #'),
        ("return text, 4\n", "return text, 4   \n\n\n\n"),
        ("import os\n", "import os\n\n\n"),
    ],
)
def test_words_about_the_code_do_not_count(package, old, new):
    assert old in SOURCE
    assert hashed(package, SOURCE.replace(old, new)) == hashed(package, SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("4", "3"),
        ('"L"', '"#L"'),
        ("first\n\n", "first\n"),  # within a text a blank line is content
        ("first\n", "first \n"),
        ("third", "# third"),
        ("{os.sep}\n\n", "{os.sep}\n"),
        ('side = "L"', 'side = "L"\n    """Not a docstring."""'),
        ('    """Its grade."""\n', '    """Its grade."""; knee = None\n'),
        ("return text, 4", "if knee:\n        return text, 4"),
        ("import os", "import os.path"),
    ],
)
def test_everything_else_counts(package, old, new):
    assert old in SOURCE
    assert hashed(package, SOURCE.replace(old, new)) != hashed(package, SOURCE)


def test_one_line_definitions_count(package):
    assert hashed(package, 'def f(): "doc"; return 1\n') != hashed(package, 'def f(): "doc"; return 2\n')
    assert hashed(package, 'def f(): "doc"; return 1\n') != hashed(package, 'def g(): "doc"; return 1\n')


def test_code_hash_knows_files_by_name_not_by_place(package, tmp_path):
    (package / "b.py").write_text("")
    first = hashed(package, "x = 1\n")
    assert provenance.code_hash({package / "a.py", package / "b.py"}) != first
    (package / "a.py").rename(package / "c.py")
    assert provenance.code_hash({package / "c.py"}) != first


def test_record_of_a_checkout(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e@x", *words], cwd=tmp_path, check=True)

    monkeypatch.setenv("ORTHOLIB_HOME", str(tmp_path))
    monkeypatch.delenv("ORTHOLIB_COMMIT", raising=False)
    assert provenance.record()["commit"] is None and provenance.record()["dirty"] is None  # no checkout: not known
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "a.ipynb").write_text("{}")
    (tmp_path / "README.md").write_text("one")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    record = provenance.record()
    assert len(record["commit"]) == 40 and record["dirty"] is False
    assert {"python", "ortholib", "torch", "torchvision", "timm", "numpy", "pandas"} <= set(record["versions"])
    assert {"cpu", "cores", "memory_gib", "gpu", "device", "precision"} <= set(record["hardware"])
    (tmp_path / "README.md").write_text("two")
    assert provenance.record()["dirty"] is False  # makes no number
    (tmp_path / "notebooks" / "b.ipynb").write_text("{}")
    assert provenance.record()["dirty"] is True  # the commit does not hold it
    monkeypatch.setenv("ORTHOLIB_COMMIT", "abc123")
    assert provenance.record()["commit"] == "abc123"
