"""FracAtlas: 4,083 radiographs of hand, leg, hip and shoulder, 717 with a fracture, boxes around each.

Abedeen et al., Scientific Data 10:521 (2023), doi 10.1038/s41597-023-02432-4. No patient identifier
exists anywhere in the release, so no split of it can be at patient level.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ortholib.datasets.base import ImageSet, empty_boxes, long_labels, missing, walk
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
    Raises OrthoError when the folder is absent or is another set.
    """
    folders = _image_folders(root)
    table = _csv(root)
    files = walk(root, [path for folder in folders.values() for path in folder.iterdir()])
    files["image_id"] = [Path(path).stem for path in files["path"]]
    table, files, absent = missing(table, files, root, "dataset.csv")
    images = files.merge(table, on="image_id", validate="many_to_one")
    count = images["fracture_count"] > 0
    notes = absent
    for image_id in images.loc[count != (images["fractured"] > 0), "image_id"]:
        notes.append(
            f"{image_id}: dataset.csv says fractured=0 and fracture_count>0 (or the reverse); "
            "the label follows fracture_count, which agrees with the boxes"
        )
    in_folder = images["path"].str.split("/").str[-2] == folders["fractured"].name
    for image_id in images.loc[count != in_folder, "image_id"]:
        notes.append(f"{image_id}: its folder and fracture_count in dataset.csv disagree; the count is used")
    boxes = _boxes(root, images, notes)
    release = (int(in_folder.sum()), int((~in_folder).sum()), len(boxes))
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
            "official_part": images["image_id"].map(_official_parts(root)).fillna(""),
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
    return ImageSet(
        "fracatlas", RELEASES.get(release, "unknown release"), root, frame, long_labels(wide), boxes, notes
    )


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


def _csv(root: Path) -> pd.DataFrame:
    path = root / "dataset.csv"
    if not path.is_file():
        raise OrthoError(f"{path} is missing: it holds the labels of FracAtlas. Unpack the release again.")
    table = pd.read_csv(path, encoding="utf-8-sig")
    absent = [column for column in COLUMNS if column not in table.columns]
    if absent:
        raise OrthoError(f"{path} lacks the columns {', '.join(absent)}; it has {', '.join(table.columns)}.")
    numbers = table[COLUMNS[1:]].apply(pd.to_numeric, errors="coerce")
    bad = ~np.isfinite(numbers).all(axis=1)
    if bad.any():
        row = table[bad].iloc[0]
        raise OrthoError(
            f"{path}, line {int(bad.idxmax()) + 2} ({row['image_id']}): a value is not a number; "
            f"expected 0, 1 or a count in {', '.join(COLUMNS[1:])}."
        )
    return pd.concat([table["image_id"].astype(str).map(lambda name: Path(name).stem), numbers.astype(int)], axis=1)


def _official_parts(root: Path) -> dict[str, str]:
    parts = {}
    for stem, part in PARTS.items():
        path = root / "Utilities" / "Fracture Split" / f"{stem}.csv"
        if path.is_file():
            for name in pd.read_csv(path, encoding="utf-8-sig")["image_id"]:
                parts[Path(str(name)).stem] = part
    return parts


def _boxes(root: Path, images: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    rows = []
    for image in images.itertuples():
        path = root / "Annotations" / "YOLO" / f"{image.image_id}.txt"
        lines = path.read_text().split("\n") if path.is_file() else []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                x, y, w, h = (float(value) for value in line.split()[1:5])
                if not all(0 <= v <= 1 for v in (x, y, w, h)):
                    raise ValueError
            except ValueError:
                notes.append(f"{path.name}, line {number}: '{line.strip()[:40]}' is no YOLO box; left out")
                continue
            corners = ((x - w / 2) * image.width, (y - h / 2) * image.height)
            corners += ((x + w / 2) * image.width, (y + h / 2) * image.height)
            rows.append((image.image_id, *corners, "fracture"))
    return pd.DataFrame(rows, columns=empty_boxes().columns) if rows else empty_boxes()
