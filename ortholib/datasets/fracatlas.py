"""FracAtlas: 4,083 radiographs of hand, leg, hip and shoulder, 717 with a fracture, boxes around each.

Abedeen et al., Scientific Data 10:521 (2023), doi 10.1038/s41597-023-02432-4. No patient identifier
exists anywhere in the release, so no split of it can be at patient level.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ortholib.datasets.base import ImageSet, empty_boxes, long_labels, missing, read_csv, unique_ids, walk
from ortholib.errors import OrthoError

REGIONS = ["hand", "leg", "hip", "shoulder"]
VIEWS = ["frontal", "lateral", "oblique"]
COLUMNS = ["image_id", *REGIONS, "mixed", "hardware", "multiscan", "fractured", "fracture_count", *VIEWS]
PARTS = {"train": "train", "valid": "val", "test": "test"}
# (images in Fractured, images in Non_fractured, boxes) of the published releases
RELEASES = {(717, 3366, 922): "2023 (figshare v1)", (719, 3364, 924): "2026 (figshare v7)"}


def read(root: Path) -> ImageSet:
    """Read FracAtlas from the folder that holds `dataset.csv` and `images/`.

    Label `fractured` = fracture_count > 0: the two columns contradict each other in the release, and the
    count agrees with the boxes. Boxes come from the YOLO files, which exist for every image.
    Single lines and files that are bad or stand there twice are left out and noted.
    Raises OrthoError when the folder is absent or is another set, or when dataset.csv is missing or damaged.
    """
    folders = _image_folders(root)
    table, bad, notes = _csv(root)
    files = walk(root, [path for folder in folders.values() for path in folder.iterdir()])
    if files.empty:
        raise OrthoError(f"{root / 'images'}: its folders hold no file. Unpack the release again.")
    files["image_id"] = [Path(path).stem for path in files["path"]]
    in_folder = files["path"].str.split("/").str[-2] == folders["fractured"].name
    by_folder = (int(in_folder.sum()), int((~in_folder).sum()))
    single, repeated = unique_ids(files.assign(in_folder=in_folder))
    table = table[table["image_id"].isin(single["image_id"]) | ~table["image_id"].isin(files["image_id"])]
    files, absent = missing(table, single[~single["image_id"].isin(bad)], "dataset.csv")
    notes += repeated + absent
    images = files.merge(table, on="image_id", validate="one_to_one")
    count = images["fracture_count"] > 0
    for image_id in images.loc[count != (images["fractured"] > 0), "image_id"]:
        notes.append(
            f"{image_id}: dataset.csv says fractured=0 and fracture_count>0 (or the reverse); "
            "the label follows fracture_count, which agrees with the boxes"
        )
    for image_id in images.loc[images["in_folder"].notna() & (count != images["in_folder"]), "image_id"]:
        notes.append(f"{image_id}: its folder and fracture_count in dataset.csv disagree; the count is used")
    boxes = _boxes(root, images, notes)
    version = RELEASES.get((*by_folder, len(boxes)), "unknown release")
    drawn = images["image_id"].map(boxes["image_id"].value_counts()).fillna(0).astype(int)
    for row in images.assign(drawn=drawn)[drawn != images["fracture_count"]].itertuples():
        notes.append(f"{row.image_id}: fracture_count is {row.fracture_count}, but YOLO boxes are {row.drawn}")
    boxes = boxes[boxes["image_id"].isin(images.loc[images["reason"] == "", "image_id"])].reset_index(drop=True)
    parts = _official_parts(root, notes)
    several = images[REGIONS].sum(axis=1) > 1
    region = images[REGIONS].idxmax(axis=1).where(~(several | (images["mixed"] > 0)), "mixed")
    frame = pd.DataFrame(
        {
            "image_id": images["image_id"],
            "path": images["path"],
            "frame": 0,
            "exam": images["image_id"],
            "plane": "",
            "group": images["image_id"],
            "official_part": pd.Series([parts.get(i, "") for i in images["image_id"]], dtype=str),
            "body_part": region,
            "view": ["+".join(v for v, on in zip(VIEWS, row, strict=True) if on) for row in images[VIEWS].to_numpy()],
            "modality": "radiograph",
            "width": images["width"],
            "height": images["height"],
            "readable": images["reason"] == "",
            "reason": images["reason"],
        }
    )
    wide = images.set_index("image_id")[["fracture_count", "hardware", "multiscan"]]
    wide.insert(0, "fractured", (wide["fracture_count"] > 0).astype(float))
    return ImageSet("fracatlas", version, root, frame, long_labels(wide), boxes, notes)


def _image_folders(root: Path) -> dict[str, Path]:
    images = root / "images"
    if not images.is_dir():
        raise OrthoError(
            f"{root} is not FracAtlas: it has no folder 'images'. Expected dataset.csv, images/Fractured and "
            "images/Non_fractured; unpack the release there or name its folder with --root."
        )
    found = {}
    for folder in sorted(images.iterdir()):
        # releases spell it Non_fractured, Non-fractured and Non_Fractured
        name = folder.name.lower().replace("-", "_")
        if name in ("fractured", "non_fractured") and folder.is_dir():
            found[name] = folder
    if len(found) < 2:
        names = ", ".join(sorted(p.name for p in images.iterdir())[:5]) or "nothing"
        raise OrthoError(
            f"{images} holds {names}; expected the folders Fractured and Non_fractured. Is this another data set?"
        )
    return found


def _csv(root: Path) -> tuple[pd.DataFrame, set[str], list[str]]:
    """The good lines of dataset.csv, the image ids of the others, and notes on them."""
    path = root / "dataset.csv"
    if not path.is_file():
        raise OrthoError(f"{path} is missing: it holds the labels of FracAtlas. Unpack the release again.")
    table = read_csv(path, COLUMNS)
    numbers = table[COLUMNS[1:]].apply(pd.to_numeric, errors="coerce")
    wrong = ~((numbers >= 0) & (numbers % 1 == 0) & np.isfinite(numbers))
    bad = wrong.any(axis=1)
    if bad.all():
        raise OrthoError(f"{path}: no line has 0, 1 or a count in all of {', '.join(COLUMNS[1:])}. Unpack it again.")
    names = table["image_id"].astype(str).map(lambda name: Path(name).stem)
    notes = []
    for number in table.index[bad]:
        column = wrong.columns[wrong.loc[number]][0]
        notes.append(
            f"dataset.csv, line {number + 2} ({names[number]}): {column} = {table.loc[number, column]}, expected 0, 1 "
            "or a count; its image is left out"
        )
    good, repeated = unique_ids(numbers.assign(image_id=names, line=numbers.index + 2), "line")
    good = good[good["image_id"].isin(names[~bad])].drop(columns="line")
    return good.astype(dict.fromkeys(COLUMNS[1:], int)), set(names) - set(good["image_id"]), notes + repeated


def _official_parts(root: Path, notes: list[str]) -> dict[str, str]:
    parts = {}
    for stem, part in PARTS.items():
        path = root / "Utilities" / "Fracture Split" / f"{stem}.csv"
        try:
            names = read_csv(path, ["image_id"])["image_id"]
        except OrthoError as error:
            notes.append(f"no official {part} part: {error}")
            continue
        parts |= {Path(str(name)).stem: part for name in names}
    return parts


def _boxes(root: Path, images: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    rows = []
    for image in images.itertuples():
        path = root / "Annotations" / "YOLO" / f"{image.image_id}.txt"
        lines = path.read_text(errors="replace").split("\n") if path.is_file() else []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                _, x, y, w, h = (float(value) for value in line.split())
                if not (0 <= x <= 1 and 0 <= y <= 1 and 0 < w <= 1 and 0 < h <= 1):
                    raise ValueError
            except ValueError:
                text = line.strip()[:40]
                notes.append(f"{path.name}, line {number}: '{text}' is no YOLO box (class x y w h, 0 to 1); left out")
                continue
            corners = ((x - w / 2) * image.width, (y - h / 2) * image.height)
            corners += ((x + w / 2) * image.width, (y + h / 2) * image.height)
            rows.append((image.image_id, *corners, "fracture"))
    return pd.DataFrame(rows, columns=empty_boxes().columns) if rows else empty_boxes()
