"""The house: a module imports from floors below its own, and real code never knows of the phantom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ortholib"
FLOORS = (
    ("errors", "progress", "wording"),
    ("paths", "yamlfile"),
    ("locks", "machine", "settings", "entry"),
    ("metrics",),
    ("data",),
    ("encoders",),
    ("phantom",),
    ("dino", "classify"),  # siblings, which do not know each other
    ("study",),
    ("report",),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """Rooms that a file imports from, also inside its functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "ortholib" and rest and not rest.startswith("__"):
                yield rest.split(".")[0]


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_imports_go_down(file):
    here = room(file)
    for there in imported(file):
        assert there in FLOOR, f"{file} imports ortholib.{there}, which has no floor here"
        lower = FLOOR[there] < FLOOR[here] if here != "__init__" else False
        assert there == here or lower, f"{file}: {here} imports {there}, which lies no lower"


def test_only_the_start_of_a_chapter_and_the_command_line_ask_for_the_phantom():
    users = {file.relative_to(PACKAGE).as_posix() for file in FILES if "phantom" in imported(file)}
    assert {user for user in users if not user.startswith("phantom/")} == {"report/chapter.py", "cli.py"}


def test_the_records_count_rooms_arrows_and_lines():
    """`RECORDS.md` says how large the house is; a change of more than a twentieth wants a new line there."""
    text = (PACKAGE.parent / "RECORDS.md").read_text()
    arrows = {(room(file), there) for file in FILES for there in imported(file) if there != room(file)}
    lines = sum(len(file.read_text().splitlines()) for file in FILES)
    said = [row for row in text.splitlines() if row.startswith("| house |")][-1].split("|")
    counted = [int(part.replace(",", "")) for part in said[3:6]]
    rooms = {one for arrow in arrows for one in arrow}
    for number, kept in zip((len(rooms), len(arrows), lines), counted, strict=True):
        assert abs(number - kept) <= kept / 20, (len(rooms), len(arrows), lines)
