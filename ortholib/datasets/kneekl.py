"""Knee Osteoarthritis Severity Grading (Chen): cropped knees with Kellgren-Lawrence grades 0-4.

Mendeley Data 56rmx5bjcr, derived from the OAI. Names are a 7-digit patient number and the side, so both
knees of a patient share a group: they are correlated and must stay in one part.
"""

import re
from pathlib import Path

import pandas as pd

from ortholib.datasets.base import ImageSet, empty_boxes, long_labels, unique_ids, walk
from ortholib.errors import OrthoError

# Mendeley ships train/val/test/auto_test with bare grades, Kaggle copies spell the grades out
GRADES = {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "0normal": 0, "1doubtful": 1, "2mild": 2, "3moderate": 3}
GRADES |= {"2minimal": 2, "4severe": 4, "normal": 0, "doubtful": 1, "mild": 2, "minimal": 2, "moderate": 3, "severe": 4}
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
NAME = re.compile(r"^(\d{7})[ _-]?([LR])(?:[ _]?\(\d+\))?$", re.IGNORECASE)
# images by part of the releases that are known
RELEASES = {
    (5778, 826, 1656): "Mendeley v1 (2018)",
    (4578, 826, 1656): "kneeKL224, CLAHE copy (600 training patients left out)",
}


def read(root: Path) -> ImageSet:
    """Read the set from the folder that holds `train/`, `val/` and `test/`, each with one folder a grade.

    `auto_test/` holds the test knees cropped a second time by a detector: it is left out, and noted.
    Files whose name is no knee's, and knees that stand there twice, are left out and noted.
    Raises OrthoError when the folder is absent, empty or another set.
    """
    folders, notes = _grade_folders(root)
    files = walk(root, [path for folder, _, _ in folders for path in folder.iterdir()])
    if files.empty:
        raise OrthoError(f"{root}: the grade folders hold no file. Unpack the release again.")
    meaning = {folder.relative_to(root).as_posix(): (part, grade) for folder, part, grade in folders}
    parent = files["path"].map(lambda path: Path(path).parent.as_posix())
    names = files["path"].map(lambda path: NAME.match(Path(path).stem))
    for path in files.loc[names.isna(), "path"]:
        notes.append(f"{path}: the name is not <7-digit patient><L or R>; left out")
    keep = names.notna()
    if not keep.any():
        raise OrthoError(
            f"{root}: none of its {len(files)} files is named <7-digit patient><L or R>, such as 9003175L.png "
            f"(the first is {files['path'].iloc[0]}). Is this another data set?"
        )
    files = files[keep].assign(
        patient=names[keep].map(lambda match: match[1]),
        side=names[keep].map(lambda match: match[2].upper()),
        part=parent[keep].map(lambda folder: meaning[folder][0]),
        grade=parent[keep].map(lambda folder: float(meaning[folder][1])),
    )
    counts = tuple(int((files["part"] == part).sum()) for part in ("train", "val", "test"))
    files, repeated = unique_ids(files.assign(image_id=files["patient"] + files["side"]))
    images = pd.DataFrame(
        {
            "image_id": files["image_id"],
            "path": files["path"],
            "frame": 0,
            "exam": files["patient"],
            "plane": files["side"],
            "group": files["patient"],
            "official_part": files["part"],
            "body_part": "knee",
            "view": "frontal",
            "modality": "radiograph",
            "width": files["width"],
            "height": files["height"],
            "readable": files["reason"] == "",
            "reason": files["reason"],
        }
    )
    wide = pd.DataFrame({"kl": files["grade"], "oa": (files["grade"] >= 2).astype(float)})
    labels = long_labels(wide.set_index(files["image_id"]))
    version = RELEASES.get(counts, "unknown release")
    return ImageSet("kneekl", version, root, images, labels, empty_boxes(), notes + repeated, "patient")


def _grade_folders(root: Path) -> tuple[list[tuple[Path, str, int]], list[str]]:
    """(folder, part, grade) of each grade folder, and notes on the folders that are none."""
    found, notes = [], []
    if (root / "auto_test").is_dir():
        notes.append("auto_test/ left out: the same test knees, cropped a second time")
    for part in sorted(p for p in root.iterdir() if p.is_dir() and p.name.lower() in PARTS):
        for folder in sorted(p for p in part.iterdir() if p.is_dir()):
            key = re.sub(r"[^0-9a-z]", "", folder.name.lower())
            if key in GRADES:
                found.append((folder, PARTS[part.name.lower()], GRADES[key]))
            else:
                notes.append(f"{part.name}/{folder.name}: the folder's name is no grade (0 to 4); left out")
    for part in sorted(set(PARTS.values())):
        if absent := set(range(5)) - {grade for _, of, grade in found if of == part}:
            notes.append(f"{part}: no folder of grade {', '.join(map(str, sorted(absent)))}")
    if not found:
        names = ", ".join(sorted(p.name for p in root.iterdir())[:6]) or "nothing"
        raise OrthoError(
            f"{root} is not the knee KL set: it holds {names}; expected train/, val/ and test/ with one folder "
            "a grade (0 to 4). Unpack the release there or name its folder with --root."
        )
    return found, notes
