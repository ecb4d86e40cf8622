"""Knee Osteoarthritis Severity Grading (Chen): cropped knees with Kellgren-Lawrence grades 0-4.

Mendeley Data 56rmx5bjcr, derived from the OAI. Names are a 7-digit patient number and the side, so both
knees of a patient share a group: they are correlated and must stay in one part.
"""

import re
from pathlib import Path

import pandas as pd

from ortholib.data import table
from ortholib.data.table import ImageSet

# Mendeley ships train/val/test/auto_test with bare grades, Kaggle copies spell the grades out
GRADES = {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "0normal": 0, "1doubtful": 1, "2mild": 2, "3moderate": 3}
GRADES |= {"2minimal": 2, "4severe": 4, "normal": 0, "doubtful": 1, "mild": 2, "minimal": 2, "moderate": 3, "severe": 4}
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
NAME = re.compile(r"^(?P<patient>\d{7})[ _-]?(?P<side>[LR])(?:[ _]?\(\d+\))?$", re.IGNORECASE)
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
    files = table.walk(root, [path for folder in folders for path in folder.iterdir()], "the grade folders")
    files = files.join(files["path"].map(lambda path: Path(path).stem).str.extract(NAME))
    files, misnamed = table.named(root, files, files["patient"].notna(), "9003175L.png (7-digit patient, side)")
    meaning = {folder.relative_to(root).as_posix(): found for folder, found in folders.items()}
    meant = files["path"].map(lambda path: meaning[Path(path).parent.as_posix()])
    files = files.assign(part=meant.str[0], grade=meant.str[1].astype(float), side=files["side"].str.upper())
    counts = tuple(int((files["part"] == part).sum()) for part in ("train", "val", "test"))
    files, repeated = table.unique_ids(files.assign(image_id=files["patient"] + files["side"]))
    images = table.image_table(
        files,
        exam=files["patient"],
        plane=files["side"],
        group=files["patient"],
        official_part=files["part"],
        body_part="knee",
        view="frontal",
    )
    wide = pd.DataFrame({"kl": files["grade"], "oa": (files["grade"] >= 2).astype(float)})
    labels = table.long_labels(wide.set_index(files["image_id"]))
    version = RELEASES.get(counts, "unknown release")
    return ImageSet("kneekl", version, root, images, labels, table.box_table(), notes + misnamed + repeated, "patient")


def _grade_folders(root: Path) -> tuple[dict[Path, tuple[str, int]], list[str]]:
    """(part, grade) of each grade folder, and notes on the folders that are none."""
    found, notes = {}, []
    if (root / "auto_test").is_dir():
        notes.append("auto_test/ left out: the same test knees, cropped a second time")
    for part in sorted(p for p in root.iterdir() if p.is_dir() and p.name.lower() in PARTS):
        for folder in sorted(p for p in part.iterdir() if p.is_dir()):
            key = re.sub(r"[^0-9a-z]", "", folder.name.lower())
            if key in GRADES:
                found[folder] = (PARTS[part.name.lower()], GRADES[key])
            else:
                notes.append(f"{part.name}/{folder.name}: the folder's name is no grade (0 to 4); left out")
    for part in sorted(set(PARTS.values())):
        if absent := set(range(5)) - {grade for of, grade in found.values() if of == part}:
            notes.append(f"{part}: no folder of grade {', '.join(map(str, sorted(absent)))}")
    if not found:
        raise table.not_this(root, "the knee KL set", "train/, val/ and test/ with one folder a grade (0 to 4)")
    return found, notes
