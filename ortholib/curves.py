"""ROC and precision-recall curves with bands from the group-clustered bootstrap.

A band is pointwise: at each place of the horizontal axis 95 % of the draws lie inside it, which says less than that
95 % of whole curves do. Weights are those of `metrics`: (D, n) or None, values with D first.
"""

import numpy as np
import pandas as pd

from ortholib import evaluation, stats
from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import _adder, _as_weights, _ratio

GRID = np.arange(201) / 200  # places of the horizontal axis: 700 px hold about 3 px a step


def _cumulated(y_true, score, weights) -> tuple[np.ndarray, np.ndarray]:
    """Weight of positives and of negatives at or above each distinct score, highest first, from 0: two (S + 1, D)."""
    y, score = np.asarray(y_true), np.asarray(score, dtype=np.float64)
    if y.shape != score.shape or y.ndim != 1 or not np.isin(y, (0, 1)).all():
        raise OrthoError(f"y_true {y.shape} must be 0 or 1, one for each score {score.shape}")
    if not np.isfinite(score).all():
        raise OrthoError(f"score {int(np.argmin(np.isfinite(score)))} is not finite; rerun that fit")
    distinct, place = np.unique(-score, return_inverse=True)
    weights = _as_weights(weights, len(y))
    added = _adder(2 * place + (y == 1), 2 * len(distinct)) @ weights.T
    added = added.reshape(len(distinct), 2, len(weights)).cumsum(0)
    added = np.concatenate([np.zeros((1, *added.shape[1:])), added])
    return added[:, 1], added[:, 0]


def sensitivity_at(y_true, score, false_positive_rate=GRID, weights=None) -> np.ndarray:
    """ROC curve read at each false-positive rate (1 - specificity): sensitivity (D, G).

    Straight between the thresholds, as tied units enter together; the upper end where the curve is vertical. NaN in
    draws without both classes. Fawcett, 2006, doi:10.1016/j.patrec.2005.10.010, algorithm 3 (vertical averaging).
    """
    grid = np.asarray(false_positive_rate, dtype=np.float64)
    positives, negatives = _cumulated(y_true, score, weights)
    found = np.full((positives.shape[1], len(grid)), np.nan)
    for draw, (up, right) in enumerate(zip(positives.T, negatives.T, strict=True)):
        if not (len(up) > 1 and up[-1] and right[-1]):
            continue
        up, right = up / up[-1], right / right[-1]
        last = np.searchsorted(right, grid, side="right") - 1
        after = np.minimum(last + 1, len(right) - 1)
        step = right[after] - right[last]
        share = np.divide(grid - right[last], step, out=np.zeros(len(grid)), where=step > 0)
        found[draw] = up[last] + share * (up[after] - up[last])
    return found


def precision_at(y_true, score, recall=GRID, weights=None) -> np.ndarray:
    """Precision-recall curve read at each recall: precision (D, G) at the highest threshold that reaches it.

    Never straight between thresholds, which would promise too much (Davis and Goadrich, 2006,
    doi:10.1145/1143844.1143874). At recall 0 it is that of the highest threshold that finds one. NaN in draws without
    both classes.
    """
    grid = np.asarray(recall, dtype=np.float64)
    positives, negatives = _cumulated(y_true, score, weights)
    found = np.full((positives.shape[1], len(grid)), np.nan)
    for draw, (up, right) in enumerate(zip(positives.T, negatives.T, strict=True)):
        if not (len(up) > 1 and up[-1] and right[-1]):
            continue
        precision = _ratio(up, up + right)
        first = np.searchsorted(up, np.maximum(grid * up[-1], np.finfo(float).tiny) * (1 - 1e-12))
        found[draw] = precision[first]
    return found


def curve_bands(predictions: pd.DataFrame, draws: int = stats.DRAWS, seed: int = 0) -> pd.DataFrame:
    """Both curves of one arm of k = 2, as the mean over seeds, with pointwise 95 % bands.

    predictions  as `evaluation.evaluate` takes them

    Columns curve ("roc", "pr"), x (1 - specificity; recall), y (sensitivity; precision), low, high, n, n_groups,
    prevalence. Raises OrthoError for predictions that cannot be meant, and UsageError for more than two classes.
    """
    arm = evaluation.read_arm(predictions)
    if arm.n_classes != 2:
        raise UsageError(f"ROC and precision-recall curves are for 2 classes; these predictions have {arm.n_classes}")
    runs = [(run["y_true"].to_numpy(), run["score_1"].to_numpy()) for run in arm.runs]

    def compute(weights):
        both = {"roc": sensitivity_at, "pr": precision_at}
        means = {name: np.mean([read(y, s, GRID, weights) for y, s in runs], axis=0) for name, read in both.items()}
        return {(name, x): value[:, i] for name, value in means.items() for i, x in enumerate(GRID)}

    table = stats.bootstrap(compute, arm.runs[0]["group"], draws, seed)
    table["curve"], table["x"] = zip(*table["metric"], strict=True)
    prevalence = float(np.mean(runs[0][0])) if len(runs[0][0]) else np.nan
    table = table.rename(columns={"value": "y"}).assign(prevalence=prevalence)
    return table[["curve", "x", "y", "low", "high", "n", "n_groups", "prevalence"]]
