"""A user's own images by a manifest, a table (CSV or Parquet) with a line an image: how it is read, how it is begun.

A line that nobody could read as it was meant is left out and noted, or its image is listed as unreadable; nothing is
repaired. Whatever the table says, only files below the root are opened.
"""

import csv
import io
import json
import math
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ortholib import dicomfile, ids, imagefile, paths, progress, prose
from ortholib.datasets.base import ImageSet, box_table, long_labels, walk
from ortholib.errors import OrthoError, UsageError

SUFFIXES = (".csv", ".parquet")
REQUIRED = ("path", "group")
TEXTS = ("exam", "plane", "body_part", "view", "modality")
COLUMNS = (*REQUIRED, "split", "frame", *TEXTS, "boxes")  # every other column of numbers is a label
PARTS = {"": "", "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
ORDER = ("train", "val", "test")
NOTHING = ("na", "n/a", "#n/a", "nan", "null", "none", "<na>")
CLASS = "finding"  # of a box that names none
SHOWN = 20  # lines, files or groups that one kind of note spells out
MAX_FRAME = 10**6
MAX_PLANES = 10**4  # of a file of which no plane is named

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
    labels = _labels(table, notes).add_prefix("label ")  # or a label called `value` would meet our own columns
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
    again = table.join(labels).duplicated()
    _note_lines(notes, table.index[again], "the same as a line before; read once")
    table = _distinct(_planes(root, table[~again], files), notes)
    if table.empty:
        raise OrthoError(f"{file}: none of its {prose.count(n, 'line')} can be used: {'; '.join(notes)}. Correct them.")
    if (table["reason"] == "missing file").all():
        raise OrthoError(
            f"{file}: none of its files is there; the first, '{table['path'].iloc[0]}', was looked for in {root}. "
            "Paths are relative to the manifest's folder: name another one with --root."
        )
    _note_crossing(table, notes)
    boxes = _boxes(table, notes)
    images = pd.DataFrame(
        {
            "image_id": table["image_id"],
            "path": table["path"],
            "frame": table["frame"].astype(int),
            "exam": _exams(table, notes),
            "plane": table["plane"],
            "group": table["group"],
            "official_part": table["official_part"],
            "body_part": table["body_part"],
            "view": table["view"],
            "modality": table["modality"],
            "width": table["width"],
            "height": table["height"],
            "readable": table["reason"] == "",
            "reason": table["reason"],
        }
    ).reset_index(drop=True)
    values = long_labels(labels.loc[table.index].set_index(pd.Index(images["image_id"])))
    values["label"] = values["label"].str.removeprefix("label ")
    version = f"manifest {file.name}, {prose.count(n, 'row')}"
    return ImageSet(set_name(file), version, root, images, values, boxes, notes, "patient")


def template(folder: Path, out: Path) -> pd.DataFrame:
    """Begin a manifest: a line an image file below `folder`, written to `out` with columns path, group, split, label.

    group: the hash of the DICOM header's PatientID, else the name of the folder directly below `folder`, else empty.
    Files are taken by name, or by the DICM mark, and not decoded; hidden files are skipped, links are not followed.
    The frame's `attrs` say how groups were guessed, what was skipped and why, and what to do next.
    Raises UsageError for an `out` that exists, that is no .csv, or that lies in `folder` or in the data root.
    """
    folder, out = folder.expanduser().resolve(), out.expanduser()
    if not folder.is_dir():
        raise OrthoError(f"{folder} is no folder; expected the one that holds your images.")
    _check_place(folder, out)
    found, skipped = _found(folder)
    if not found:
        why = ", ".join(f"{reason}: {k}" for reason, k in skipped.items()) or "it is empty"
        raise OrthoError(f"{folder} holds no image file ({why}). Name the folder that holds your images with --from.")
    table = pd.DataFrame(found, columns=["path", "patient"]).astype(str).sort_values("path", ignore_index=True)
    top = table["path"].where(table["path"].str.contains("/"), "").str.partition("/")[0]
    by_header = table["patient"] != ""
    names = table.loc[by_header, "patient"].unique()
    hashes = dict(zip(names, ids.hashed(names, set_name(out)), strict=True)) if len(names) else {}
    table["group"] = table["patient"].map(hashes).where(by_header, top).astype(str)
    table = table.assign(split="", label="")[["path", "group", "split", "label"]]
    try:
        with out.open("x", encoding="utf-8-sig", newline="") as stream:  # the mark tells spreadsheets that it is UTF-8
            table.to_csv(stream, index=False)
    except OSError as error:
        raise OrthoError(f"{out} cannot be written ({error.strerror}). Choose another place with --out.") from error
    notes = []
    if by_header.any() and not by_header.all():
        notes.append(
            "some groups are from DICOM headers and some from folders: one patient may have two; make them one"
        )
    table.attrs = {
        "manifest": str(out),
        "root": str(folder),
        "files": len(table),
        "groups": int(table.loc[table["group"] != "", "group"].nunique()),
        "group_from": {
            "PatientID of the DICOM header, hashed": int(by_header.sum()),
            "name of the top folder": int((~by_header & (top != "")).sum()),
            "nothing: left empty": int((table["group"] == "").sum()),
        },
        "skipped": dict(skipped),
        "notes": notes,
        "next": "See that `group` is the patient, fill in the labels, then: "
        f"ortholib data check {out} --root {folder} (paths are relative to that folder)",
    }
    return table


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


def _table(file: Path) -> tuple[pd.DataFrame, list[str]]:
    """The cells as stripped text (known columns always there), by number of the line, without empty lines; notes."""
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{file}: expected a manifest that ends in {' or '.join(SUFFIXES)}.")
    try:
        cells, names, notes = _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file)
    except OrthoError:
        raise
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:  # pandas' own errors are ValueErrors
        text = str(error).strip().removeprefix("Error tokenizing data. C error: ")[:120]
        raise OrthoError(
            f"{file} is no readable table: {text}. Expected the columns {', '.join(REQUIRED)} and your labels, with as "
            "many cells in each line as in the first."
        ) from error
    names = [CONTROL.sub(" ", name).strip() for name in names]
    names = [name.lower() if name.lower() in COLUMNS else name for name in names]
    if twice := [name for name, count in Counter(names).items() if count > 1 and name]:
        raise OrthoError(
            f"{file} has the column '{twice[0]}' more than once; nobody can say which is meant. Rename one."
        )
    if absent := [name for name in REQUIRED if name not in names]:
        raise OrthoError(
            f"{file} lacks the column {' and '.join(absent)}; it has {', '.join(names[:20]) or 'none'}. Expected at "
            "least path (of the image) and group (its patient); `ortholib data manifest` begins such a table."
        )
    texts = {}
    for position, name in enumerate(names):
        column = cells.iloc[:, position].fillna("").astype(str).str.strip()
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
    for name in COLUMNS:
        if name not in table:
            table[name] = pd.Series("", index=table.index, dtype=str)
    return table, notes


def _csv(file: Path) -> tuple[pd.DataFrame, list[str], list[str]]:
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise OrthoError(
            f"{file}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8. Save the table again as 'CSV UTF-8'."
        ) from error
    if not text.strip():
        raise OrthoError(f"{file} is empty; expected a first line with path, group and your labels.")
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    headers = {mark: next(csv.reader([first], delimiter=mark)) for mark in ",;\t"}
    whole = [mark for mark, names in headers.items() if {name.strip().lower() for name in names} >= set(REQUIRED)]
    mark = whole[0] if whole else max(headers, key=lambda mark: len(headers[mark]))
    options = {"header": None, "dtype": str, "na_filter": False, "skip_blank_lines": False}
    cells = pd.read_csv(io.StringIO(text), sep=mark, **options)  # headerless, or a line too long would be no error
    names, cells = cells.iloc[0].fillna("").astype(str).tolist(), cells.iloc[1:].copy()
    cells.index = pd.Index(np.arange(len(cells)) + 2, name="line")
    if '"' in text:  # cells may hold line ends
        ends = sum(cells[column].str.count("\n").fillna(0).astype(int) for column in cells)
        cells.index = pd.Index(cells.index + ends.cumsum().shift(fill_value=0), name="line")
    notes = []
    if mark == ";":
        notes.append(f"{file.name} has semicolons between its cells: read so, with a comma as the decimal sign")
        for column, name in enumerate(names):
            if name.strip().lower() not in COLUMNS:
                cells[column] = cells[column].str.replace(r"^(\s*[+-]?\d*),(\d+\s*)$", r"\1.\2", regex=True)
    elif mark == "\t":
        notes.append(f"{file.name} has tabs between its cells: read so")
    return cells, names, notes


def _parquet(file: Path) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Every column as text, so that one set of rules holds; whole numbers keep all their digits."""
    with pq.ParquetFile(file) as stored:
        table = stored.read()
    columns, names, notes = [], [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if re.fullmatch(r"__index_level_\d+__", name):  # what pandas counted the rows with
            continue
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            if name.strip().lower() in COLUMNS:
                raise OrthoError(f"{file}: column '{name}' holds {column.type}; expected text (boxes as JSON text).")
            notes.append(f"column '{name}' holds {column.type}; ignored")
            continue
        if pa.types.is_floating(column.type):  # numbers of patients, where some cell is empty
            with suppress(pa.ArrowInvalid):
                column = pc.if_else(pc.is_nan(column), None, column).cast(pa.int64())
        column = column.cast(pa.string())
        column.validate(full=True)  # bytes that are no UTF-8 would only be found far from here
        columns.append(column.to_pandas().rename(None))
        names.append(name)
    cells = pd.concat(columns, axis=1) if columns else pd.DataFrame()
    cells.index = pd.Index(np.arange(len(cells)) + 1, name="row")
    return cells, names, notes


# its columns


def _labels(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The columns of numbers, as float with NaN where nothing was asked; other columns are noted."""
    labels = {}
    for name in (name for name in table.columns if name not in COLUMNS):
        cells = table[name]
        asked = cells != ""
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
            labels[name] = numbers.mask(infinite)
    return pd.DataFrame(labels, index=table.index, dtype=float)


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
    plain = groups.str.casefold().str.lstrip("0")
    twins = plain[plain.duplicated()].unique()
    alike = "differ only in capitals or zeros; taken as different patients, make them one if they are one"
    _note_some(notes, twins, lambda twin: f"groups {' and '.join(map(repr, sorted(groups[plain == twin])))} {alike}")
    short = table["group"].str.match(SHORTENED)
    _note_lines(notes, table.index[short], "group looks like a long number that a spreadsheet shortened; check it")


def _note_crossing(table: pd.DataFrame, notes: list[str]) -> None:
    placed = table[table["official_part"] != ""].drop_duplicates(["group", "official_part"])
    crossing = placed["group"][placed["group"].duplicated()].unique()

    def sentence(group: str) -> str:
        parts = set(placed.loc[placed["group"] == group, "official_part"])
        return f"patient '{group}' in {' and '.join(p for p in ORDER if p in parts)}: scores on this split leak"

    _note_some(notes, crossing, sentence)


# its files


def _located(root: Path, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table with `path` below the root in one spelling, and the state of its files by path:
    `width, height, reason, planes`."""
    places = {cell: _place(root, cell) for cell in table["path"].unique()}
    table = table.assign(path=table["path"].map({cell: path for cell, (path, _) in places.items()}).astype(str))
    refused = {path: reason for path, reason in places.values() if reason}
    files = walk(root, [root / path for path in {path for path, reason in places.values() if not reason}])
    files = files.set_index("path").assign(planes=1)
    good = files.index[files["reason"] == ""]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = list(pool.map(_count, [root / path for path in good]))
    files.loc[good, "planes"] = [n for n, _ in counted]
    files.loc[good, "reason"] = [reason for _, reason in counted]
    listed = pd.DataFrame({"reason": pd.Series(refused, dtype=str)}).assign(width=0, height=0, planes=1)
    files = pd.concat([listed, files])
    return table, files[~files.index.duplicated()]


def _place(root: Path, cell: str) -> tuple[str, str]:
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
        return inside, imagefile.reason(error)


def _count(path: Path) -> tuple[int, str]:
    try:
        return imagefile.frames(path), ""
    except imagefile.UNREADABLE as error:
        return 1, imagefile.reason(error)


def _planes(root: Path, table: pd.DataFrame, files: pd.DataFrame) -> pd.DataFrame:
    """One row a plane, with `image_id, width, height, reason`; `spread`: the line named none of several planes."""
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
    several = [path for path in files.index[files["planes"] > 1] if imagefile.kind(root / path) == "picture"]
    rows = np.flatnonzero(table["path"].isin(several) & (table["frame"] > 0) & (table["reason"] == ""))
    pages = list(table[["path", "frame"]].iloc[rows].itertuples(index=False, name=None))

    def measure(page: tuple[str, int]) -> tuple[int, int, str]:
        try:
            height, width = imagefile.read(root / page[0], frame=page[1]).shape
            return width, height, ""
        except imagefile.UNREADABLE as error:
            return 0, 0, imagefile.reason(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        states = list(progress.bar(pool.map(measure, pages), total=len(pages), desc="pages", unit="page"))
    for name, values in zip(("width", "height", "reason"), zip(*states, strict=True), strict=False):
        table.iloc[rows, table.columns.get_loc(name)] = list(values)


def _distinct(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The rows whose image stands once; of others nobody can say which line is meant."""
    twice = table["image_id"].duplicated(keep=False)

    def sentence(image_id: str) -> str:
        lines = table.index[table["image_id"] == image_id]
        numbers = ", ".join(map(str, lines[:4])) + (" and more" if len(lines) > 4 else "")
        return f"{image_id}: {lines.name}s {numbers} are of this image and do not say the same; all left out"

    _note_some(notes, table.loc[twice, "image_id"].unique(), sentence)
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
                x0, y0, x1, y1, name = _box(box)
            except (ValueError, OverflowError):
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
    _note_some(notes, list(dict.fromkeys(said)), str)
    return box_table(rows)


def _box(box: object) -> tuple[float, float, float, float, str]:
    """Raises ValueError or OverflowError for what is no box."""
    if not isinstance(box, list) or len(box) not in (4, 5):
        raise ValueError
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in box[:4]):
        raise ValueError
    corners = [float(value) for value in box[:4]]
    name = box[4] if len(box) == 5 else CLASS
    if not (all(map(math.isfinite, corners)) and isinstance(name, str) and name.strip()):
        raise ValueError
    return (*corners, name.strip())


# its notes


def _note_lines(notes: list[str], lines: pd.Index, what: str) -> None:
    """One note for all lines of which the same is to be said; none for none."""
    if len(lines):
        numbers, more = ", ".join(map(str, lines[:SHOWN])), len(lines) - SHOWN
        if more > 0:
            numbers += f" and {more:,} more"
        notes.append(f"{lines.name}{'s' if len(lines) > 1 else ''} {numbers}: {what}")


def _note_some(notes: list[str], items: Sequence[str], sentence: Callable[[str], str]) -> None:
    """A note an item; of very many only the first are spelled out."""
    notes += [sentence(item) for item in items[:SHOWN]]
    if len(items) > SHOWN:
        notes.append(f"and {len(items) - SHOWN:,} more such")


# the beginning of a manifest


def _check_place(folder: Path, out: Path) -> None:
    if out.suffix.lower() != ".csv":
        raise UsageError(f"{out}: a manifest is begun as CSV; expected a name that ends in .csv.")
    if os.path.lexists(out):
        raise UsageError(f"{out} exists already and is not overwritten; choose another name with --out.")
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent} is no folder; make it, or choose another place with --out.")
    for closed in filter(None, (folder, paths.data_root())):
        if out.parent.resolve().is_relative_to(closed):
            raise UsageError(
                f"{out} lies in {closed}, and nothing is ever written where images are. Name another place with --out; "
                f"`ortholib data check MANIFEST --root {folder}` reads it there."
            )


def _found(folder: Path) -> tuple[list[tuple[str, str]], Counter]:
    """(path below the folder, PatientID or "") of the image files, and how many others there are by reason."""
    found, skipped = [], Counter()

    def closed(_: OSError) -> None:
        skipped["a folder that cannot be opened"] += 1

    for inside, folders, files in progress.bar(os.walk(folder, onerror=closed), desc="looking", unit="folder"):
        for name in list(folders):
            if name.startswith(".") or os.path.islink(os.path.join(inside, name)):
                folders.remove(name)
                skipped["a hidden folder" if name.startswith(".") else "a link"] += 1
        for name in files:
            path = Path(inside, name)
            try:
                patient = _patient(folder, path)
            except imagefile.UNREADABLE as error:
                skipped[imagefile.reason(error)] += 1
            else:
                found.append((path.relative_to(folder).as_posix(), patient))
    return found, skipped


def _patient(folder: Path, path: Path) -> str:
    """PatientID of a DICOM file, "" of another image. Raises one of UNREADABLE for what is no image file."""
    if path.name.startswith(".") or path.name == "Thumbs.db":
        raise ValueError("a hidden file")
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        raise ValueError("a link" if stat.S_ISLNK(mode) else "no plain file")
    inside = path.relative_to(folder).as_posix()
    try:
        inside.encode()
    except UnicodeEncodeError:
        raise ValueError("a name that is not UTF-8") from None
    if _place(folder, inside) != (inside, "") or inside != inside.strip():
        raise ValueError("a name that a manifest cannot hold")
    if path.suffix.lower() in imagefile.PICTURES or imagefile.kind(path) == "volume":
        return ""
    if not dicomfile.is_dicom(path):
        raise ValueError("not an image, by its name")
    header = dicomfile.header(path)
    if "Rows" not in header:
        raise ValueError("a DICOM file without a picture")
    return CONTROL.sub("", str(header.get("PatientID") or "")).strip()
