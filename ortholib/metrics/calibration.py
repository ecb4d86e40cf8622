"""Do probabilities mean what they say: temperature scaling fitted on validation, and the error before and after.

Guo et al., 2017, arXiv:1706.04599. Weights are those of `metrics`: (D, n) or None, values with D first.
"""

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import softmax

from ortholib.errors import OrthoError
from ortholib.metrics import bootstrap, evaluation, scores
from ortholib.metrics.scores import _as_classes, _mean

FLOOR = 1e-12  # a stored probability of 0 (float16, or rounded) has no logarithm; a miss then costs 27.6 nats
COLDEST, HOTTEST = 0.01, 100.0  # temperatures tried: without a single error on validation the best one would be 0


def _logits(proba) -> np.ndarray:
    return np.log(np.maximum(np.asarray(proba, dtype=np.float64), FLOOR))


def nll(y_true, proba, weights=None) -> np.ndarray:
    """Negative log likelihood (D,), mean over units in nats, of proba (n, k) for classes y_true (n,) in 0..k-1.

    Probabilities below 1e-12 count as that.
    """
    logits = _logits(proba)
    y = _as_classes(y_true, logits.shape[1])
    return _mean(-logits[np.arange(len(y)), y], weights)


def temperature(y_true, proba) -> float:
    """The T for which softmax(log proba / T) has the least negative log likelihood (section 4.2), one for all classes.

    For validation rows: y_true (n,) in 0..k-1, proba (n, k), k >= 2. Above 1 it softens probabilities that were too
    sure. The likelihood is concave in 1 / T, so the best T is where its slope is 0, found to 1e-12; the bounds 0.01 and
    100 are returned where it has none in between (no validation unit is wrong, or ranking is upside down).
    Logits that differ by a constant give the same probabilities, so those of the network are not needed.
    Raises OrthoError for no rows and for classes outside 0..k-1.
    """
    logits = _logits(proba)
    y = _as_classes(y_true, logits.shape[1])
    if not len(y):
        raise OrthoError("no validation rows to fit a temperature on; check the part that was selected")
    truth = logits[np.arange(len(y)), y]

    def slope(inverse: float) -> float:
        return float(np.mean((softmax(inverse * logits, axis=1) * logits).sum(1) - truth))

    coldest, hottest = 1 / COLDEST, 1 / HOTTEST
    if slope(coldest) <= 0:
        return COLDEST
    if slope(hottest) >= 0:
        return HOTTEST
    return 1 / brentq(slope, hottest, coldest, xtol=1e-12)


def scaled(proba, temperature: float) -> np.ndarray:
    """softmax(log proba / T): (n, k). T = 1 changes nothing, and no T changes the most probable class."""
    return softmax(_logits(proba) / temperature, axis=1)


def temperatures(validation: pd.DataFrame) -> dict:
    """One temperature a seed, seed -> T, from validation predictions as `evaluation.evaluate` takes them.

    Without a column `seed` the key is None. Raises OrthoError for predictions that cannot be meant.
    """
    arm = evaluation.read_arm(validation)
    keys = sorted(validation["seed"].unique()) if "seed" in validation.columns else [None]
    return {key: temperature(*scored) for key, scored in zip(keys, arm.scored(), strict=True)}


def rescaled(predictions: pd.DataFrame, temperatures: dict) -> pd.DataFrame:
    """The same predictions with each seed's probabilities at its temperature; a new frame.

    Raises OrthoError where a seed has no temperature.
    """
    columns = evaluation.score_columns(predictions)
    changed = predictions.copy()
    seeds = predictions["seed"] if "seed" in predictions.columns else pd.Series([None] * len(predictions))
    values = predictions[columns].to_numpy(dtype=np.float64, copy=True)
    for seed in seeds.unique():
        if seed not in temperatures:
            raise OrthoError(f"no temperature for seed {seed}; fitted for {list(temperatures)}: fit it on validation")
        rows = (seeds == seed).to_numpy() if seed is not None else np.ones(len(values), dtype=bool)
        values[rows] = scaled(values[rows], temperatures[seed])
    changed[columns] = values
    return changed


def before_after(validation: pd.DataFrame, test: pd.DataFrame, draws: int = bootstrap.DRAWS) -> pd.DataFrame:
    """Calibration of one arm's test predictions before and after temperature scaling fitted on validation.

    Both frames as `evaluation.evaluate` takes them, with the same seeds. Rows: `nll` (nats), `brier`, `ece` (15 bins,
    of the most probable class), each "before", "after" and "after - before" (paired: same draws), as the mean over
    seeds with its group-clustered 95 % interval. The temperature stays that of validation in every draw.
    Columns: metric, scaling, value, low, high, n, n_groups, draws, n_undefined_draws, reason, seeds, temperature (mean
    over seeds). Raises OrthoError for predictions that cannot be meant and for seeds that differ.
    """
    fitted = temperatures(validation)
    before, after = (evaluation.read_arm(frame) for frame in (test, rescaled(test, fitted)))
    scored = before.scored(), after.scored()

    def compute(weights):
        values = {}
        for name, metric in (("nll", nll), ("brier", scores.brier), ("ece", scores.ece)):
            old, new = (np.mean([metric(y, p, weights) for y, p in runs], axis=0) for runs in scored)
            values |= {(name, "before"): old, (name, "after"): new, (name, "after - before"): new - old}
        return values

    table = bootstrap.bootstrap(compute, before.runs[0]["group"], draws, keys=("metric", "scaling"))
    return table.assign(seeds=len(before.runs), temperature=float(np.mean(list(fitted.values()))))
