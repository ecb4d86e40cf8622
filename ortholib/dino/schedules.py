"""Schedules of DINO (Caron et al. 2021, arXiv 2104.14294, section 3.2): arrays with one value a step, or an epoch."""

import numpy as np

from ortholib.errors import UsageError


def cosine(base: float, final: float, steps: int, warmup: int = 0, start: float = 0.0) -> np.ndarray:
    """(steps,) float64: from `start` straight up to `base` in `warmup` steps, then down to `final` by half a cosine.

    Both ends of the warm-up are met, so `base` stands twice, and `final` would follow one step after the last.
    Raises UsageError for a warm-up longer than the whole.
    """
    _check(warmup, steps, "steps")
    phase = np.arange(steps - warmup) / max(1, steps - warmup)
    falling = final + 0.5 * (base - final) * (1 + np.cos(np.pi * phase))
    return np.concatenate([np.linspace(start, base, warmup), falling])


def teacher_temperature(final: float, epochs: int, warmup: int = 0, start: float = 0.04) -> np.ndarray:
    """(epochs,) float64: from `start` straight to `final` in `warmup` epochs, then `final`.

    Raises UsageError for a warm-up longer than the whole.
    """
    _check(warmup, epochs, "epochs")
    return np.concatenate([np.linspace(start, final, warmup), np.full(epochs - warmup, final)])


def _check(warmup: int, whole: int, unit: str) -> None:
    if not 0 <= warmup <= whole:
        raise UsageError(f"a warm-up of {warmup} {unit} does not fit {whole} {unit}; expected 0 to {whole}.")
