"""The GRAZPEDWRI-DX phantom: wrists in two projections as 16-bit PNG, with boxes, in the published layout.

Layouts, not anatomy: a film is the hand of `longbone`, and the two projections of a study are drawn one by one. On it
lie a side marker of lead (class text) and, on some broken wrists, a wire through the fracture (class metal).
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ortholib.phantom.annotations import corners
from ortholib.phantom.files import check_count, encoded, yolo_line
from ortholib.phantom.longbone import LongBone, draw_film, render

CLASSES = (
    *("boneanomaly", "bonelesion", "foreignbody", "fracture", "metal", "periostealreaction", "pronatorsign"),
    *("softtissue", "text"),
)
COLUMNS = [
    *("filestem", "patient_id", "study_number", "timehash", "gender", "age", "laterality", "projection"),
    *("initial_exam", "ao_classification", "cast", "diagnosis_uncertain", "osteopenia", "fracture_visible", "metal"),
    *("pixel_spacing", "device_manufacturer"),
]
VIEWS = {1: "frontal", 2: "lateral"}
YOLO = Path("folder_structure") / "yolov5"
FEWEST = 24
# the letters of the side markers, 5 dots wide and 7 high
LETTERS = {
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
}
DOT, EDGE = 3, 6  # pixels


def plan(seed: int, count: int) -> pd.DataFrame:
    """One row an image: the columns of `dataset.csv` as numbers and text, `path` and `defect`, in order of the files.

    A study has both projections (the last one may have one), a patient one study or a follow-up too. Some breaks
    are visible in one projection only. Raises UsageError below `FEWEST` images.
    """
    check_count(count, FEWEST, "GRAZPEDWRI-DX", "images")
    rng = np.random.default_rng([seed, 8])
    rows, patient, broken = [], 0, 0
    while len(rows) < count:
        patient += 1
        side, gender, age = str(rng.choice(["L", "R"])), str(rng.choice(["M", "F"])), float(rng.uniform(1, 18))
        fractured = {1: False, 2: True, 3: True}.get(patient, bool(rng.random() < 0.62))  # the few hold all kinds
        wired = fractured and broken % 4 == 1
        broken += fractured
        time = int(rng.integers(10_000_000, 1_300_000_000))
        for study in range(1, 2 + int(rng.random() < 0.6)):
            cast, osteopenia = (int(study > 1 and fractured and rng.random() < share) for share in (0.6, 0.4))
            for projection in VIEWS:
                time += int(rng.integers(20, 100))
                visible = fractured and (projection == 2 or bool(rng.random() < 0.85))
                age_now = round(age + 0.1 * (study - 1), 1)
                who = f"{side}{projection}_{gender}{int(age_now):03d}"
                rows.append({
                    "filestem": f"{patient:04d}_{time:010d}_{study:02d}_WRI-{who}",
                    "patient_id": patient, "study_number": study, "timehash": time, "gender": gender, "age": age_now,
                    "laterality": side, "projection": projection, "initial_exam": int(study == 1),
                    "ao_classification": "23r-M/2.1" if fractured else "", "cast": cast,
                    "diagnosis_uncertain": int(not fractured and rng.random() < 0.1), "osteopenia": osteopenia,
                    "fracture_visible": int(visible), "metal": int(visible and wired), "pixel_spacing": 0.144,
                    "device_manufacturer": "Siemens",
                })  # fmt: skip
            time += 1_000_000
    images = pd.DataFrame(rows[:count])
    part = 1 + 4 * images.index // count
    images["path"] = [f"images_part{n}/{stem}.png" for n, stem in zip(part, images["filestem"], strict=True)]
    images["defect"] = ""
    sound = images.index[images["fracture_visible"] == 0]
    images.loc[rng.choice(sound), "defect"] = "truncated"
    return images


def draw(seed: int, root: Path, task: tuple[int, dict]) -> dict:
    """Draw one image, write its PNG and YOLO file below `root`; `task`: its number and row of `plan`.

    Returns the truth: the row, `image_id, width, height`, mean of the 8-bit picture as `gray`, the kinds of fracture,
    and `boxes`, a JSON list of [class, x0, y0, x1, y1] in pixels.
    """
    index, row = task
    rng = np.random.default_rng([seed, 9, index])
    film = _film(rng, VIEWS[row["projection"]], bool(row["fracture_visible"]))
    pixels, polygons = render(film, rng)
    boxes = [("fracture", *corners(polygon)) for polygon in polygons]
    if row["metal"]:
        boxes.append(("metal", *_wire(pixels, polygons[0])))
    boxes.append(("text", *_marker(pixels, row["laterality"], int(rng.integers(4)))))
    # 257 of the 16-bit values round to each grey one: noise among them fills the low bits and changes no grey value
    deep = pixels.astype(int) * 257 + rng.integers(-128, 129, pixels.shape)
    path = root / row["path"]
    path.write_bytes(encoded(deep.clip(0, 65535).astype(np.uint16), "PNG", row["defect"], compress_level=1))
    height, width = pixels.shape
    lines = [yolo_line(CLASSES.index(name), box, width, height, "g") for name, *box in boxes]
    (root / YOLO / "labels" / f"{path.stem}.txt").write_text("".join(lines))
    size = {"image_id": path.stem, "width": width, "height": height, "gray": float(pixels.mean())}
    return row | size | {"fracture_kinds": film.record()["fracture_kinds"], "boxes": json.dumps(boxes)}


def write_grazpedwri(root: Path, seed: int, count: int, run: Callable) -> pd.DataFrame:
    """Write the set below `root`; `run(function, tasks)` maps over the cores. Returns the truth, one row an image.

    dataset.csv begins with a byte order mark and leaves the zeros of its flags empty, as the release does. One file is
    truncated. The Supervisely and Pascal VOC copies of the boxes are not written.
    """
    images = plan(seed, count)
    for folder in (*sorted({path.split("/")[0] for path in images["path"]}), YOLO / "labels", YOLO / "images"):
        (root / folder).mkdir(parents=True)
    flags = ["initial_exam", "cast", "diagnosis_uncertain", "osteopenia", "fracture_visible", "metal"]
    table = images[COLUMNS].astype(dict.fromkeys(flags, str)).replace({flag: {"0": ""} for flag in flags})
    table.to_csv(root / "dataset.csv", index=False, encoding="utf-8-sig", lineterminator="\r\n")
    names = "".join(f"- {name}\n" for name in CLASSES)
    (root / YOLO / "meta.yaml").write_text(f"names:\n{names}nc: {len(CLASSES)}\n")
    return pd.DataFrame(run(partial(draw, seed, root), list(enumerate(images.to_dict("records")))))


def _film(rng: np.random.Generator, view: str, fractured: bool) -> LongBone:
    """A small film of one view of the hand, without a plate: the wire of this set is drawn by `_wire`."""
    while True:
        film = draw_film(rng, "hand", fractured)
        if [one.view for one in film.views] == [view]:
            return replace(film, hardware=False, scale=1)


def _wire(pixels: np.ndarray, polygon: np.ndarray) -> tuple[int, int, int, int]:
    """Draw a wire across the fracture, slanted, white; returns the box around it, whole pixels, right and low ends out.

    The wire lies inside the film: the outline of a fracture does, and the wire is no longer than its diagonal.
    """
    x0, y0, x1, y1 = corners(polygon)
    steps = np.linspace(0, 1, 4 * int(np.hypot(x1 - x0, y1 - y0)) + 2)
    x, y = (np.rint(low + steps * (high - low)).astype(int) for low, high in ((x0, x1 - 2), (y0, y1 - 2)))
    for dx, dy in ((0, 0), (0, 1), (1, 0), (1, 1)):
        pixels[y + dy, x + dx] = 255
    return int(x.min()), int(y.min()), int(x.max()) + 2, int(y.max()) + 2


def _marker(pixels: np.ndarray, letter: str, corner: int) -> tuple[int, int, int, int]:
    """Draw a side marker in one of the four corners; returns the box around it in whole pixels, like `_wire`."""
    dots = np.array([[dot == "1" for dot in row] for row in LETTERS[letter]])
    mask = np.kron(dots, np.ones((DOT, DOT), bool))
    height, width = mask.shape
    x = EDGE if corner % 2 == 0 else pixels.shape[1] - EDGE - width
    y = EDGE if corner < 2 else pixels.shape[0] - EDGE - height
    pixels[y : y + height, x : x + width][mask] = 255
    return x, y, x + width, y + height
