"""What a classifier is trained on, as plain arrays, and what it says of it, as a frame."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ortholib import settings
from ortholib.data import ids


@dataclass(frozen=True)
class Labelled:
    """n labelled images of one task.

    pixels: (N, S, S) uint8, all squares of the store. row: (n,) row of each labelled image in it.
    y: (n,) class number. part: (n,) train, val or test. fraction: (n,) smallest share of the training labels that holds
    the image (see `split.Split`). mirror: (n,) True where the image is to be read
    flipped left to right, so that all knees are seen as right ones. kind: `binary` or `ordinal`.
    identity: hashes of what the arrays were made from.
    """

    pixels: np.ndarray
    row: np.ndarray
    y: np.ndarray
    part: np.ndarray
    fraction: np.ndarray
    mirror: np.ndarray
    unit_id: np.ndarray
    group: np.ndarray
    classes: list[str]
    kind: str
    identity: dict


def predictions(data: Labelled, asked, rows: np.ndarray, probability: np.ndarray, head: str = "") -> pd.DataFrame:
    """Probabilities (n, k) of the images `rows` (n,) as the project keeps predictions: one row an image, ids hashed,
    `score_k` of each class; network and start by the names that the ledger gives them. asked: the settings of the fit.
    head: the classifier on frozen features, empty for a network's own."""
    frame = pd.DataFrame(
        {
            "unit": "image",
            "unit_id": ids.hashed(data.unit_id[rows], asked.dataset),
            "group": ids.hashed(data.group[rows], asked.dataset),
            "dataset": asked.dataset,
            "task": asked.task,
            "split": asked.split,
            "part": data.part[rows],
            "backbone": asked.backbone,
            "initial": settings.named(asked.initial),
            "head": head,
            "seed": asked.seed,
            "y_true": data.y[rows],
        }
    )
    return frame.assign(**{f"score_{k}": column for k, column in enumerate(probability.T)})
