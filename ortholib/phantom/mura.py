"""The MURA phantom: studies of seven body parts in the published layout, with a few faults on purpose.

Layouts, not anatomy: there are seven folders of body parts and three scenes to fill them from (`SCENE`), and the views
of a study are films drawn one by one, not turns of the same limb. Every image of an abnormal study shows a fracture, or
metal; no image of a normal one does.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ortholib.phantom.files import check_count, encoded
from ortholib.phantom.longbone import draw_film, render

# what is drawn for each body part; `mixed` is an arm with elbow, radius and ulna
SCENE = {
    "ELBOW": "mixed",
    "FINGER": "hand",
    "FOREARM": "mixed",
    "HAND": "hand",
    "HUMERUS": "shoulder",
    "SHOULDER": "shoulder",
    "WRIST": "hand",
}
# shares of the patients, as few studies a patient as in the real set, and at most so many images a study
PARTS = {"train": 0.8, "valid": 0.2}
STUDIES, MOST = 1.22, 4
METAL = 0.3  # share of the abnormal studies that show metal and no fracture
FEWEST = 40
RELEASE = "MURA-v1.1"
# the head of an AppleDouble file, which macOS leaves beside the files of an archive
APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\x02"


def plan(seed: int, count: int) -> pd.DataFrame:
    """One row an image: `part, region, patient, study, image, abnormal, finding, path, defect`, in order of the files.

    The studies of a part go round the body parts, normal ones and abnormal ones in turn, so that from 150 images on
    even the smaller part has both of each. A patient may have studies of several body parts, or two of the same one.
    Raises UsageError below `FEWEST` images.
    """
    check_count(count, FEWEST, "MURA", "images")
    rng = np.random.default_rng([seed, 6])
    first, studies = 1, []
    for part, share in PARTS.items():
        patients = round(share * count / 2.5)
        own = np.arange(first, first + patients)
        first += patients
        extra = rng.choice(own, round((STUDIES - 1) * patients), replace=False)
        for n, patient in enumerate([*own, *extra]):
            abnormal = bool((n // len(SCENE)) % 2) if n < 2 * len(SCENE) else bool(rng.random() < 0.4)
            finding = ("metal" if rng.random() < METAL else "fracture") if abnormal else ""
            studies.append((part, list(SCENE)[n % len(SCENE)], f"{patient:05d}", abnormal, finding))
    table = pd.DataFrame(studies, columns=["part", "region", "patient", "abnormal", "finding"])
    table["study"] = table.groupby(["region", "patient"]).cumcount() + 1
    more = rng.choice(np.repeat(table.index, MOST - 1), count - len(table), replace=False)
    images = table.loc[np.sort(np.concatenate([table.index, more]))].copy()
    images["image"] = images.groupby(level=0).cumcount() + 1
    sign = images["abnormal"].map({True: "positive", False: "negative"})
    images["path"] = [
        f"{row.part}/XR_{row.region}/patient{row.patient}/study{row.study}_{row.sign}/image{row.image}.png"
        for row in images.assign(sign=sign).itertuples()
    ]
    images = images.reset_index(drop=True)
    images["defect"] = ""
    later = images.index[(images["part"] == "train") & (images["image"] > 1)]
    images.loc[rng.choice(later, 2, replace=False), "defect"] = ["truncated", "missing"]
    return images


def draw(seed: int, root: Path, task: tuple[int, dict]) -> dict:
    """Draw one image and write its file below `root`; `task`: its number and row of `plan`. Returns the truth.

    An image whose defect is `missing` is listed in the csv file and gets no file.
    """
    index, row = task
    rng = np.random.default_rng([seed, 7, index])
    film = draw_film(rng, SCENE[row["region"]], row["finding"] == "fracture")
    metal = row["finding"] == "metal" or (film.hardware and row["abnormal"])
    film = replace(film, hardware=metal, scale=1)
    width, height = film.size
    truth = row | {k: v for k, v in film.record().items() if k != "region"} | {"width": width, "height": height}
    if row["defect"] == "missing":
        return truth
    pixels, _ = render(film, rng)
    image = Image.fromarray(pixels).convert("RGB" if rng.random() < 0.3 else "L")
    (root / row["path"]).write_bytes(encoded(image, "PNG", row["defect"], compress_level=3))
    return truth


def write_mura(root: Path, seed: int, count: int, run: Callable) -> pd.DataFrame:
    """Write the set below `root`; `run(function, tasks)` maps over the cores. Returns the truth, one row an image.

    Beside the images: the four headerless csv files, and a hidden `._` file of macOS in every tenth study. Of the
    `count` images one is truncated, and one stands in train_image_paths.csv without a file.
    """
    images = plan(seed, count)
    folders = images["path"].str.rpartition("/")[0]
    for number, folder in enumerate(dict.fromkeys(folders)):
        (root / folder).mkdir(parents=True)
        if number % 10 == 0:
            (root / folder / "._image1.png").write_bytes(APPLE_DOUBLE)
    listed = images.assign(file=f"{RELEASE}/" + images["path"], folder=f"{RELEASE}/" + folders + "/")
    listed["label"] = listed["abnormal"].astype(int)
    for part, own in listed.groupby("part"):
        studies = own.drop_duplicates("folder")
        own["file"].to_csv(root / f"{part}_image_paths.csv", header=False, index=False)
        studies[["folder", "label"]].to_csv(root / f"{part}_labeled_studies.csv", header=False, index=False)
    return pd.DataFrame(run(partial(draw, seed, root), list(enumerate(images.to_dict("records")))))
