"""FracAtlas: 4,083 radiographs of hand, leg, hip and shoulder, 717 with a fracture, boxes around each.

Abedeen et al., Scientific Data 10:521 (2023), doi 10.1038/s41597-023-02432-4. No patient identifier
exists anywhere in the release, so no split of it can be at patient level.
"""

from pathlib import Path

from ortholib.data.table import (
    ImageSet,
    Rule,
    box_table,
    image_table,
    joined,
    long_labels,
    not_this,
    read_csv,
    read_lines,
    read_yolo,
    walk,
)
from ortholib.errors import OrthoError

REGIONS = ["hand", "leg", "hip", "shoulder"]
VIEWS = ["frontal", "lateral", "oblique"]
COUNTS = [*REGIONS, "mixed", "hardware", "multiscan", "fractured", "fracture_count", *VIEWS]
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
    rules = dict.fromkeys(COUNTS, Rule("0, 1 or a count", 0))
    table, lost, notes = read_lines(root / "dataset.csv", ["image_id", *COUNTS], rules)
    files = walk(root, [p for folder in folders.values() for p in folder.iterdir()], "the folders of images/")
    in_folder = files["path"].str.split("/").str[-2] == folders["fractured"].name
    by_folder = (int(in_folder.sum()), int((~in_folder).sum()))
    files = files.assign(image_id=[Path(path).stem for path in files["path"]], in_folder=in_folder)
    images, unmatched = joined(files, table, lost, "dataset.csv")
    notes += unmatched
    count = images["fracture_count"] > 0
    for image_id in images.loc[count != (images["fractured"] > 0), "image_id"]:
        notes.append(
            f"{image_id}: dataset.csv says fractured=0 and fracture_count>0 (or the reverse); "
            "the label follows fracture_count, which agrees with the boxes"
        )
    for image_id in images.loc[images["in_folder"].notna() & (count != images["in_folder"]), "image_id"]:
        notes.append(f"{image_id}: its folder and fracture_count in dataset.csv disagree; the count is used")
    rows = []
    for image in images.itertuples():
        path = root / "Annotations" / "YOLO" / f"{image.image_id}.txt"
        rows += read_yolo(path, image, ["fracture"], notes) if path.is_file() else []
    boxes = box_table(rows)
    version = RELEASES.get((*by_folder, len(boxes)), "unknown release")
    drawn = images["image_id"].map(boxes["image_id"].value_counts()).fillna(0).astype(int)
    for row in images.assign(drawn=drawn)[drawn != images["fracture_count"]].itertuples():
        notes.append(f"{row.image_id}: fracture_count is {row.fracture_count}, but YOLO boxes are {row.drawn}")
    boxes = boxes[boxes["image_id"].isin(images.loc[images["reason"] == "", "image_id"])].reset_index(drop=True)
    parts = _official_parts(root, notes)
    several = images[REGIONS].sum(axis=1) > 1
    region = images[REGIONS].idxmax(axis=1).where(~(several | (images["mixed"] > 0)), "mixed")
    frame = image_table(
        images,
        official_part=[parts.get(i, "") for i in images["image_id"]],
        body_part=region,
        view=["+".join(v for v, on in zip(VIEWS, row, strict=True) if on) for row in images[VIEWS].to_numpy()],
    )
    wide = images.set_index("image_id")[["fracture_count", "hardware", "multiscan"]]
    wide.insert(0, "fractured", (wide["fracture_count"] > 0).astype(float))
    return ImageSet("fracatlas", version, root, frame, long_labels(wide), boxes, notes)


def _image_folders(root: Path) -> dict[str, Path]:
    images, found = root / "images", {}
    for folder in sorted(images.iterdir()) if images.is_dir() else ():
        # releases spell it Non_fractured, Non-fractured and Non_Fractured
        name = folder.name.lower().replace("-", "_")
        if name in ("fractured", "non_fractured") and folder.is_dir():
            found[name] = folder
    if len(found) < 2:
        expected = "dataset.csv, images/Fractured and images/Non_fractured"
        raise not_this(images if images.is_dir() else root, "FracAtlas", expected)
    return found


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
