"""Values of any depth to 8-bit grey, in blocks of rows: a large deep image never stands in memory as floats."""

import math

import numpy as np

ROWS = 256


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """(…, H, W) numbers to uint8: low and below to 0, high and above to 255, linear and rounded between."""
    out = np.empty(values.shape, np.uint8)
    rows, into = values.reshape(-1, values.shape[-1]), out.reshape(-1, values.shape[-1])
    factor = 255 / (high - low) if high > low else 0.0
    for start in range(0, len(rows), ROWS):
        block = (rows[start : start + ROWS].astype(np.float64) - low) * factor + 0.5
        into[start : start + ROWS] = np.clip(block, 0, 255)
    return out


def bounds(low: float, high: float, kind: str) -> tuple[float, float]:
    """What is shown as black and as white of values that lie between low and high, of a numpy dtype `kind`.

    Whole numbers: from 0 (or what is below it) to the top of the bits in use, at least 8, so that 12 bits stored in 16
    stay 12. Floating point: their own range. Raises ValueError where that is not finite.
    """
    low, high = float(low), float(high)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("pixel values that are not finite")
    if kind == "f":
        return low, high
    return min(low, 0.0), 1.0 if kind == "b" else 2.0 ** max(8, math.ceil(math.log2(max(high, 0) + 1))) - 1
