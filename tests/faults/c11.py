"""DICOM's grey scale pipeline restated from PS3.3 C.11 in plain numpy, without a line of the readers it judges.

Stored values -> modality (C.11.1) -> VOI (C.11.2) -> presentation (C.11.6), in float64, as 0 (black) to 255 (white).
Where the standard leaves the choice, what `ortholib.data.dicom` promises: of a table and a window the table, of several
windows the first, without either the plane's own range; padding is black.
"""

from typing import NamedTuple

import numpy as np


class Rescale(NamedTuple):
    slope: float
    intercept: float


class Table(NamedTuple):
    """first: the input that maps to the first entry; bits: of an entry, as the descriptor says."""

    first: int
    bits: int
    entries: np.ndarray


class Window(NamedTuple):
    centre: float
    width: float
    function: str = "LINEAR"


class Grey(NamedTuple):
    """All that decides how a monochrome plane is shown; padding: from, to, both inclusive, of the stored values."""

    modality: Rescale | Table | None = None
    table: Table | None = None
    window: Window | None = None
    padding: tuple[int, int] | None = None
    inverse: bool = False  # MONOCHROME1, or Presentation LUT Shape INVERSE


def shown(stored: np.ndarray, grey: Grey) -> np.ndarray:
    """(H, W) whole stored values to (H, W) float64 of 0 to 255."""
    low, high = grey.padding or (1, 0)
    padded = (low <= stored) & (stored <= high)  # C.7.5.1.1.2: stored values, before any transformation
    values = modality(stored, grey.modality)
    if grey.table:
        share = looked_up(values, grey.table) / top(grey.table)
    elif grey.window:
        share = windowed(values, grey.window)
    else:
        share = own_range(values, ~padded)
    if grey.inverse:  # C.7.6.3.1.2: the lowest value of MONOCHROME1 is white; C.11.6: INVERSE, never twice
        share = 1 - share
    return np.where(padded, 0, 255 * share)


def modality(stored: np.ndarray, how: Rescale | Table | None) -> np.ndarray:
    """C.11.1.1: a table's output, or slope times the stored value plus intercept (C.11.1.1.2)."""
    if isinstance(how, Table):
        return looked_up(stored, how)
    return stored * how.slope + how.intercept if how else stored.astype(np.float64)


def looked_up(values: np.ndarray, table: Table) -> np.ndarray:
    """C.11.1.1.1 and C.11.2.1.1: what lies before the first input gets the first entry, what lies behind the last."""
    entry = np.rint(values).astype(np.int64) - table.first
    return np.asarray(table.entries, np.float64)[entry.clip(0, len(table.entries) - 1)]


def top(table: Table) -> int:
    """C.11.2.1.1: the output goes from 0 to 2^n - 1; n are the bits in use where the descriptor says more of them."""
    return 2 ** min(table.bits, max(8, int(np.max(table.entries)).bit_length())) - 1


def windowed(x: np.ndarray, window: Window) -> np.ndarray:
    """C.11.2.1.2.1 and C.11.2.1.3, with ymin 0 and ymax 1."""
    c, w, function = window
    if function == "SIGMOID":  # C.11.2.1.3.1
        return 1 / (1 + np.exp((-4 * (x - c) / w).clip(-700, 700)))
    if function == "LINEAR" and w >= 1:  # C.11.2.1.2.1: "Window Width shall always be greater than or equal to 1"
        c, w = c - 0.5, w - 1
    # C.11.2.1.3.2 (LINEAR_EXACT), and a LINEAR window below 1, which can mean nothing else
    inside = (x - c) / w + 0.5 if w > 0 else np.zeros(x.shape)
    return np.where(x <= c - w / 2, 0, np.where(x > c + w / 2, 1, inside))


def own_range(x: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """No VOI in the file: from the least to the greatest value that is no padding; one value only is black."""
    if not inside.any() or np.ptp(x[inside]) == 0:
        return np.zeros(x.shape)
    low, high = x[inside].min(), x[inside].max()
    return ((x - low) / (high - low)).clip(0, 1)


def luma(rgb: np.ndarray) -> np.ndarray:
    """(H, W, 3) of 0 to 255 to (H, W): Y of C.7.6.3.1.2's YBR_FULL, ITU-R BT.601. Windows have no meaning here."""
    return rgb.astype(np.float64) @ [0.299, 0.587, 0.114]
