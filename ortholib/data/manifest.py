"""A user's own images by a manifest, a table (CSV or Parquet) with a line an image.

A table of another form is refused, never guessed at. A line that nobody could read as it was meant is left out and
noted, or its image is listed as unreadable; nothing is repaired. Whatever the table says, only files below the root are
opened.
"""

import io
import json
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pyarrow import ArrowException
from pydantic import Field, StringConstraints, TypeAdapter

from ortholib import progress, wording
from ortholib.data import ids
from ortholib.data.files import UNREADABLE, examine, frames, kind
from ortholib.data.files import reason as reason_of
from ortholib.data.table import ImageSet, box_table, image_table, long_labels, walk
from ortholib.errors import OrthoError, UsageError

SUFFIXES = {  # of a manifest, and what is expected in it
    ".csv": "Expected UTF-8, commas between the cells, double quotes around a cell that holds a comma, as many cells "
    "in every line as in the first, and there the names of the columns, path and group among them. Save the table as "
    "'CSV UTF-8 (comma delimited)' with a point as the decimal sign, or begin one with `ortholib data manifest`.",
    ".parquet": "Expected columns of text and numbers, path and group among them, and boxes as JSON text.",
}
REQUIRED = ("path", "group")
TEXTS = ("exam", "plane", "body_part", "view", "modality")
COLUMNS = (*REQUIRED, "split", "frame", *TEXTS, "boxes")  # every other column of numbers is a label
PARTS = {"": "", "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
ORDER = ("train", "val", "test")
NOTHING = ("na", "n/a", "#n/a", "nan", "null", "none", "<na>")
TRUTH = {"true": "1", "false": "0"}
CLASS = "finding"  # of a box that names none
SHOWN = 20  # lines that one note spells out
MAX_FRAME = 10**6
MAX_PLANES = 10**4  # of a file of which no plane is named

Corner = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
BOX = TypeAdapter(tuple[Corner, Corner, Corner, Corner] | tuple[Corner, Corner, Corner, Corner, Name])

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
DRIVE = re.compile(r"^[A-Za-z]:")
HOME = re.compile(r"^~[^/]*(/|$)")
SHORTENED = r"^\d(?:[.,]\d+)?[eE]\+\d+$"  # how spreadsheets show, and save, long numbers


def read(file: Path, root: Path | None = None) -> ImageSet:
    """Read the images that a manifest names.

    Needed columns: `path` (relative to `root`, else to the manifest's folder) and `group` (the patient). Known ones:
    `split`, `frame` (from 0; empty: all planes of the file), `exam` (else the file), `plane`, `body_part`, `view`,
    `modality`, and `boxes` (JSON, [[x0, y0, x1, y1] or [x0, y0, x1, y1, "class"], ...], pixels of the upright image).
    Every other column of numbers is a label of the image, an empty cell is a label that was not asked. The image id is
    the path, `<path>#<frame>` in a file of several planes.

    Raises OrthoError for a table that cannot be read, lacks a needed column or has one twice, for an unknown word under
    `split` (it would change the study), and where no line is left or no file is there.
    """
    root = _root(file, root)
    table, notes = _table(file)
    n = len(table)
    labels = _labels(table, notes)
    table = table[list(COLUMNS)]
    table["official_part"] = _parts(file, table["split"])
    table["frame"], bad_frame = _frames(table["frame"])
    for wrong, why in (
        (table["path"] == "", "no path"),
        (table["group"] == "", "no group, so nobody could say whose image it is"),
        (bad_frame, f"frame is no whole number from 0 to {MAX_FRAME:,}"),
    ):
        _note_lines(notes, table.index[wrong], f"{why}; left out")
    table = table[(table["path"] != "") & (table["group"] != "") & ~bad_frame]
    _note_groups(table, notes)
    table, files = _located(root, table)
    again = pd.concat([table, labels.loc[table.index]], axis=1).duplicated()
    _note_lines(notes, table.index[again], "the same as a line before; read once")
    table = _distinct(_planes(root, table[~again], files), notes)
    if table.empty:
        why = "; ".join(notes[:4])
        raise OrthoError(f"{file}: none of its {wording.count(n, 'line')} can be used: {why}. Correct them.")
    if (table["reason"] == "missing file").all():
        raise OrthoError(
            f"{file}: none of its files is there; the first, '{table['path'].iloc[0]}', was looked for in {root}. "
            "Paths are relative to the manifest's folder: name another one with --root."
        )
    _note_crossing(table, notes)
    boxes = _boxes(table, notes)
    facts = table.assign(exam=_exams(table, notes))[["exam", "group", "frame", "official_part", *TEXTS[1:]]]
    images = image_table(table, **facts)
    values = long_labels(labels.loc[table.index].set_axis(images["image_id"]))
    version = f"manifest {file.name}, {wording.count(n, 'row')}"
    return ImageSet(set_name(file), version, root, images, values, boxes, notes, "patient")


def set_name(file: Path) -> str:
    """Name of the set: the manifest's, in small letters, digits and `_`; never that of a published set, whose salt is
    public."""
    plain = unicodedata.normalize("NFKD", file.stem).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:60] or "manifest"
    return f"{name}_manifest" if name in ids.PUBLISHED else name


# the table


def _root(file: Path, root: Path | None) -> Path:
    if not file.is_file():
        raise OrthoError(f"{file} is no file; expected a manifest, a table (.csv or .parquet) with a line an image.")
    folder = (file.parent if root is None else root).resolve()
    if not folder.is_dir():
        raise OrthoError(f"{folder} is not a folder; expected the one to which the paths in {file.name} are relative.")
    return folder


def _refused(file: Path, line: int | None, found: str) -> OrthoError:
    where = file if line is None else f"{file}, line {line}"
    return OrthoError(f"{where}: found {found}. {SUFFIXES[file.suffix.lower()]}")


def _table(file: Path) -> tuple[pd.DataFrame, list[str]]:
    """The cells as stripped text (known columns always there), by number of the line, without empty lines; notes."""
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{file}: expected a manifest that ends in {' or '.join(SUFFIXES)}.")
    cells, notes = _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file), []
    texts = {}
    for position, name in enumerate(cells.columns):
        column = cells.iloc[:, position].astype(str).str.strip()
        if name == "path":
            texts[name] = column
        elif name:
            column = column.str.replace(CONTROL.pattern, " ", regex=True)
            texts[name] = column.mask(column.str.lower().isin(NOTHING), "")
        elif (column != "").any():
            notes.append(f"column {position + 1} has no name; ignored")
    table = pd.DataFrame(texts)
    table = table[(table != "").any(axis=1)]
    if table.empty:
        raise OrthoError(f"{file} has a first line and none below it; expected a line an image.")
    return table.reindex(columns=list(dict.fromkeys([*table, *COLUMNS])), fill_value="").astype(str), notes


def _names(file: Path, found: Iterable) -> list[str]:
    """Names of the columns, known ones in small letters. Raises OrthoError where one is absent or stands twice."""
    names = [CONTROL.sub(" ", str(name)).strip() for name in found]
    names = [name.lower() if name.lower() in COLUMNS else name for name in names]
    if absent := [name for name in REQUIRED if name not in names]:
        line = 1 if file.suffix.lower() == ".csv" else None
        shown = ", ".join(map(repr, names[:20]))[:200]
        raise _refused(file, line, f"the columns {shown}, and no column {' and '.join(absent)}")
    if twice := [name for name, count in Counter(names).items() if count > 1 and name]:
        raise OrthoError(
            f"{file} has the column '{twice[0]}' more than once; nobody can say which is meant. Rename one."
        )
    return names


def _csv(file: Path) -> pd.DataFrame:
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _refused(file, line, f"byte 0x{data[error.start]:02x}, which is not UTF-8") from error
    if said := re.match(r'"?sep=[^\r\n]*', text, re.IGNORECASE):
        raise _refused(file, 1, f"'{said[0][:40]}', a spreadsheet's own line before the names; delete it")
    options = {"header": None, "dtype": str, "na_filter": False, "skip_blank_lines": False}
    try:
        # headerless, or a line too long would be no error; the names first, for another separator spoils all lines
        names = _names(file, pd.read_csv(io.StringIO(text), nrows=1, **options).iloc[0])
        cells = pd.read_csv(io.StringIO(text), **options)
    except pd.errors.EmptyDataError as error:
        raise _refused(file, 1, "nothing") from error
    except pd.errors.ParserError as error:
        said = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        long = re.fullmatch(r"Expected (\d+) fields in line (\d+), saw (\d+)", said)
        quote = re.fullmatch(r"EOF inside string starting at row (\d+)", said)
        row = int(long[2]) - 1 if long else int(quote[1]) if quote else 0
        found = f"{long[3]} cells, and {long[1]} in the first line" if long else "a quote that is never closed"
        line = _begins(pd.read_csv(io.StringIO(text), nrows=row, **options))[-1] if row else 1
        raise _refused(file, line, found if long or quote else said) from error
    cells.index = pd.Index(_begins(cells)[:-1], name="line")
    return cells.iloc[1:].set_axis(names, axis=1).fillna("")


def _begins(cells: pd.DataFrame) -> np.ndarray:
    """Number of the line where each row begins, and of the one after the last: cells may hold line ends."""
    ends = sum(cells[column].str.count("\n").fillna(0).to_numpy(int) for column in cells)
    return np.concatenate([[1], 1 + np.cumsum(1 + ends)])


def _parquet(file: Path) -> pd.DataFrame:
    """Every column as text, so that one set of rules holds; whole numbers keep all their digits."""
    try:
        table = pd.read_parquet(file, dtype_backend="numpy_nullable")
        table = table if table.index.names == [None] else table.reset_index()
        for name in table.select_dtypes(["Float64", "Float32"]):  # numbers of patients, where some cell is empty
            known = table[name].dropna()
            if ((known % 1 == 0) & (known.abs() < 2**63)).all():
                table[name] = table[name].astype("Int64")
        nested = [name for name in table if table[name].map(type).isin([np.ndarray, list, dict]).any()]
        cells = table.astype("string").fillna("").apply(lambda column: column.str.strip())
    except (OSError, ValueError, TypeError, ArrowException) as error:
        raise _refused(file, None, f"no readable table ({wording.one_line(error)})") from error
    names = _names(file, table.columns)
    if known := [name for name in nested if name.lower() in COLUMNS]:
        raise _refused(file, None, f"lists in the column {known[0]}")
    cells.index = pd.RangeIndex(1, len(cells) + 1, name="row")
    return cells.set_axis(names, axis=1)


# its columns


def _labels(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The columns of numbers, as float with NaN where nothing was asked; other columns are noted."""
    labels = {}
    for name in (name for name in table.columns if name not in COLUMNS):
        cells = table[name]
        asked = cells != ""
        words = cells.str.lower()
        if words[asked].isin(TRUTH).all():
            cells = words.map(TRUTH).fillna("")
        numbers = pd.to_numeric(cells.where(asked), errors="coerce").astype(float)
        wrong = asked & numbers.isna()
        if not asked.any():
            notes.append(f"column '{name}' is empty; no label yet")
        elif wrong.any():
            line = table.index[wrong][0]
            notes.append(
                f"column '{name}' is no label: {int(wrong.sum()):,} of its {int(asked.sum()):,} cells are no numbers, "
                f"the first '{cells[wrong].iloc[0][:40]}' in {table.index.name} {line}; ignored"
            )
        else:
            infinite = np.isinf(numbers)
            _note_lines(notes, table.index[infinite], f"{name} is infinite; taken as not asked")
            absent = _no_grade(numbers)
            _note_lines(notes, table.index[absent], f"{name} is -1, which is no grade; taken as not asked")
            labels[name] = numbers.mask(infinite | absent)
    return pd.DataFrame(labels, index=table.index, dtype=float)


def _no_grade(numbers: pd.Series) -> pd.Series:
    """Which cells are -1 in a column that else holds grades, whole numbers from 0 to 9: the usual mark of unknown."""
    others = numbers[(numbers != -1) & numbers.notna()]
    return (numbers == -1) & bool((others.between(0, 9) & (others % 1 == 0)).all())


def _parts(file: Path, words: pd.Series) -> pd.Series:
    parts = words.str.lower().map(PARTS)
    if parts.isna().any():
        line = words.index[parts.isna()][0]
        raise OrthoError(
            f"{file}, {words.index.name} {line}: split '{words[parts.isna()].iloc[0][:40]}', expected train, val, test "
            "or nothing. Correct it: an image in another part than meant changes the study."
        )
    return parts.astype(str)


def _frames(cells: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Frame numbers (-1: none is named), and which cells are none."""
    named = cells != ""
    numbers = pd.to_numeric(cells.where(named), errors="coerce").astype(float)
    bad = named & ~((numbers >= 0) & (numbers % 1 == 0) & (numbers <= MAX_FRAME))
    return numbers.mask(bad).fillna(-1).astype(int), bad


def _exams(table: pd.DataFrame, notes: list[str]) -> pd.Series:
    """The exam, else the file. A number that several patients' exams carry is told apart by the patient."""
    exams = table["exam"].where(table["exam"] != "", table["path"])
    shared = exams.groupby(exams).transform("size") > 1
    several = table["group"][shared].groupby(exams[shared]).nunique()
    torn = exams.isin(several.index[several > 1])
    if torn.any():
        first = exams[torn].iloc[0]
        notes.append(
            f"exam '{first}' stands with {several[first]} groups ({int((several > 1).sum()):,} such exams in all): "
            "taken as one exam a group, named <group>:<exam>"
        )
    return exams.mask(torn, table["group"] + ":" + exams)


def _note_groups(table: pd.DataFrame, notes: list[str]) -> None:
    """Groups that look like one patient under two names, or several under one."""
    groups = pd.Series(table["group"].unique(), dtype=str)
    for _, alike in groups.groupby(groups.str.casefold().str.lstrip("0"), sort=False):
        if len(alike) > 1:
            notes.append(
                f"groups {' and '.join(map(repr, sorted(alike)))} differ only in capitals or zeros; taken as different "
                "patients, make them one if they are one"
            )
    short = table["group"].str.match(SHORTENED)
    _note_lines(notes, table.index[short], "group looks like a long number that a spreadsheet shortened; check it")


def _note_crossing(table: pd.DataFrame, notes: list[str]) -> None:
    parts = table[table["official_part"] != ""].groupby("group", sort=False)["official_part"].unique()
    for group, found in parts[parts.map(len) > 1].items():
        named = " and ".join(part for part in ORDER if part in found)
        notes.append(f"patient '{group}' in {named}: scores on this split leak")


# its files


def _located(root: Path, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table with `path` below the root in one spelling, and the state of its files by path:
    `width, height, reason, doubt, planes`."""
    places = {cell: place(root, cell) for cell in table["path"].unique()}
    table = table.assign(path=table["path"].map({cell: path for cell, (path, _) in places.items()}).astype(str))
    refused = {path: reason for path, reason in places.values() if reason}
    files = walk(root, [root / path for path in {path for path, reason in places.values() if not reason}])
    files = files.set_index("path").assign(planes=1)
    good = files.index[files["reason"] == ""]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = list(pool.map(_count, [root / path for path in good]))
    files.loc[good, "planes"] = [n for n, _ in counted]
    files.loc[good, "reason"] = [reason for _, reason in counted]
    listed = pd.DataFrame({"reason": pd.Series(refused, dtype=str)}).assign(width=0, height=0, planes=1, doubt="")
    files = pd.concat([listed, files])
    return table, files[~files.index.duplicated()]


def place(root: Path, cell: str) -> tuple[str, str]:
    """(path below the root, why it is not to be opened) of a cell; nothing is opened here."""
    path = cell.replace("\\", "/")
    if CONTROL.search(path):
        return CONTROL.sub("\N{REPLACEMENT CHARACTER}", path), "a path with control characters"
    if DRIVE.match(path):
        return path, "a path with a drive letter, expected one below the root"
    if HOME.match(path):
        return path, "a path in a home folder, expected one below the root"
    above = str(root).rstrip("/")
    whole = os.path.normpath(f"{above}/{path}" if not path.startswith("/") else path)
    if not whole.startswith(f"{above}/"):
        return path, "a folder, no file" if whole == above else "a path out of the root"
    inside = whole[len(above) + 1 :]
    name = inside.rpartition("/")[2]
    if name.startswith(".") or name == "Thumbs.db":
        return inside, "a hidden file, which is no data"
    try:
        return inside, "a folder, no file" if stat.S_ISDIR(os.stat(whole).st_mode) else ""
    except (FileNotFoundError, NotADirectoryError):
        return inside, "" if os.path.islink(whole) else "missing file"
    except OSError as error:  # links in a circle, a name longer than a name can be, a locked folder
        return inside, reason_of(error)


def _count(path: Path) -> tuple[int, str]:
    try:
        return frames(path), ""
    except UNREADABLE as error:
        return 1, reason_of(error)


def _planes(root: Path, table: pd.DataFrame, files: pd.DataFrame) -> pd.DataFrame:
    """One row a plane, with `image_id, width, height, reason, doubt`; `spread`: no plane of several was named."""
    states = files.loc[table["path"]]
    table = table.assign(**{name: states[name].array for name in files.columns})
    many = (table["frame"] < 0) & (table["planes"] > MAX_PLANES)
    table["reason"] = table["reason"].mask(many, f"more than {MAX_PLANES:,} planes; name one in `frame`")
    table["frame"] = table["frame"].mask(many, 0)
    counts = table["planes"].where(table["frame"] < 0, 1).to_numpy()
    spread = table.iloc[np.repeat(np.arange(len(table)), counts)]
    first = np.repeat(np.cumsum(counts) - counts, counts)
    frame = np.where(spread["frame"] < 0, np.arange(len(spread)) - first, spread["frame"])
    table = spread.assign(frame=frame, spread=np.repeat(counts > 1, counts))
    beyond = (table["reason"] == "") & (table["frame"] >= table["planes"])
    reasons = "frame " + table["frame"].astype(str) + " of a file that holds " + table["planes"].astype(str)
    table["reason"] = table["reason"].mask(beyond, reasons)
    _measure_pages(root, table, files)
    table[["width", "height"]] = table[["width", "height"]].where(table["reason"] == "", 0)
    plain = (table["planes"] == 1) & (table["frame"] == 0)
    table["image_id"] = table["path"].where(plain, table["path"] + "#" + table["frame"].astype(str))
    return table


def _measure_pages(root: Path, table: pd.DataFrame, files: pd.DataFrame) -> None:
    """The later pages of a TIFF have sizes of their own, and may be damaged: they are decoded here."""
    several = [path for path in files.index[files["planes"] > 1] if kind(root / path) == "picture"]
    rows = np.flatnonzero(table["path"].isin(several) & (table["frame"] > 0) & (table["reason"] == ""))
    pages = list(table[["path", "frame"]].iloc[rows].itertuples(index=False, name=None))

    def measure(page: tuple[str, int]) -> tuple[int, int, str, str]:
        return examine(root / page[0], page[1])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        states = list(progress.bar(pool.map(measure, pages), total=len(pages), desc="pages", unit="page"))
    for name, values in zip(("width", "height", "reason", "doubt"), zip(*states, strict=True), strict=False):
        table.iloc[rows, table.columns.get_loc(name)] = list(values)


def _distinct(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The rows whose image stands once; of others nobody can say which line is meant."""
    twice = table["image_id"].duplicated(keep=False)
    for image_id, rows in table[twice].groupby("image_id", sort=False):
        numbers = ", ".join(map(str, rows.index[:4])) + (" and more" if len(rows) > 4 else "")
        notes.append(
            f"{image_id}: {rows.index.name}s {numbers} are of this image and do not say the same; all left out"
        )
    return table[~twice]


# its boxes


def _boxes(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Boxes of the readable images. What a box has outside of its image is cut off."""
    drawn = table[(table["boxes"] != "") & (table["reason"] == "")]
    rows, said = [], []
    for line, image_id, text, width, height, spread in zip(
        drawn.index, *(drawn[c] for c in ("image_id", "boxes", "width", "height", "spread")), strict=True
    ):
        where = f"{table.index.name} {line}"
        if spread:
            said.append(f"{where}: boxes in a file of several planes; say in `frame` which one; left out")
            continue
        try:
            boxes = json.loads(text)
            if not isinstance(boxes, list):
                raise ValueError
        except (ValueError, RecursionError):
            said.append(f"{where}: boxes '{text[:40]}', expected JSON such as [[10, 20, 90, 80]]; left out")
            continue
        for box in boxes:
            try:
                x0, y0, x1, y1, name = (*BOX.validate_python(box), CLASS)[:5]
            except ValueError:
                said.append(f'{where}: box {str(box)[:40]}, expected [x0, y0, x1, y1] or with a "class"; left out')
                continue
            cut = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
            if x0 >= x1 or y0 >= y1:
                said.append(f"{where}: box {str(box)[:40]} is empty, expected x0 < x1 and y0 < y1; left out")
            elif cut[0] >= cut[2] or cut[1] >= cut[3]:
                said.append(f"{where}: box {str(box)[:40]} lies outside the image of {width} x {height}; left out")
            else:
                if cut != (x0, y0, x1, y1):
                    said.append(f"{where}: box {str(box)[:40]} leaves the image of {width} x {height}; cut at its edge")
                rows.append((image_id, *cut, name))
    notes += dict.fromkeys(said)
    return box_table(rows)


# its notes


def _note_lines(notes: list[str], lines: pd.Index, what: str) -> None:
    """One note for all lines of which the same is to be said; none for none."""
    if len(lines):
        numbers, more = ", ".join(map(str, lines[:SHOWN])), len(lines) - SHOWN
        if more > 0:
            numbers += f" and {more:,} more"
        notes.append(f"{lines.name}{'s' if len(lines) > 1 else ''} {numbers}: {what}")
