"""What is asked of a set: the task's label, its classes, and the arrays a classifier trains on."""

import hashlib
from dataclasses import dataclass

import numpy as np

from ortholib import paths
from ortholib.data import datasets, pixels, split
from ortholib.data.labelled import Labelled
from ortholib.errors import UsageError


@dataclass(frozen=True)
class Task:
    """label: of the set's labels. kind: `binary`, or `ordinal` (grades in order). sides: whether left images are
    mirrored to right ones, so that inner and outer side of every knee lie on the same side of the picture."""

    label: str
    classes: list[str]
    kind: str
    sides: bool = False


TASKS = {
    "kl": Task("kl", ["KL 0", "KL 1", "KL 2", "KL 3", "KL 4"], "ordinal", sides=True),
    "oa": Task("oa", ["KL 0-1", "KL 2-4"], "binary", sides=True),
    "abnormal": Task("abnormal", ["normal", "abnormal"], "binary"),
    "fracture": Task("fractured", ["no fracture", "fracture"], "binary"),
}


def prepare(dataset: str, task: str, split_name: str, size: int, edition: str, fraction: float = 1.0) -> Labelled:
    """Read, split and pack a set for a task.

    fraction: share of the training groups that is kept (0.125, 0.25, 0.5 or 1). Images that turn out
    undecodable while packing are left out. Raises UsageError for an unknown task or fraction.
    """
    if task not in TASKS:
        raise UsageError(f"'{task}' is no task; known: {', '.join(TASKS)}.")
    if fraction not in split.FRACTIONS:
        raise UsageError(f"fraction {fraction} is not offered; expected one of {', '.join(map(str, split.FRACTIONS))}.")
    asked = TASKS[task]
    image_set = datasets.load(dataset, edition)
    parts = split.make(image_set, split_name, asked.label)
    store = pack(image_set, size)
    images = parts.images.merge(image_set.images[["image_id", "plane"]], on="image_id")
    images = images[(images["part"] != "train") | (images["fraction"] <= fraction)]
    images = images[~images["image_id"].isin(list(store.failed))].reset_index(drop=True)
    y = images["image_id"].map(image_set.label(asked.label)).to_numpy(np.int64)
    text = images.assign(y=y).to_csv(index=False)
    return Labelled(
        pixels=store.pixels,
        row=store.rows(images["image_id"].to_numpy(str)),
        y=y,
        part=images["part"].to_numpy(str),
        fraction=images["fraction"].to_numpy(float),
        mirror=(images["plane"] == "L").to_numpy() & asked.sides,
        unit_id=images["image_id"].to_numpy(str),
        group=images["group"].to_numpy(str),
        classes=asked.classes,
        kind=asked.kind,
        identity={
            "version": image_set.version,
            "pixels": store.hash,
            "split": parts.hash,
            "labels": hashlib.sha256(text.encode()).hexdigest()[:16],
        },
    )


def pack(image_set: datasets.ImageSet, size: int) -> pixels.PixelStore:
    """The pixel store of a set's readable images, under `runs/stores`."""
    return pixels.pack(image_set.planes, image_set.name, size, paths.runs() / "stores")


def boxes_in_store(image_set: datasets.ImageSet, image_id: str, size: int) -> np.ndarray:
    """Boxes (k, 4) of one image, x0 y0 x1 y1, in the pixels of its letterboxed square."""
    image = image_set.images.set_index("image_id").loc[image_id]
    x, y, _, _ = pixels.letterbox(image["width"], image["height"], size)
    scale = size / max(image["width"], image["height"])
    corners = image_set.boxes.loc[image_set.boxes["image_id"] == image_id, ["x0", "y0", "x1", "y1"]].to_numpy(float)
    return corners * scale + np.array([x, y, x, y])
