"""MRNet v1.0: knee MRI exams of three planes, labelled abnormal, ligament (ACL) tear and meniscal tear.

Bien et al., PLoS Medicine 15(11):e1002699 (2018), Stanford ML Group. 1,130 training and 120 validation exams are
public, the test part is not: the public validation part serves as test here. The release names no patients (1,088 in
the training part), so the group of an image is its exam, and a split of one's own may cut a patient with two exams.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from ortholib.data.table import ImageSet, box_table, image_table, lines, missing, named, not_this, unique_ids, walk
from ortholib.errors import OrthoError

PARTS = {"train": "train", "valid": "test"}
PLANES = ("axial", "coronal", "sagittal")
LABELS = ("abnormal", "acl", "meniscus")
SIDE = 256  # pixels of a slice
EXAM = re.compile(r"\d{1,4}")
RELEASES = {(1130, 120): "MRNet-v1.0 (2018)"}  # exams by part
REMARKS = [
    "the release names no patients: groups are exams, so both exams of one patient may lie in different parts",
    "the official test part is not public: the validation part stands as test",
]


def read(root: Path) -> ImageSet:
    """Read MRNet from the folder that holds `train/`, `valid/` and the label tables `<part>-<label>.csv`.

    One row a slice, `NNNN-<plane>-<slice>`; labels belong to exams (`unit_id` NNNN). A volume that is damaged, absent
    or not uint8 of 256 x 256 pixels is one unreadable row; exams without a label, and bad or repeated lines, are
    left out and noted. Raises OrthoError when the folder is absent, empty or another set, or holds no label.
    """
    paths = _volumes(root)
    labels, part_of, notes = _labels(root)
    files = walk(root, paths, "the folders of its planes")
    files, others = named(root, files, files["path"].str.endswith(".npy"), "train/axial/0000.npy")
    expected = [f"{part}/{plane}/{exam}.npy" for exam, part in sorted(part_of.items()) for plane in PLANES]
    if not files["path"].isin(expected).any():
        raise OrthoError(
            f"{root}: no .npy file has a label; the tables name exams such as {min(part_of, default='(none)')}, "
            f"the files are such as {files['path'].iloc[0]}. Unpack volumes and tables of one release."
        )
    table = pd.DataFrame({"image_id": expected}, dtype=str)
    files, unmatched = missing(table, files.assign(image_id=files["path"]), "the label tables")
    files = files.sort_values("path", ignore_index=True)
    files[["part", "plane", "exam"]] = files["path"].str.removesuffix(".npy").str.split("/", expand=True)
    notes = REMARKS + notes + others + unmatched
    slices = [_slices(root / row.path) if row.reason == "" else (1, row.reason) for row in files.itertuples()]
    files["slices"], files["reason"] = [n for n, _ in slices], [reason for _, reason in slices]
    exams = pd.Series(part_of).value_counts()
    version = RELEASES.get(tuple(int(exams.get(part, 0)) for part in PARTS), "unknown release")
    return ImageSet("mrnet", version, root, _images(files), labels, box_table(), notes, "exam")


def _volumes(root: Path) -> list[Path]:
    folders = [root / part / plane for part in PARTS for plane in PLANES if (root / part / plane).is_dir()]
    if not folders:
        expected = f"train/ and valid/ with the folders {', '.join(PLANES)}, and tables such as train-acl.csv"
        raise not_this(root, "MRNet", expected)
    return sorted(path for folder in folders for path in folder.iterdir())


def _labels(root: Path) -> tuple[pd.DataFrame, dict[str, str], list[str]]:
    """Labels in long form, the part of each labelled exam, and notes."""
    rows, notes = [], []
    for part in PARTS:
        for label in LABELS:
            path = root / f"{part}-{label}.csv"
            if path.is_file():
                rows += [(exam, label, value, part) for exam, value in _table(path, notes)]
            else:
                notes.append(f"{path.name} is missing: no exam of {part}/ has the label {label}")
    if not rows:
        raise OrthoError(
            f"{root}: no table {{train,valid}}-{{{','.join(LABELS)}}}.csv holds a line <exam>,<0 or 1>. They hold the "
            "labels of MRNet; unpack the release again."
        )
    table = pd.DataFrame(rows, columns=["unit_id", "label", "value", "part"])
    parts = table.groupby("unit_id")["part"].unique()
    for exam in parts.index[parts.map(len) > 1]:
        notes.append(f"{exam}: in tables of train and of valid; left out, nobody can say which part is meant")
    table = table[table["unit_id"].map(parts.map(len)) == 1]
    wide = table.pivot(index="unit_id", columns="label", values="value").reindex(columns=list(LABELS))
    for exam in wide.index[(wide["abnormal"] == 0) & (wide[["acl", "meniscus"]] == 1).any(axis=1)]:
        notes.append(f"{exam}: abnormal = 0 beside a tear; all labels are kept as the tables have them")
    part_of = dict(zip(table["unit_id"], table["part"], strict=True))
    for exam, label in wide.isna().stack().loc[lambda absent: absent].index:
        if ((table["part"] == part_of[exam]) & (table["label"] == label)).any():
            notes.append(f"{exam}: not in {part_of[exam]}-{label}.csv, so without that label")
    return table.drop(columns="part").reset_index(drop=True), part_of, notes


def _table(path: Path, notes: list[str]) -> list[tuple[str, float]]:
    """(exam, value) of the good lines of a table; the others are noted."""
    found = []
    for number, line in lines(path):
        exam, _, value = (word.strip().strip('"') for word in line.partition(","))
        if EXAM.fullmatch(exam) and value in ("0", "1"):  # readers of tables drop the zeros
            found.append((exam.zfill(4), float(value), f"{path.name}, line {number}"))
        else:
            notes.append(f"{path.name}, line {number}: '{line.strip()[:40]}', expected <exam>,<0 or 1>; left out")
    single, repeated = unique_ids(pd.DataFrame(found, columns=["image_id", "value", "line"]), "line")
    notes += repeated
    return list(zip(single["image_id"], single["value"], strict=True))


def _slices(path: Path) -> tuple[int, str]:
    """Slices of a volume, and why it is none of this release ("" where it is)."""
    volume = np.load(path, mmap_mode="r", allow_pickle=False)  # `walk` found it readable
    if volume.dtype == np.uint8 and volume.ndim == 3 and volume.shape[1:] == (SIDE, SIDE):
        return len(volume), ""
    return 1, f"{volume.dtype} of shape {volume.shape}, expected uint8 (slices, {SIDE}, {SIDE})"


def _images(files: pd.DataFrame) -> pd.DataFrame:
    """One row a slice."""
    each = files.loc[files.index.repeat(files["slices"])]
    frame = each.groupby(level=0).cumcount()
    good = each["reason"] == ""
    each = each.assign(width=each["width"].where(good, 0), height=each["height"].where(good, 0))
    return image_table(
        each.assign(image_id=each["exam"] + "-" + each["plane"] + "-" + frame.astype(str).str.zfill(3)),
        frame=frame,
        exam=each["exam"],
        plane=each["plane"],
        group=each["exam"],
        official_part=each["part"].map(PARTS),
        body_part="knee",
        modality="mri",
    )
