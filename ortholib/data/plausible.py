"""Whether a picture shows anything: the check that catches pixels that were decoded well and rendered wrongly."""

from collections.abc import Iterable

import numpy as np
from PIL import Image

SHARE = 0.005  # of the pixels at each end that do not count: letters, hot pixels
LEVELS = 256 // 20  # less than a twentieth of the range


def doubt(planes: Iterable[Image.Image]) -> str:
    """What is doubtful in rendered planes (mode L) of one file, in a few words; "" of a plausible picture.

    Constant; or the middle 99 % of the pixels lie within a twentieth of the 256 levels: nearly black at the lower end,
    nearly white at the upper one.
    """
    counts = np.sum([plane.histogram() for plane in planes], axis=0)
    levels, below = np.flatnonzero(counts), np.cumsum(counts)
    if len(levels) < 2:
        return "constant"
    low, high = np.searchsorted(below, [SHARE * below[-1], (1 - SHARE) * below[-1]])
    if high - low >= LEVELS:
        return ""
    if high < LEVELS:
        return "nearly black"
    return "nearly white" if low >= 256 - LEVELS else f"only the levels {low} to {high} of 255"
