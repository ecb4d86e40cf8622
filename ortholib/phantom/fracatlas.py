"""The FracAtlas phantom: which films there are, and the faults of the real set, few and on purpose."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ortholib.phantom import annotations
from ortholib.phantom.anatomy import TURN
from ortholib.phantom.files import check_count, encoded
from ortholib.phantom.longbone import draw_film, render

# region -> share of the films, share of fractured ones; rarer regions more often than in the real set, so that each
# holds positives, and their fracture rates as uneven as there
REGIONS = {
    "hand": (0.36, 0.28),
    "leg": (0.34, 0.20),
    "hip": (0.11, 0.22),
    "shoulder": (0.11, 0.22),
    "mixed": (0.08, 0.28),
}
SPLIT = {"train": 0.800, "valid": 0.115, "test": 0.085}
QUALITY = 88
FEWEST = 60
# stored pixels of a file with this EXIF orientation: the inverse of what a reader has to do
UNDO = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
# copies, appended with the last numbers as in the real set: kind, source fractured, label of the copy, part of the copy
COPIES = (
    ("identical", True, True, "valid"),  # crosses the official train / valid border
    ("identical", False, False, ""),
    ("identical", False, False, ""),
    ("identical", False, False, ""),
    ("reencoded", True, False, ""),  # opposite labels
    ("enlarged", False, False, ""),
)


def plan(seed: int, count: int) -> pd.DataFrame:
    """One row a file: `image_id, index, region, fractured, defect, orientation, copy_of, official_part, gray`.

    `index` numbers the drawn films; a copy has the index of its source. Raises UsageError below `FEWEST` films.
    """
    check_count(count, FEWEST, "FracAtlas", "films")
    rng = np.random.default_rng([seed, 4])
    drawn = count - len(COPIES)
    shares = np.array([share for share, _ in REGIONS.values()])
    ends = np.rint(np.cumsum(shares) * drawn).astype(int)
    rows = []
    for (region, (_, rate)), n in zip(REGIONS.items(), np.diff(ends, prepend=0), strict=True):
        positives = max(2, round(rate * n))
        rows += [{"region": region, "fractured": i < positives} for i in range(n)]
    films = pd.DataFrame([rows[i] for i in rng.permutation(drawn)])
    films["index"] = np.arange(drawn)
    films["defect"], films["orientation"], films["copy_of"], films["official_part"] = "", 1, "", ""
    films["gray"] = rng.random(drawn) < 0.15
    films["image_id"] = [f"IMG{i:07d}.jpg" for i in range(drawn)]

    positive = rng.permutation(np.flatnonzero(films.fractured))
    negative = list(rng.permutation(np.flatnonzero(~films.fractured)))
    ends = np.rint(np.cumsum(list(SPLIT.values())) * len(positive)).astype(int)
    for part, rows in zip(SPLIT, np.split(positive, ends[:-1]), strict=True):
        films.loc[rows, "official_part"] = part
    train, test = (list(films.index[films.official_part == part]) for part in ("train", "test"))
    films.loc[test[0], "defect"] = "label_conflict"
    films.loc[[negative.pop() for _ in range(3)], "defect"] = "truncated"
    for row, orientation in ((train.pop(), 8), (negative.pop(), 3), (negative.pop(), 6)):
        films.loc[row, ["defect", "orientation"]] = "exif_rotated", orientation
    copies = []
    for number, (kind, positive_source, label, part) in enumerate(COPIES):
        source = films.loc[(train if positive_source else negative).pop()]
        copies.append({
            **source, "image_id": f"IMG{drawn + number:07d}.jpg", "fractured": label, "official_part": part,
            "defect": kind if label == positive_source else f"{kind}_opposite_label", "copy_of": source.image_id,
        })  # fmt: skip
    return pd.concat([films, pd.DataFrame(copies)], ignore_index=True)


def draw(seed: int, images: Path, row: dict) -> dict:
    """Draw one film, a row of `plan`, and write its file below `images`.

    Returns the truth: record of the film, `width, height, depth, bytes` and `polygons`, in the transposed frame.
    """
    rng = np.random.default_rng([seed, 3, row["index"]])
    film = draw_film(rng, row["region"], row["fractured"])
    pixels, polygons = render(film, rng)
    image = Image.fromarray(pixels).convert("L" if row["gray"] else "RGB")
    data = encode(image, row["orientation"], row["defect"])
    (images / subfolder(row["fractured"]) / row["image_id"]).write_bytes(data)
    width, height = image.size
    size = {"width": width, "height": height, "depth": 1 if row["gray"] else 3, "bytes": len(data)}
    return row | film.record() | size | {"polygons": polygons}


def encode(image: Image.Image, orientation: int = 1, defect: str = "", quality: int = QUALITY) -> bytes:
    """JPEG bytes that show `image` once a reader obeys the EXIF `orientation` (1, 3, 6 or 8)."""
    extra = {}
    if orientation != 1:
        image, extra["exif"] = image.transpose(UNDO[orientation]), Image.Exif()
        extra["exif"][0x0112] = orientation
    return encoded(image, "JPEG", defect, quality=quality, **extra)


def subfolder(fractured: bool) -> str:
    """Folder of a film below `images/`."""
    return "Fractured" if fractured else "Non_fractured"


def write_fracatlas(root: Path, seed: int, count: int, run: Callable) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the set below `root`; `run(function, tasks)` maps over the cores. Returns the truth: films, boxes."""
    films = plan(seed, count)
    for label in (True, False):
        (root / "images" / subfolder(label)).mkdir(parents=True)
    sources = films[films.copy_of == ""].to_dict("records")
    truth = run(partial(draw, seed, root / "images"), sources)
    by_name = {row["image_id"]: row for row in truth}
    for row in films[films.copy_of != ""].to_dict("records"):
        truth.append(_copy(root / "images", row, by_name[row["copy_of"]]))
    polygons = {row["image_id"]: row.pop("polygons") for row in truth}
    table = pd.DataFrame(truth)
    annotations.write_annotations(root, _flags(table, polygons), polygons)
    boxes = [(name, *annotations.corners(p)) for name, outlines in polygons.items() for p in outlines]
    return table, pd.DataFrame(boxes, columns=["image_id", "x0", "y0", "x1", "y1"])


def _copy(images: Path, row: dict, source: dict) -> dict:
    """Write a copy of a film that is already there; returns its truth."""
    old = images / subfolder(source["fractured"]) / source["image_id"]
    new = images / subfolder(row["fractured"]) / row["image_id"]
    scale = 1.0
    if row["defect"].startswith("identical"):
        shutil.copyfile(old, new)
    else:
        with Image.open(old) as image:
            if row["defect"].startswith("enlarged"):
                scale = 1.5
                image = image.resize((image.width * 3 // 2, image.height * 3 // 2), Image.Resampling.BICUBIC)
            new.write_bytes(encode(image, quality=70))
    polygons = [polygon * scale for polygon in source["polygons"]] if row["fractured"] else []
    size = {"width": int(source["width"] * scale), "height": int(source["height"] * scale)}
    count = {"fracture_count": len(polygons), "bytes": new.stat().st_size}
    return source | row | size | count | {"polygons": polygons}


def _flags(table: pd.DataFrame, polygons: dict[str, list[np.ndarray]]) -> pd.DataFrame:
    """`table` with the 0/1 columns of `dataset.csv`; the one conflicting row says fractured=0 beside its count of 1."""
    flags = table.assign(fracture_count=[len(polygons[name]) for name in table.image_id])
    for region in REGIONS:
        flags[region] = table.region == region
    flags.loc[table.region == "mixed", ["hand", "shoulder"]] = True  # a whole arm counts as both
    for view in TURN:
        flags[view] = table.views.str.contains(view)
    flags["fractured"] = (flags.fracture_count > 0) & (table.defect != "label_conflict")
    return flags.astype(dict.fromkeys(annotations.COLUMNS[1:], int))
