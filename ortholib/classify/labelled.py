"""What a classifier is trained on: pixels, labels and parts, as plain arrays."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Labelled:
    """n labelled images of one task.

    pixels: (N, S, S) uint8, all squares of the store. row: (n,) row of each labelled image in it.
    y: (n,) class number. part: (n,) train, val or test. mirror: (n,) True where the image is to be read
    flipped left to right, so that all knees are seen as right ones. kind: `binary` or `ordinal`.
    identity: hashes of what the arrays were made from.
    """

    pixels: np.ndarray
    row: np.ndarray
    y: np.ndarray
    part: np.ndarray
    mirror: np.ndarray
    unit_id: np.ndarray
    group: np.ndarray
    classes: list[str]
    kind: str
    identity: dict
