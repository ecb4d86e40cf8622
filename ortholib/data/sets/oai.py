"""OAI radiographs: bilateral knee films (PA, fixed flexion) with Kellgren-Lawrence and OARSI grades of each knee.

Osteoarthritis Initiative, nda.nih.gov/oai. One row is one film, and a film shows both knees; **labels are per knee**:
`unit_id` is `<image_id>/R` or `<image_id>/L`. Where a knee lies on the film is not said anywhere in the release: the
right one is on the left half, and locating it is a later step. All films of one participant share a group.

Layout as released: `[00m/]0.C.2/<participant>/<yyyymmdd>/<8-digit series>/001`, DICOM files without suffix (series that
begin with 0 are radiographs of any body part, with 1 MRI), a `contents.csv` per visit, and anywhere below the root
the tables `kxr_sq_bu<visit>` of the readings (see `kxr`).
"""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ortholib.data import table
from ortholib.data.sets import kxr
from ortholib.data.table import ImageSet
from ortholib.errors import OrthoError

RELEASE = re.compile(r"(\d{1,2})\.[A-Z]\.\d+")  # 0.C.2: visit, part of the cohort, version
LEVELS = (re.compile(r"\d{7}"), re.compile(r"\d{8}"), re.compile(r"0\d{7}"))  # participant, date, series of radiographs
PACKED = re.compile(r"0\d{7}\.(tar\.gz|tgz|zip)", re.IGNORECASE)
DEPTH = 6  # folders between the root and a release
KNEES = re.compile(r"(?:bilateral )?pa fixed flexion (left |right )?knee", re.IGNORECASE)
PLANES = {"left ": "L", "right ": "R"}


@dataclass
class Found:
    """What lies below the root, and notes on what is passed over. `series`: (folder, visit, participant, series)."""

    releases: set[str] = field(default_factory=set)
    series: list[tuple[Path, str, str, str]] = field(default_factory=list)
    packed: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    contents: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(root: Path) -> ImageSet:
    """Read the knee films below `root` that were read, of the visits that have images there.

    Labels of a knee: `kl` 0-4; `os`, `jsn`, `sclerosis`: 1 where any of their sites is graded 1 or more, 0 where all
    are graded 0, else NaN; and the grades 0-3 themselves by their released names in small letters (`xrosfm`, ...).
    Osteophytes and sclerosis were graded only in participants with definite osteoarthritis at some visit; elsewhere
    they are NaN, which is not 0. Of several readings of a knee project 15 counts, else the lowest number.
    Films that were read but are not on disk are listed as unreadable. Lines that are bad or contradict their film are
    left out and noted. Raises OrthoError when the folder is absent, empty or another set, when no table
    can be read, or when no reading belongs to a film.
    """
    found = _search(root)
    notes = found.notes
    readings = kxr.read(found.tables, notes)
    if readings.empty:
        names = ", ".join(path.relative_to(root).as_posix() for path in found.tables[:4])
        raise OrthoError(
            f"{root}: its tables ({names}) hold no readable line; expected the columns ID, SIDE, READPRJ, V00BARCDBU "
            f"and V00XRKL. {notes[-1] + '. ' if notes else ''}Unpack the x-ray image assessments again."
        )
    readings, series = _linked(root, readings, _series(found), notes)
    files = _files(root, series)
    single, repeated = table.unique_ids(files)
    notes += repeated
    unclear = set(files["image_id"]) - set(single["image_id"])
    knees = kxr.one_a_knee(readings[~readings["image_id"].isin(unclear)], notes)
    films = _with_missing(single, knees, notes)
    images = table.image_table(
        films,
        exam=films["patient"] + "-" + films["visit"],
        plane=films["plane"],
        group=films["patient"],
        body_part="knee",
        view="frontal",
    )
    version = "image releases " + ", ".join(sorted(found.releases, key=lambda name: (len(name), name)))
    labels = table.long_labels(_labels(knees, notes))
    return ImageSet("oai", version, root, images, labels, table.box_table(), notes, "patient")


def _search(root: Path) -> Found:
    found = Found()
    _look(root, root, found, 0)
    if not found.releases or not found.tables:
        lacks = "table kxr_sq_bu<visit>.txt" if found.releases else "folder of an image release, such as 0.C.2"
        why = "".join(f" ({note})" for note in found.notes[:1])
        raise table.not_this(
            root,
            "the OAI as released",
            f"a {lacks} somewhere below it{why}: both 00m/0.C.2/<participant>/<date>/<series>/001, ... and the tables "
            "kxr_sq_bu00.txt, ... (text, not SAS) of the x-ray image assessments are needed",
        )
    if found.packed:
        first = found.packed[0].relative_to(root).as_posix()
        found.notes.append(f"{len(found.packed)} series are still packed ({first}, ...); unpack them where they lie")
    return found


def _look(root: Path, folder: Path, found: Found, depth: int) -> None:
    """Add what lies in a folder, without entering MRI series: a release holds millions of their files."""
    for path in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
        if path.is_dir() and path.is_symlink():
            found.notes.append(f"{path.relative_to(root).as_posix()}: a link to a folder; not followed")
        elif path.is_dir() and RELEASE.fullmatch(path.name):
            found.releases.add(path.name)
            _look_release(path, found)
        elif path.is_dir() and depth < DEPTH:
            _look(root, path, found, depth + 1)
        elif kxr.NAME.fullmatch(path.name):
            found.tables.append(path)
        elif re.fullmatch(r"contents.*\.csv", path.name, re.IGNORECASE):
            found.contents.append(path)


def _look_release(release: Path, found: Found) -> None:
    visit, level = f"V{int(release.name.split('.')[0]):02d}", [release]
    for pattern in LEVELS:
        entries = [path for folder in level for path in sorted(folder.iterdir())]
        level = [path for path in entries if pattern.fullmatch(path.name) and path.is_dir()]
    found.series += [(path, visit, path.parents[1].name, path.name) for path in level]
    found.packed += [p for p in entries if PACKED.fullmatch(p.name) and p.with_name(p.name[:8]) not in level]


def _series(found: Found) -> pd.DataFrame:
    """One row a series of radiographs: `folder, visit, patient, series, image_id, kind` (as the index calls it)."""
    series = pd.DataFrame(found.series, columns=["folder", "visit", "patient", "series"])
    kinds = _contents(found)
    series["kind"] = [kinds.get(key, "") for key in zip(series["patient"], series["series"], strict=True)]
    return series.assign(image_id=_image_id(series))


def _image_id(frame: pd.DataFrame) -> pd.Series:
    return frame["patient"].astype(str) + "-" + frame["visit"].astype(str) + "-" + frame["series"].astype(str)


def _contents(found: Found) -> dict[tuple[str, str], str]:
    """What each (participant, series) shows, as the indices of the visits say."""
    kinds = {}
    for path in found.contents:
        try:
            (_, header), *rows = kxr.rows(path)
            names = [name.lower() for name in header]
            folder, what = names.index("folder"), names.index("seriesdescription")
        except (OSError, ValueError, csv.Error):
            found.notes.append(f"{path.name}: no index with the columns Folder and SeriesDescription; not used")
            continue
        for _, cells in rows:
            parts = re.split(r"[/\\]+", cells[folder].strip("/\\")) if len(cells) == len(names) else []
            if len(parts) >= 3:
                kinds[parts[-3], parts[-1]] = cells[what]
    return kinds


def _linked(
    root: Path, readings: pd.DataFrame, series: pd.DataFrame, notes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The readings of visits that have images, with `image_id`, and the series among them that are on disk."""
    visits = set(series["visit"])
    for visit in sorted(set(readings["visit"]) - visits):
        notes.append(f"{visit}: readings, but no image of that visit on disk; left out")
    names = set(_image_id(readings))
    readings = readings[readings["visit"].isin(visits)].assign(image_id=_image_id)
    owners = series.groupby("series")["image_id"].agg(list)
    strayed = readings["series"].isin(owners.index) & ~readings["image_id"].isin(series["image_id"])
    for row in readings[strayed].itertuples():
        notes.append(
            f"{row.line}: its barcode names series {row.series} of {row.patient}, {row.visit}, which on disk is "
            f"{owners[row.series][0]}; left out"
        )
    readings = readings[~strayed]
    knees = series["kind"].map(lambda kind: KNEES.fullmatch(kind) is not None).astype(bool)
    was_read = series["image_id"].isin(readings["image_id"])
    contradicted = was_read & ~knees & (series["kind"] != "")
    for row in series[contradicted].itertuples():
        notes.append(f"{row.image_id}: contents.csv calls it '{row.kind}', its reading is of knees; left out")
    readings = readings[~readings["image_id"].isin(series.loc[contradicted, "image_id"])]
    notes += [f"{name}: a film of knees without a reading; left out" for name in series["image_id"][knees & ~was_read]]
    if others := int((~knees & ~was_read).sum()):
        notes.append(f"{others} series of radiographs without a reading (other body parts, or not read); left out")
    linked = series[was_read & ~contradicted].reset_index(drop=True)
    if linked.empty:
        raise OrthoError(
            f"{root}: no reading belongs to a film on disk. The tables name {min(names, default='none')}, ..., on disk "
            f"is {min(series['image_id'], default='none')}, ... (participant, visit, series). Unpack images and tables "
            "of the same visits."
        )
    return readings, linked


def _files(root: Path, series: pd.DataFrame) -> pd.DataFrame:
    """State of the files of these series, with the columns of `series` and `plane`."""
    files = table.walk(root, [path for folder in series["folder"] for path in folder.iterdir()])
    files["folder"] = [root / Path(path).parent for path in files["path"]]
    files = files.merge(series, on="folder", how="left", validate="many_to_one")
    matches = files["kind"].map(lambda kind: (KNEES.fullmatch(kind) or [None, None])[1])
    # a side is named only on films of one knee
    return files.assign(plane=[PLANES.get(str(side).lower(), "bilateral") for side in matches])


def _with_missing(files: pd.DataFrame, knees: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """`files` and an unreadable row for each film that was read but is not there."""
    absent = knees[~knees["image_id"].isin(files["image_id"])].drop_duplicates("image_id")
    for visit, rows in absent.groupby("visit"):
        names = ", ".join(rows["image_id"][:4])
        notes.append(f"{visit}: {len(rows)} films were read but are not on disk ({names}); listed as unreadable")
    absent = absent.assign(path=absent["image_id"], width=0, height=0, reason="missing file", plane="bilateral")
    columns = ["image_id", "path", "patient", "visit", "plane", "width", "height", "reason", "doubt"]
    return pd.concat([files[columns], absent.reindex(columns=columns)], ignore_index=True)


def _labels(knees: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Labels in wide form, one row a knee."""
    wide = pd.DataFrame({"kl": knees["kl"]})
    for name, sites in kxr.SITES.items():
        grades = knees[list(sites)]
        present = (grades >= 1).any(axis=1)
        wide[name] = present.astype(float).where(present | grades.notna().all(axis=1))
        if absent := int(wide[name].isna().sum()):
            notes.append(f"{name}: not graded in {absent} of {len(wide)} knees, which is not grade 0: they stay NaN")
    wide[list(kxr.HIGHEST)] = knees[list(kxr.HIGHEST)]
    return wide.set_index(knees["image_id"] + "/" + knees["side"])
