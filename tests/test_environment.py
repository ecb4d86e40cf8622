"""environment.yml, pyproject.toml, requirements.lock, README.md and the Makefile say the same.

conda itself cannot run here. So `.ci/run` runs the README's line for conda users in a fresh venv that stands in for the
conda environment, and these tests compare the files: what conda brings (Python, pip, uv) and what the lock brings.
"""

import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import ortholib

ROOT = Path(__file__).resolve().parents[1]
CONDA_LINE = "uv pip install -r requirements.lock && uv pip install --no-deps -e ."


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def lock_entries() -> list[tuple[Requirement, int]]:
    """Each pinned requirement of the lock with the number of its hashes."""
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=\S)", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).strip())
    return [(Requirement(entry.split("\\")[0].strip()), entry.count("--hash=sha256:")) for entry in entries]


def declared() -> list[Requirement]:
    extras = project()["optional-dependencies"].values()
    return [Requirement(line) for lines in (project()["dependencies"], *extras) for line in lines]


@pytest.mark.parametrize("requirement", declared(), ids=lambda requirement: requirement.name)
def test_every_dependency_and_extra_is_pinned_within_its_range(requirement):
    name = canonicalize_name(requirement.name)
    pins = [pin.specifier for pin, _ in lock_entries() if canonicalize_name(pin.name) == name]
    assert pins, f"{name} of pyproject.toml is not in requirements.lock: run `make lock`"
    for pin in pins:
        (version,) = [part.version for part in pin if part.operator == "=="]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} but the lock has {version}"


def test_the_lock_is_hashed_and_names_no_address():
    assert all(hashes > 0 for _, hashes in lock_entries())
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--index|--extra-index|--find-links|--trusted)", text, flags=re.MULTILINE)


def test_conda_brings_python_pip_and_uv_and_nothing_else():
    assert conda()["channels"][0] == "conda-forge"
    assert sorted(Requirement(line).name for line in conda()["dependencies"]) == ["pip", "python", "uv"]


def test_conda_and_pyproject_agree_on_python():
    (line,) = [line for line in conda()["dependencies"] if Requirement(line).name == "python"]
    offered, required = Requirement(line).specifier, SpecifierSet(project()["requires-python"])
    for minor in range(8, 20):
        assert not offered.contains(f"3.{minor}") or required.contains(f"3.{minor}"), f"{line} against {required}"
    assert required.contains("3.11") and offered.contains("3.11") and not required.contains("3.10")
    assert "(3, 11)" in (ROOT / "Makefile").read_text()


def test_the_readme_gives_the_conda_line_after_the_environment():
    readme = (ROOT / "README.md").read_text()
    lines = [line.strip() for line in readme.splitlines()]
    assert CONDA_LINE in lines, "README.md must hold this line alone in a code block: " + CONDA_LINE
    before = "\n".join(lines[: lines.index(CONDA_LINE)])
    assert "environment.yml" in before and conda()["name"] in before
    assert "grep -m1 '^uv pip install -r requirements.lock' README.md" in (ROOT / ".ci" / "run").read_text()


def test_the_readme_names_only_targets_that_exist_and_the_two_commands():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"study", "test", "lab", "book", "lint", "clean"} <= targets
    readme = (ROOT / "README.md").read_text()
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", readme, flags=re.MULTILINE))
    assert {"study", "test"} <= named
    assert named <= targets, f"README.md names {named - targets}, which the Makefile lacks"
    assert "3.11" in readme


def test_version_and_licence_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == project()["version"] == ortholib.__version__
    assert citation["license"] == project()["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_gives_its_tools_utf8_and_a_home_that_can_be_written(tmp_path):
    more = tmp_path / "more.mk"
    more.write_text('show:\n\t@echo "$$HOME,$$PYTHONUTF8,$$PYTHONIOENCODING"\n')

    def shown(home: Path) -> str:
        command = ["make", "--no-print-directory", "-f", "Makefile", "-f", more, "show"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    assert shown(tmp_path) == f"{tmp_path},1,\n"
    assert shown(tmp_path / "absent") == f"{ROOT}/.venv/home,1,\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_says_that_it_cannot_write_here():
    other = ["setpriv", "--reuid", "12345", "--clear-groups"] if os.geteuid() == 0 else []  # root may write anywhere
    if other and shutil.which("setpriv") is None:
        pytest.skip("root without setpriv cannot become somebody else")
    with tempfile.TemporaryDirectory() as name:  # not tmp_path, which only its owner may enter
        shutil.copy(ROOT / "Makefile", name)
        for file in ("requirements.lock", "pyproject.toml"):
            (Path(name) / file).touch()
        Path(name).chmod(0o555)
        done = subprocess.run([*other, "make", "study"], cwd=name, capture_output=True, text=True)
        Path(name).chmod(0o755)
    assert done.returncode == 2 and f"{name} cannot be written by this user" in done.stderr
    assert "venv" not in done.stdout
