"""MURA v1.1: radiographs of seven parts of the upper limb, each study called normal or abnormal.

Rajpurkar et al., MIDL 2018, arXiv 1712.06957. The label is of a study, and every image of the study carries it. A
patient recurs across body parts, so `group` is the patient's number and nothing else.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from ortholib.data.table import (
    ImageSet,
    box_table,
    image_table,
    lines,
    long_labels,
    missing,
    named,
    not_this,
    unique_ids,
    walk,
)

REGIONS = ("ELBOW", "FINGER", "FOREARM", "HAND", "HUMERUS", "SHOULDER", "WRIST")
# the competition's own test part was never released; the public `valid` part is the test part of this study
PARTS = {"train": "train", "valid": "test"}
# images of (train, valid) in the releases that are known
RELEASES = {(36808, 3197): "v1.1"}

STUDY = (
    rf"(?P<part>train|valid)/XR_(?P<region>{'|'.join(REGIONS)})/patient(?P<patient>\d{{5}})"
    r"/study(?P<study>\d+)_(?P<sign>positive|negative)"
)
IMAGE = STUDY + r"/image(?P<image>\d+)\.(?:png|jpe?g)"
EXAMPLE = "{}/XR_WRIST/patient00006/study1_positive/image1.png"
FACTS = ["image_id", "path", "part", "region", "patient", "sign", "exam"]


def read(root: Path) -> ImageSet:
    """Read MURA from the folder that holds `train/`, `valid/` and the four csv files.

    Label `abnormal`: what `*_labeled_studies.csv` says of the study, for that is the published label; where it does not
    say, the name of the study's folder. `exam` is `<body part>/<patient>/<study>`, without the label. The public
    `valid` part is official part `test`: nothing here is tuned on it, and a development part is split off `train`.
    A study that is both positive and negative, misnamed files, and body parts without a folder are left out and noted.
    Raises OrthoError when the folder is absent, empty or another set.
    """
    parts, regions, notes = _folders(root)
    files = walk(root, [path for region in regions for path in _below(root / region)], "its body part folders")
    files = files.join(_parsed(files["path"], IMAGE))
    files, misnamed = named(root, files, files["exam"].notna(), EXAMPLE.format("train"))
    notes += misnamed
    version = RELEASES.get(tuple(int((files["part"] == part).sum()) for part in PARTS), "unknown release")

    studies, torn = _studies(root, parts, notes)
    torn |= _torn(files, notes)
    studies = studies[~studies["exam"].isin(torn)]
    whole = files[~files["exam"].isin(torn)]
    files, repeated = unique_ids(whole)
    notes += repeated
    left_out = set(whole["image_id"]) - set(files["image_id"])
    found = []
    for part in parts:
        own = files[files["part"] == part]
        table = _table(root, f"{part}_image_paths.csv", part, IMAGE, notes)
        if table is not None:
            table = table[~table["exam"].isin(torn) & ~table["image_id"].isin(left_out)]
            own = _reconciled(own, table, part, regions, notes)
        found.append(own)
    images = pd.concat(found, ignore_index=True)

    abnormal = _labels(images, studies, notes)
    both = images.groupby("patient")["part"].nunique()
    for patient in both.index[both > 1]:
        notes.append(f"patient{patient}: stands in train and in valid; the official parts share this patient")
    frame = image_table(
        images.astype({"width": int, "height": int}),
        exam=images["exam"],
        group=images["patient"],
        official_part=images["part"].map(PARTS),
        body_part=images["region"].str.lower(),
    )
    labels = long_labels(pd.DataFrame({"abnormal": abnormal}).set_index(images["image_id"]))
    return ImageSet("mura", version, root, frame, labels, box_table(), notes, "patient")


def _folders(root: Path) -> tuple[list[str], list[str], list[str]]:
    """Parts that are there, their body part folders (`train/XR_WRIST`), and notes on what else lies beside them."""
    parts = [part for part in PARTS if (root / part).is_dir()]
    regions, notes = [], []
    for part in parts:
        for path in sorted(path for path in (root / part).iterdir() if not path.name.startswith(".")):
            if path.is_dir() and path.name in {f"XR_{region}" for region in REGIONS}:
                regions.append(f"{part}/{path.name}")
            else:
                notes.append(f"{part}/{path.name}: no body part of MURA; left out")
    if not regions:
        expected = "train/ and valid/ with one folder a body part (XR_ELBOW to XR_WRIST)"
        raise not_this(root, "MURA", expected)
    notes += [f"no folder {part}/: the {part} part is left out" for part in PARTS if part not in parts]
    return parts, regions, notes


def _below(folder: Path, levels: int = 2) -> Iterator[Path]:
    """Files below a body part folder; links to folders are followed down to the studies, as deep as the layout goes."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and (levels > 0 or not path.is_symlink()):
            yield from _below(path, levels - 1)
        else:
            yield path


def _parsed(texts: pd.Series, pattern: str) -> pd.DataFrame:
    """Named groups of the pattern, `exam` and, for images, `image_id`, both without the label; NaN for other texts."""
    found = texts.str.extract(f"^{pattern}$")
    found["exam"] = "XR_" + found["region"] + "/patient" + found["patient"] + "/study" + found["study"]
    if "image" in found:
        found["image_id"] = found["exam"].str.replace("/", "-") + "-image" + found["image"]
    return found


def _table(root: Path, name: str, part: str, pattern: str, notes: list[str]) -> pd.DataFrame | None:
    """The good lines of a headerless csv file, parsed, with `path` and `line`; None, and a note, where it has none."""
    labels = "value" in re.compile(pattern).groupindex
    instead = "labels are the names of the folders" if labels else "the images are those on disk"
    example = EXAMPLE.format(part).rpartition("/")[0] + "/,1" if labels else EXAMPLE.format(part)
    try:
        found = lines(root / name)
    except OSError as error:
        notes.append(f"{name} cannot be read ({error.strerror}); {instead}")
        return None
    entries = pd.Series(dict(found), dtype=str).str.strip()
    paths = entries.str.replace(r"^MURA-v1\.1/", "", regex=True)
    table = _parsed(paths, pattern).assign(path=paths, line=entries.index)
    bad = table["part"] != part
    if bad.all():
        notes.append(f"{name} holds no line like MURA-v1.1/{example}; {instead}")
        return None
    for number, line in entries[bad].items():
        notes.append(f"{name}, line {number}: '{line[:80]}' is not like MURA-v1.1/{example}; left out")
    return table[~bad]


def _studies(root: Path, parts: list[str], notes: list[str]) -> tuple[pd.DataFrame, set[str]]:
    """What the csv files say of the studies (`exam, part, value`), and the studies of which they say both."""
    found = [_table(root, f"{part}_labeled_studies.csv", part, STUDY + r"/?,(?P<value>[01])", notes) for part in parts]
    found = [table for table in found if table is not None]
    if not found:
        return pd.DataFrame({"exam": [], "part": [], "value": []}, dtype=str), set()
    table = pd.concat(found, ignore_index=True)
    values = table.groupby("exam")["value"].nunique()
    torn = set(values.index[values > 1])
    for exam, rows in table[table["exam"].isin(torn)].groupby("exam"):
        where = ", ".join(f"{row.part}_labeled_studies.csv, line {row.line}: {row.value}" for row in rows.itertuples())
        notes.append(f"{exam}: called both normal and abnormal ({where}); the study is left out")
    return table.drop_duplicates("exam"), torn


def _torn(files: pd.DataFrame, notes: list[str]) -> set[str]:
    """Studies that stand in more than one folder: as positive and negative, or in both parts."""
    folders = files["path"].str.rpartition("/")[0].groupby(files["exam"]).unique()
    torn = folders[folders.map(len) > 1]
    for exam, own in torn.items():
        notes.append(f"{exam}: stands in several folders ({', '.join(sorted(own))}); the study is left out")
    return set(torn.index)


def _reconciled(
    own: pd.DataFrame, table: pd.DataFrame, part: str, regions: list[str], notes: list[str]
) -> pd.DataFrame:
    """Images of a part: files and lines of its csv file together. A body part without a folder is one note."""
    name = f"{part}_image_paths.csv"
    folder = part + "/XR_" + table["region"]
    for absent, rows in table[~folder.isin(regions)].groupby(folder):
        notes.append(f"{absent}: no such folder; its {len(rows)} images in {name} are left out")
    table = table[folder.isin(regions)].drop_duplicates("image_id")
    found, said = missing(table, own[["path", "width", "height", "reason", "doubt", "image_id"]], name)
    notes += said
    facts = pd.concat([own[FACTS], table[FACTS]]).drop_duplicates("image_id")  # of the file, where there is one
    return found.drop(columns="path").merge(facts, on="image_id", validate="one_to_one")


def _labels(images: pd.DataFrame, studies: pd.DataFrame, notes: list[str]) -> np.ndarray:
    """1 abnormal, 0 normal, one value an image and the same for all images of a study."""
    exams = images.sort_values("reason", key=lambda reason: reason == "missing file", kind="stable")
    exams = exams.drop_duplicates("exam").set_index("exam")  # a folder on disk goes before a name in a csv file
    folder = (exams["sign"] == "positive").astype(float)
    published = exams.index.to_series().map(studies.set_index("exam")["value"].astype(float))
    for exam in folder.index[published.notna() & (published != folder)]:
        notes.append(
            f"{exam}: its folder says {exams.loc[exam, 'sign']}, {exams.loc[exam, 'part']}_labeled_studies.csv says "
            f"{published[exam]:.0f}; the csv file, the published label, is used"
        )
    told = set(studies["part"])
    for exam in folder.index[published.isna() & exams["part"].isin(told)]:
        notes.append(f"{exam}: not in {exams.loc[exam, 'part']}_labeled_studies.csv; labelled by its folder's name")
    known = set(exams["part"] + exams["region"])  # of a body part without a folder one note is enough
    for row in studies[~studies["exam"].isin(exams.index)].itertuples():
        if row.part + row.region in known:
            notes.append(f"{row.exam}: in {row.part}_labeled_studies.csv, but none of its images is there; left out")
    return images["exam"].map(published.fillna(folder)).to_numpy()
