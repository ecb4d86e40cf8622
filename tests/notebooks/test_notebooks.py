"""Every notebook keeps the conventions: short, stripped, parameters declared, sections there, pictures tagged."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from ortholib.report import chapter
from ortholib.study import plans

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETER = re.compile(r"(?P<name>\w+): (?P<type>int|float|str|bool|list|dict) = (?P<value>.+?)  # (?P<help>\S.*)")
GALLERIES = {"sample_grid"}  # figures that show radiographs

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("ORTHOLIB_HOME", str(ROOT))


def cells(path: Path, kind: str = "code") -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def calls(cell) -> set[str]:
    nodes = [node.func for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    return {getattr(node, "attr", getattr(node, "id", "")) for node in nodes}


def test_is_a_chapter_with_an_edition_each(path):
    assert re.fullmatch(r"\d\d-[a-z0-9-]+", path.stem) and path.stem in plans.chapters()
    for edition in chapter.EDITIONS:
        assert chapter.parameters(path.stem, edition)["edition"] == edition
    assert f'chapter.start("{path.stem}", edition)' in "\n".join(cell.source for cell in cells(path))


def test_holds_no_output(path):
    for cell in cells(path):
        assert not cell.outputs and cell.execution_count is None, cell.id
    notebook = nbformat.read(path, as_version=4)
    assert "widgets" not in notebook.metadata and notebook.metadata.kernelspec.name == "python3"
    assert not any("papermill" in part.metadata for part in [notebook, *notebook.cells])


def test_is_short(path):
    notebook = nbformat.read(path, as_version=4)
    assert len(notebook.cells) <= 30
    lines = {cell.id: len(cell.source.splitlines()) for cell in cells(path)}
    assert max(lines.values()) <= 20, lines
    assert sum(lines.values()) <= 120, sum(lines.values())
    for cell in cells(path):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 5, f"{cell.id}: {node.name} belongs into ortholib"


def test_ids_are_unique_and_speaking(path):
    ids = [cell["id"] for cell in nbformat.read(path, as_version=4).cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+", i) and not re.fullmatch(r"[0-9a-f]{8}", i) for i in ids), ids


def test_parameters_are_typed_literals_with_their_help(path):
    (cell,) = (cell for cell in cells(path) if "parameters" in tags(cell))
    names = []
    for line in cell.source.splitlines():
        found = PARAMETER.fullmatch(line)
        assert found, f"{line!r}: expected `name: type = literal  # help`"
        assert type(ast.literal_eval(found["value"])).__name__ == found["type"], line
        names.append(found["name"])
    assert names[0] == "edition" and len(set(names)) == len(names)
    assert "'edition': 'phantom'" in str(chapter.parameters(path.stem, "phantom"))


def test_tells_what_it_asks_costs_and_where_it_ends(path):
    texts = cells(path, "markdown")
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown" and re.match(r"# \S", first.source)
    subtitle = first.source.split("\n\n")[1]
    assert len(subtitle.splitlines()) == 1 and not subtitle.startswith("**"), "a one-line subtitle is missing"
    text = "\n".join(cell.source for cell in texts)
    assert len(re.findall(r"^# ", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)) == 1
    for needed in ("What it asks", "it costs", "## Limits", "## Reproduce this", f"ortholib run {path.stem}"):
        assert needed in text, needed
    assert text.index("## Limits") < text.index("## Reproduce this")
    assert any("parameter_table" in calls(cell) for cell in cells(path))


def test_pictures_are_tagged_and_told(path):
    for cell in cells(path):
        if "figure" in calls(cell):
            assert "hide-input" in tags(cell), cell.id
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "figure":
                    name = node.args[1].values[0] if isinstance(node.args[1], ast.JoinedStr) else node.args[1]
                    assert isinstance(name, ast.Constant), f"{cell.id}: promotion needs the figure's name"
        assert bool(calls(cell) & GALLERIES) == ("radiographs" in tags(cell)), f"{cell.id}: tag `radiographs`"


def test_names_no_place_of_a_machine(path):
    for cell in nbformat.read(path, as_version=4).cells:
        text = re.sub(r"https?://\S+", "", cell.source)
        found = re.findall(r"(?<![\w.:/])(?:/(?!/)[\w.-]+){2,}|~/|\b[A-Z]:\\", text)
        assert not found, f"{cell.id}: {found}"
