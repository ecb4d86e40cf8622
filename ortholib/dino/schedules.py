"""Schedules of DINO (Caron et al. 2021, arXiv 2104.14294, section 3.2): arrays with one value a step."""

import numpy as np

from ortholib.errors import UsageError


def cosine(base: float, final: float, steps: int, warmup: int = 0, start: float = 0.0) -> np.ndarray:
    """(steps,) float64: from `start` straight up to `base` in `warmup` steps, then down to `final` by half a cosine.

    Both ends of the warm-up are met, so `base` stands twice, and `final` would follow one step after the last.
    Raises UsageError for a warm-up longer than the whole.
    """
    if not 0 <= warmup <= steps:
        raise UsageError(f"a warm-up of {warmup} steps does not fit {steps} steps; expected 0 to {steps}.")
    phase = np.arange(steps - warmup) / max(1, steps - warmup)
    falling = final + 0.5 * (base - final) * (1 + np.cos(np.pi * phase))
    return np.concatenate([np.linspace(start, base, warmup), falling])
