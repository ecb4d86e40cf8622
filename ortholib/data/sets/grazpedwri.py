"""GRAZPEDWRI-DX: 20,327 radiographs of 6,091 children's injured wrists, boxes around nine kinds of finding.

Nagy et al., Scientific Data 9:222 (2022), doi 10.1038/s41597-022-01328-z. The pixels are 16-bit: readers have to
scale them (`files.read` does).
"""

import re
from pathlib import Path

import pandas as pd
import yaml

from ortholib.data.table import (
    ImageSet,
    Rule,
    box_table,
    image_table,
    joined,
    long_labels,
    not_this,
    read_lines,
    read_yolo,
    walk,
)

CLASSES = (
    *("boneanomaly", "bonelesion", "foreignbody", "fracture", "metal", "periostealreaction", "pronatorsign"),
    *("softtissue", "text"),
)
COLUMNS = ["filestem", "patient_id", "study_number", "projection", "laterality", "fracture_visible"]
# column -> label; all but the first may be absent
FLAGS = {"fracture_visible": "fracture"} | {
    name: name for name in ("cast", "metal", "osteopenia", "diagnosis_uncertain", "initial_exam")
}
RULES = dict.fromkeys(COLUMNS[1:4], Rule("a whole number", 1)) | dict.fromkeys(FLAGS, Rule("0, 1 or nothing", 0, 1, 0))
VIEWS = {1: "frontal", 2: "lateral", 3: "oblique"}
FOLDERS = re.compile(r"images(_part\d+)?")
LABELS = ("folder_structure/yolov5", "yolov5")
# patient, study, side and projection, as the published names repeat them
NAME = re.compile(r"(\d+)_\d+_(\d+)_WRI-([LR])(\d)_[A-Z]\d+")
RELEASES = {20327: "2022 (figshare 14825193)"}


def read(root: Path) -> ImageSet:
    """Read GRAZPEDWRI-DX from the folder that holds `dataset.csv` and `images_part1` to `images_part4` (or `images`).

    Label `fracture` = `fracture_visible`, of the image and not of the wrist: a broken bone that one projection does not
    show is 0 there. `cast`, `metal`, `osteopenia`, `diagnosis_uncertain` and `initial_exam` are labels too. Boxes of
    all classes come from the YOLO files. `plane` is side and projection (`L1`), `exam` patient and study. No official
    parts exist. Single lines and files that are bad or stand there twice are left out and noted.
    Raises OrthoError when the folder is another set, or when dataset.csv is missing or damaged.
    """
    folders = _image_folders(root)
    table, lost, notes = read_lines(root / "dataset.csv", COLUMNS, RULES)
    table = table.rename(columns=FLAGS)
    notes += _contradicting_names(table)
    paths = [path for folder in folders for path in folder.iterdir() if folder != root or _png(path)]
    files = walk(root, paths, "its image folders")
    files["image_id"] = [Path(path).stem for path in files["path"]]
    version = RELEASES.get(len(files), "unknown release")
    images, unmatched = joined(files, table, lost, "dataset.csv")
    notes += unmatched
    boxes = _boxes(root, images, notes)
    frame = image_table(
        images,
        exam=images["patient_id"].astype(str) + "-" + images["study_number"].astype(str),
        plane=images["laterality"] + images["projection"].astype(str),
        group=images["patient_id"].astype(str),
        body_part="wrist",
        view=images["projection"].map(VIEWS).fillna("").astype(str),
    )
    wide = images.set_index("image_id")[[name for name in FLAGS.values() if name in images]]
    return ImageSet("grazpedwri", version, root, frame, long_labels(wide), boxes, notes, "patient")


def _png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def _image_folders(root: Path) -> list[Path]:
    """`images_part1` to `images_part4`, `images`, or the root itself where the archives were unpacked into it."""
    entries = sorted(root.iterdir())
    folders = [path for path in entries if FOLDERS.fullmatch(path.name.lower()) and path.is_dir()]
    if any(_png(path) and not path.name.startswith(".") for path in entries):
        folders.append(root)
    if not folders:
        raise not_this(root, "GRAZPEDWRI-DX", "dataset.csv and images_part1 to images_part4 (or images)")
    return folders


def _contradicting_names(table: pd.DataFrame) -> list[str]:
    notes = []
    for row in table.itertuples():
        match = NAME.fullmatch(row.image_id)
        said = f"patient {row.patient_id}, study {row.study_number}, plane {row.laterality}{row.projection}"
        named = f"patient {int(match[1])}, study {int(match[2])}, plane {match[3]}{match[4]}" if match else said
        if said != named:
            notes.append(f"{row.image_id}: named {named}, but dataset.csv says {said}; the table is used")
    return notes


def _boxes(root: Path, images: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Boxes of the readable images; notes on bad lines, absent files, and images whose label they contradict."""
    folder = next((root / name for name in LABELS if (root / name / "labels").is_dir()), None)
    if folder is None:
        notes.append(f"no folder {LABELS[0]}/labels: the set has no boxes here")
        return box_table()
    classes = _classes(folder / "meta.yaml", notes)
    rows = []
    for image in images[images["reason"] == ""].itertuples():
        path = folder / "labels" / f"{image.image_id}.txt"
        if not path.is_file():
            notes.append(f"{image.image_id}: no file {path.relative_to(root).as_posix()}; it has no boxes here")
            continue
        found = read_yolo(path, image, classes, notes)
        rows += found
        breaks = sum(row[-1] == "fracture" for row in found)
        if (breaks > 0) != image.fracture:
            notes.append(
                f"{image.image_id}: fracture_visible is {image.fracture}, but fracture boxes are {breaks}; "
                "the label follows dataset.csv"
            )
    return box_table(rows)


def _classes(path: Path, notes: list[str]) -> tuple[str, ...]:
    """Class names in the order of their numbers: what meta.yaml says, else the published order."""
    if not path.is_file():
        return CLASSES
    try:
        names = yaml.safe_load(path.read_text(errors="replace"))["names"]
        names = tuple(str(name) for name in (names.values() if isinstance(names, dict) else list(names)))
    except (OSError, yaml.YAMLError, LookupError, TypeError):
        notes.append(f"{path.name} names no classes; the published order is used")
        return CLASSES
    if names != CLASSES:
        notes.append(f"{path.name} names other classes than the release ({', '.join(names)}); its names are used")
    return names
