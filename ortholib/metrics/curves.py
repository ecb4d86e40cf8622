"""ROC and precision-recall curves with bands from the group-clustered bootstrap.

A band is pointwise: at each place of the horizontal axis 95 % of the draws lie inside it, which says less than that
95 % of whole curves do. Weights are those of `metrics`: (D, n) or None, values with D first.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from ortholib.metrics import bootstrap, evaluation
from ortholib.metrics.scores import _adder, _as_binary, _as_weights, _ratio

GRID = np.arange(201) / 200  # places of the horizontal axis: 700 px hold about 3 px a step


def _cumulated(y_true, score, weights) -> tuple[np.ndarray, np.ndarray]:
    """Weight of positives and of negatives at or above each distinct score, highest first, from 0: two (S + 1, D)."""
    y, score = _as_binary(y_true, score)
    distinct, place = np.unique(-score, return_inverse=True)
    weights = _as_weights(weights, len(y))
    added = _adder(2 * place + (y == 1), 2 * len(distinct)) @ weights.T
    added = added.reshape(len(distinct), 2, len(weights)).cumsum(0)
    added = np.concatenate([np.zeros((1, *added.shape[1:])), added])
    return added[:, 1], added[:, 0]


def _of_each_draw(y_true, score, weights, grid, read: Callable) -> np.ndarray:
    """(D, G): `read(found, called wrongly)` of each draw, NaN in those without both classes."""
    positives, negatives = _cumulated(y_true, score, weights)
    values = np.full((positives.shape[1], len(grid)), np.nan)
    for draw, (up, right) in enumerate(zip(positives.T, negatives.T, strict=True)):
        if up[-1] and right[-1]:
            values[draw] = read(up, right)
    return values


def sensitivity_at(y_true, score, false_positive_rate=GRID, weights=None) -> np.ndarray:
    """ROC curve read at each false-positive rate (1 - specificity): sensitivity (D, G).

    Straight between the thresholds, as tied units enter together; the upper end where the curve is vertical. NaN in
    draws without both classes. Fawcett, 2006, doi:10.1016/j.patrec.2005.10.010, algorithm 3 (vertical averaging).
    """
    grid = np.asarray(false_positive_rate, dtype=np.float64)

    def read(up, right):
        return np.interp(grid, right / right[-1], up / up[-1])

    return _of_each_draw(y_true, score, weights, grid, read)


def precision_at(y_true, score, recall=GRID, weights=None) -> np.ndarray:
    """Precision-recall curve read at each recall: precision (D, G) at the highest threshold that reaches it.

    Never straight between thresholds, which would promise too much (Davis and Goadrich, 2006,
    doi:10.1145/1143844.1143874). At recall 0 it is that of the highest threshold that finds one. NaN in draws without
    both classes.
    """
    grid = np.asarray(recall, dtype=np.float64)

    def read(up, right):
        first = np.searchsorted(up, np.maximum(grid * up[-1], np.finfo(float).tiny) * (1 - 1e-12))
        return _ratio(up, up + right)[first]

    return _of_each_draw(y_true, score, weights, grid, read)


def curve_bands(predictions: pd.DataFrame, draws: int = bootstrap.DRAWS) -> pd.DataFrame:
    """Both curves of one arm of k = 2, as the mean over seeds, with pointwise 95 % bands.

    predictions  as `evaluation.evaluate` takes them

    Columns curve ("roc", "pr"), x (1 - specificity; recall), y (sensitivity; precision), low, high, n, n_groups,
    prevalence. Raises OrthoError for predictions that cannot be meant, and UsageError for more than two classes.
    """
    arm = evaluation.read_arm(predictions)
    runs = arm.binary("ROC and precision-recall curves")

    def compute(weights):
        both = {"roc": sensitivity_at, "pr": precision_at}
        means = {name: np.mean([read(y, s, GRID, weights) for y, s in runs], axis=0) for name, read in both.items()}
        return {(name, x): value[:, i] for name, value in means.items() for i, x in enumerate(GRID)}

    table = bootstrap.bootstrap(compute, arm.runs[0]["group"], draws, keys=("curve", "x"))
    prevalence = float(np.mean(runs[0][0])) if len(runs[0][0]) else np.nan
    table = table.rename(columns={"value": "y"}).assign(prevalence=prevalence)
    return table[["curve", "x", "y", "low", "high", "n", "n_groups", "prevalence"]]
