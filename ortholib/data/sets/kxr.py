"""Tables `kxr_sq_bu<visit>` of the OAI: central readings of knee radiographs, one line a knee and reading project.

The same table is shared as text with `|` (codes as `2` or `2: Left`), and by users as CSV. The columns of a visit carry
its prefix (`V00XRKL`). A reading belongs to the film whose barcode it names; the barcode's last eight digits name the
folder of that film, its leading zero is often lost.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from ortholib import wording
from ortholib.data import table

NAME = re.compile(r"kxr_sq_bu(\d\d)\.(txt|csv)", re.IGNORECASE)
# osteophytes, joint space narrowing and sclerosis of femur and tibia, medial and lateral, by their released names
SITES = {
    "os": ("xrosfm", "xrosfl", "xrostm", "xrostl"),
    "jsn": ("xrjsm", "xrjsl"),
    "sclerosis": ("xrscfm", "xrscfl", "xrsctm", "xrsctl"),
}
HIGHEST = {"kl": 4} | {site: 3 for sites in SITES.values() for site in sites}
CODES = {"ID": "a number", "SIDE": "1 (right) or 2 (left)", "READPRJ": "the number of a reading project"}
SIDES = {1: "R", 2: "L"}
IDENTITY = ["patient", "visit", "series", "side", "project"]
VALUE = re.compile(r"(\d+(?:\.\d*)?)\s*(?::.*)?")  # `2`, `2.0`, `2: 2`
MISSING = re.compile(r"|\.|\.[A-Z](\s*:.*)?|\.\s*:.*|nan|NA", re.IGNORECASE)  # blank, `.`, `.A: Not Expected`
BARCODE = re.compile(r"(\d{5,12})(\.0)?")
MAIN = 15  # the project that read all participants, baseline to 48 months
SAME = {42: 37}  # the release says so: participants coded 42 belong to project 37


def read(paths: list[Path], notes: list[str]) -> pd.DataFrame:
    """The good lines of all tables: `IDENTITY`, the grades of `HIGHEST` (NaN: not graded), and `line` for messages.

    Lines and tables that cannot be read are left out, and noted as are grades out of range, which count as missing.
    Decimals mark change within a grade and are cut off.
    """
    columns = {name: pd.Series(dtype=float if name in HIGHEST else str) for name in (*IDENTITY, *HIGHEST, "line")}
    empty = pd.DataFrame(columns).astype({"project": int})
    readings = pd.concat([empty, *(pd.DataFrame(_table(path, notes), columns=list(columns)) for path in paths)])
    readings = readings.astype(empty.dtypes.to_dict()).drop_duplicates([*IDENTITY, *HIGHEST])  # as .txt and as .csv
    twice = readings.duplicated(IDENTITY, keep=False)
    for _, rows in readings[twice].groupby(IDENTITY):
        notes.append(f"{' and '.join(rows['line'])}: one knee and project, different grades; all left out")
    return readings[~twice].reset_index(drop=True)


def one_a_knee(readings: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """One reading of each knee on each film: with a KL grade before without, then project `MAIN`, then the lowest."""
    knee = ["patient", "visit", "series", "side"]
    order = readings.assign(blank=readings["kl"].isna(), later=readings["project"] != MAIN)
    order = order.sort_values([*knee, "blank", "later", "project"])
    grades = order.groupby(knee)["kl"]
    if several := int((grades.size() > 1).sum()):
        differ = int((grades.nunique() > 1).sum())
        notes.append(
            f"{several} knees were read in several projects, {differ} of them with different KL grades; project {MAIN} "
            "counts, else the lowest number"
        )
    return order.drop_duplicates(knee).drop(columns=["blank", "later"]).reset_index(drop=True)


def rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, stripped cells) of a text table, whatever separates its columns; blank lines are skipped.

    A quote that is never closed ends with its line. Raises csv.Error or OSError for what is no text.
    """
    found = table.lines(path)
    separator = max("|\t;,", key=found[0][1].count) if found else ","
    for number, line in found:
        yield number, [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]


def _table(path: Path, notes: list[str]) -> list[dict]:
    """The good lines of one table."""
    visit = f"V{NAME.fullmatch(path.name)[1]}"
    try:
        (_, header), *rest = rows(path)
    except (OSError, ValueError, csv.Error) as error:  # ValueError: not even a header
        notes.append(f"{path.name}: no readable table ({wording.one_line(error)}); left out")
        return []
    at = {name.upper(): i for i, name in enumerate(header)}
    barcode = f"{visit}BARCDBU"
    named = {"kl": f"{visit}XRKL"} | {site: f"{visit}{site.upper()}" for site in HIGHEST if site != "kl"}
    if absent := [name for name in (*CODES, barcode, named["kl"]) if name not in at]:
        notes.append(f"{path.name}: lacks the columns {', '.join(absent)}; it has {', '.join(header[:8])}; left out")
        return []
    if absent := [name for name in named.values() if name not in at]:
        notes.append(f"{path.name}: lacks the columns {', '.join(absent)}; those grades are missing")
    good, unlinked, decimals = [], 0, 0
    for number, cells in rest:
        line = f"{path.name}, line {number}"
        if len(cells) != len(header):
            notes.append(f"{line}: {len(cells)} cells, expected {len(header)}; left out")
            continue
        codes = {name: _code(cells[at[name]]) for name in CODES}
        codes["SIDE"] = SIDES.get(codes["SIDE"])
        if wrong := next((name for name, code in codes.items() if code is None), None):
            notes.append(f"{line}: {wrong} = '{cells[at[wrong]][:20]}', expected {CODES[wrong]}; left out")
            continue
        link = BARCODE.fullmatch(cells[at[barcode]])
        if not link:
            unlinked += 1
            continue
        row = {"patient": f"{codes['ID']:07d}", "visit": visit, "series": link[1].zfill(8)[-8:], "side": codes["SIDE"]}
        row |= {"project": SAME.get(codes["READPRJ"], codes["READPRJ"]), "line": line}
        for grade, column in named.items():
            cell = cells[at[column]] if column in at else ""
            value = VALUE.fullmatch(cell)
            if value and float(value[1]) < HIGHEST[grade] + 1:
                row[grade] = float(np.floor(float(value[1])))
                decimals += row[grade] != float(value[1])
            elif not MISSING.fullmatch(cell):
                expected = f"expected a grade 0 to {HIGHEST[grade]}"
                notes.append(f"{line}: {column} = '{cell[:20]}', {expected}; taken as missing")
        good.append(row)
    if unlinked:
        notes.append(f"{path.name}: {unlinked} lines without a barcode, which ties a reading to its film; left out")
    if decimals:
        notes.append(f"{path.name}: {decimals} grades with decimals (change within a grade), which are cut off")
    return good


def _code(cell: str) -> int | None:
    """The whole number that a cell such as `1`, `1.0` or `1: Right` holds."""
    value = VALUE.fullmatch(cell)
    return int(float(value[1])) if value and float(value[1]).is_integer() else None
