"""GRAZPEDWRI-DX: 20,327 radiographs of 6,091 children's injured wrists, boxes around nine kinds of finding.

Nagy et al., Scientific Data 9:222 (2022), doi 10.1038/s41597-022-01328-z. The pixels are 16-bit: readers have to
scale them (`imagefile.read` does).
"""

import re
from pathlib import Path

import pandas as pd
import yaml

from ortholib.datasets.base import ImageSet, empty_boxes, long_labels, missing, read_csv, unique_ids, walk
from ortholib.errors import OrthoError

CLASSES = (
    *("boneanomaly", "bonelesion", "foreignbody", "fracture", "metal", "periostealreaction", "pronatorsign"),
    *("softtissue", "text"),
)
NUMBERS = ["patient_id", "study_number", "projection"]
COLUMNS = ["filestem", *NUMBERS, "laterality", "fracture_visible"]
# column -> label; an empty cell means 0. All but the first may be absent
FLAGS = {"fracture_visible": "fracture"} | {
    name: name for name in ("cast", "metal", "osteopenia", "diagnosis_uncertain", "initial_exam")
}
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
    table, bad, notes = _csv(root)
    files = walk(root, [path for folder in folders for path in folder.iterdir() if folder != root or _png(path)])
    if files.empty:
        raise OrthoError(f"{root}: its image folders hold no file. Unpack the release again.")
    files["image_id"] = [Path(path).stem for path in files["path"]]
    version = RELEASES.get(len(files), "unknown release")
    single, repeated = unique_ids(files)
    table = table[table["image_id"].isin(single["image_id"]) | ~table["image_id"].isin(files["image_id"])]
    files, absent = missing(table, single[~single["image_id"].isin(bad)], "dataset.csv")
    notes += repeated + absent
    images = files.merge(table, on="image_id", validate="one_to_one")
    boxes = _boxes(root, images, notes)
    frame = pd.DataFrame(
        {
            "image_id": images["image_id"],
            "path": images["path"],
            "frame": 0,
            "exam": images["patient_id"].astype(str) + "-" + images["study_number"].astype(str),
            "plane": images["laterality"] + images["projection"].astype(str),
            "group": images["patient_id"].astype(str),
            "official_part": "",
            "body_part": "wrist",
            "view": images["projection"].map(VIEWS).fillna("").astype(str),
            "modality": "radiograph",
            "width": images["width"],
            "height": images["height"],
            "readable": images["reason"] == "",
            "reason": images["reason"],
        }
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
        names = ", ".join(path.name for path in entries[:6]) or "nothing"
        raise OrthoError(
            f"{root} is not GRAZPEDWRI-DX: it holds {names}; expected dataset.csv and images_part1 to images_part4 "
            "(or images). Unpack the release there or name its folder with --root."
        )
    return folders


def _csv(root: Path) -> tuple[pd.DataFrame, set[str], list[str]]:
    """The good lines of dataset.csv, the image ids of the others, and notes on them."""
    path = root / "dataset.csv"
    if not path.is_file():
        raise OrthoError(f"{path} is missing: it holds the labels of GRAZPEDWRI-DX. Unpack the release again.")
    table = read_csv(path, COLUMNS)
    names = table["filestem"].astype(str).str.strip().str.removesuffix(".png")
    flags = [column for column in FLAGS if column in table]
    numbers = table[[*NUMBERS, *flags]].apply(pd.to_numeric, errors="coerce")
    wrong = ~numbers[NUMBERS].gt(0) | (numbers[NUMBERS] % 1 != 0)
    wrong = wrong.join(table[flags].notna() & ~numbers[flags].isin([0, 1]))
    bad = wrong.any(axis=1)
    if bad.all():
        raise OrthoError(
            f"{path}: no line has whole numbers in {', '.join(NUMBERS)} and 0, 1 or nothing in {', '.join(flags)}. "
            "Unpack it again."
        )
    notes = []
    for number in table.index[bad]:
        column = wrong.columns[wrong.loc[number]][0]
        expected = "a whole number" if column in NUMBERS else "0, 1 or nothing"
        notes.append(
            f"dataset.csv, line {number + 2} ({names[number]}): {column} = {table.loc[number, column]}, expected "
            f"{expected}; its image is left out"
        )
    numbers[flags] = numbers[flags].fillna(0)
    good = numbers.rename(columns=FLAGS).assign(
        laterality=table["laterality"].fillna("").astype(str), image_id=names, line=numbers.index + 2
    )
    good, repeated = unique_ids(good, "line")
    good = good[good["image_id"].isin(names[~bad])].astype(dict.fromkeys(NUMBERS, int))
    for row in good.itertuples():
        match = NAME.fullmatch(row.image_id)
        said = f"patient {row.patient_id}, study {row.study_number}, plane {row.laterality}{row.projection}"
        named = f"patient {int(match[1])}, study {int(match[2])}, plane {match[3]}{match[4]}" if match else said
        if said != named:
            notes.append(f"{row.image_id}: named {named}, but dataset.csv says {said}; the table is used")
    return good.drop(columns="line"), set(names) - set(good["image_id"]), notes + repeated


def _boxes(root: Path, images: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Boxes of the readable images; notes on bad lines, absent files, and images whose label they contradict."""
    folder = next((root / name for name in LABELS if (root / name / "labels").is_dir()), None)
    if folder is None:
        notes.append(f"no folder {LABELS[0]}/labels: the set has no boxes here")
        return empty_boxes()
    classes = _classes(folder / "meta.yaml", notes)
    rows = []
    for image in images[images["reason"] == ""].itertuples():
        path = folder / "labels" / f"{image.image_id}.txt"
        if not path.is_file():
            notes.append(f"{image.image_id}: no file {path.relative_to(root).as_posix()}; it has no boxes here")
            continue
        found = []
        for number, line in enumerate(path.read_text(errors="replace").split("\n"), 1):
            if not line.strip():
                continue
            try:
                label, x, y, w, h = (float(value) for value in line.split())
                if label not in range(len(classes)) or not (0 <= x <= 1 and 0 <= y <= 1 and 0 < w <= 1 and 0 < h <= 1):
                    raise ValueError
            except ValueError:
                notes.append(
                    f"{path.name}, line {number}: '{line.strip()[:40]}' is no YOLO box "
                    f"(class 0 to {len(classes) - 1}, then x y w h, 0 to 1); left out"
                )
                continue
            corners = ((x - w / 2) * image.width, (y - h / 2) * image.height)
            corners += ((x + w / 2) * image.width, (y + h / 2) * image.height)
            found.append((image.image_id, *corners, classes[int(label)]))
        rows += found
        breaks = sum(row[-1] == "fracture" for row in found)
        if (breaks > 0) != image.fracture:
            notes.append(
                f"{image.image_id}: fracture_visible is {image.fracture:.0f}, but fracture boxes are {breaks}; "
                "the label follows dataset.csv"
            )
    return pd.DataFrame(rows, columns=empty_boxes().columns) if rows else empty_boxes()


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
