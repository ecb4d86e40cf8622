"""The metrics of the study, each a function of row weights.

`weights` is (D, n), a row for each bootstrap draw (`bootstrap.group_draws`), or None for the point value. Every metric
returns float64 with D first, and NaN where it is undefined; `evaluation.evaluate` puts the reason beside it. The values
are scikit-learn's with `sample_weight`, except that a class without units makes average precision, balanced accuracy
and F1 undefined, where scikit-learn returns a number or skips the class.
"""

from itertools import pairwise

import numpy as np
from scipy.sparse import csr_matrix

from ortholib.errors import OrthoError

ECE_BINS = 15  # equal-width bins on the confidence, (0, 1/15], ..., (14/15, 1]: Guo et al. 2017, arXiv:1706.04599


def _as_weights(weights, n: int) -> np.ndarray:
    weights = np.ones((1, n)) if weights is None else np.atleast_2d(np.asarray(weights, dtype=np.float64))
    if weights.ndim != 2 or weights.shape[1] != n:
        raise OrthoError(f"weights have shape {weights.shape}, expected (draws, {n}): one weight a row")
    return weights


def _ratio(numerator, denominator) -> np.ndarray:
    """numerator / denominator, NaN where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=np.asarray(denominator) > 0)


def _adder(cell, n_cells: int, values=None) -> csr_matrix:
    """Sparse (n_cells, n) that adds the rows' weights (times `values`) by cell: a draw costs n additions."""
    values = np.ones(len(cell)) if values is None else values
    return csr_matrix((values, (cell, np.arange(len(cell)))), shape=(n_cells, len(cell)))


def _as_classes(y, n_classes: int) -> np.ndarray:
    y = np.asarray(y)
    bad = np.flatnonzero(~np.isin(y, np.arange(n_classes)))
    if len(bad):
        first = f"row {bad[0]}: {y[bad[0]]}"
        raise OrthoError(f"{len(bad)} of {len(y)} classes are not in 0..{n_classes - 1} (first: {first}); map them so")
    return y.astype(np.int64)


def _as_binary(y_true, score) -> tuple[np.ndarray, np.ndarray]:
    """Truths (n,) of 0 and 1 with finite scores (n,); anything else raises OrthoError."""
    y, score = np.asarray(y_true), np.asarray(score, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(score))
    if len(bad):
        raise OrthoError(f"{len(bad)} of {len(score)} scores are not finite (first: row {bad[0]}); rerun that fit")
    if y.shape != score.shape or not np.isin(y, (0, 1)).all():
        raise OrthoError(f"y_true {y.shape} must be 0 or 1, one for each score {score.shape}")
    return y, score


def _mean(values, weights) -> np.ndarray:
    weights = _as_weights(weights, len(values))
    total, count = (weights @ np.column_stack([values, np.ones(len(values))])).T
    return _ratio(total, count)


# Ranking


class Ranking:
    """Units sorted once by score, for the areas under both curves in any number of draws.

    y_true (n,) of 0 and 1, score (n,) finite, higher = more positive; anything else raises OrthoError. Only thresholds
    at the score of some positive matter: between two of them the areas depend on the summed weight of the negatives
    alone. So rows are added into (threshold, class) cells, and cells cumulated from the highest threshold down.
    Ties are exact: a tied pair counts one half in ROC AUC, and tied units enter the precision together.
    """

    def __init__(self, y_true, score):
        y_true, score = _as_binary(y_true, score)
        positive = y_true == 1
        ascending = np.unique(score[positive])
        self.thresholds = ascending[::-1]
        # the highest threshold that calls the unit positive; negatives under all of them go to an extra last cell
        step = len(ascending) - np.searchsorted(ascending, score, side="right")
        self._n_steps = len(ascending) + 1
        self._steps = _adder(2 * step + ~positive, 2 * self._n_steps)
        tied = ~positive & np.isin(score, ascending)
        self._tied = _adder(step, self._n_steps, tied.astype(np.float64)) if tied.any() else None

    def curve(self, weights=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weight of positives at each threshold, of positives and of negatives at or above it: three (T + 1, D)."""
        weights = _as_weights(weights, self._steps.shape[1])
        cells = (self._steps @ weights.T).reshape(self._n_steps, -1)  # (T + 1, 2 D): positives left, negatives right
        n_draws = len(weights)
        at = cells[:, :n_draws].copy()
        # np.cumsum down the columns takes 112 ms for 2,000 draws of 1,500 thresholds, adding row to row takes 8 ms
        for above, here in pairwise(cells):
            here += above
        return at, cells[:, :n_draws], cells[:, n_draws:]

    def areas(self, weights=None) -> tuple[np.ndarray, np.ndarray]:
        """(ROC AUC, average precision), each (D,); NaN in draws without a positive or without a negative."""
        at, above_pos, above_neg = self.curve(weights)
        n_pos, n_neg = above_pos[-1], above_neg[-1]
        both = n_neg > 0
        ranked_wrong = np.einsum("td,td->d", at, above_neg)
        if self._tied is not None:
            ranked_wrong -= np.einsum("td,td->d", at, self._tied @ _as_weights(weights, self._tied.shape[1]).T) / 2
        called = np.maximum(above_pos + above_neg, np.finfo(float).tiny)  # 0 only where `at` is 0 too
        precision = np.einsum("td,td->d", at, above_pos / called)
        return 1 - _ratio(ranked_wrong, n_pos * n_neg), _ratio(precision, n_pos * both)


def roc_auc(y_true, score, weights=None) -> np.ndarray:
    """Area under the ROC curve (D,): the chance that a positive outranks a negative, ties one half."""
    return Ranking(y_true, score).areas(weights)[0]


def average_precision(y_true, score, weights=None) -> np.ndarray:
    """Area under the precision-recall curve as the step sum of scikit-learn (D,): sum of precision x recall gained."""
    return Ranking(y_true, score).areas(weights)[1]


def youden_threshold(y_true, score) -> float:
    """The threshold t with the largest sensitivity + specificity - 1 for the rule score >= t (Youden, 1950).

    For validation rows. Among equals the highest; NaN when a class has no unit (`evaluate` then says so).
    """
    ranking = Ranking(y_true, score)
    _, above_pos, above_neg = ranking.curve()
    youden = _ratio(above_pos, above_pos[-1]) - _ratio(above_neg, above_neg[-1])
    return float(ranking.thresholds[np.argmax(youden[:-1])]) if np.isfinite(youden).all() else np.nan


# Calls


def confusion(y_true, y_pred, n_classes: int, weights=None) -> np.ndarray:
    """Weight by true class (axis 1) and called class (axis 2): (D, k, k)."""
    cell = _as_classes(y_true, n_classes) * n_classes + _as_classes(y_pred, n_classes)
    added = _adder(cell, n_classes**2) @ _as_weights(weights, len(cell)).T
    return added.T.reshape(-1, n_classes, n_classes)


def accuracy(matrix) -> np.ndarray:
    """Share of units called right (D,) from confusion (D, k, k)."""
    return _ratio(np.trace(matrix, axis1=1, axis2=2), matrix.sum((1, 2)))


def per_class_recall(matrix) -> np.ndarray:
    """Share of each class's units called right (D, k); NaN for a class without units."""
    return _ratio(np.diagonal(matrix, axis1=1, axis2=2), matrix.sum(2))


def sensitivity(matrix) -> np.ndarray:
    """Recall of class 1 (D,) from confusion (D, 2, 2)."""
    return per_class_recall(matrix)[:, 1]


def specificity(matrix) -> np.ndarray:
    """Recall of class 0 (D,) from confusion (D, 2, 2)."""
    return per_class_recall(matrix)[:, 0]


def balanced_accuracy(matrix) -> np.ndarray:
    """Mean recall over all k classes (D,); NaN when one has no units, where scikit-learn averages over the others."""
    return per_class_recall(matrix).mean(1)


def f1(matrix) -> np.ndarray:
    """Harmonic mean of precision and sensitivity of class 1 (D,); NaN with no positive unit."""
    true_pos, n_pos, n_called = matrix[:, 1, 1], matrix[:, 1].sum(1), matrix[:, :, 1].sum(1)
    return _ratio(2 * true_pos, (n_pos + n_called) * (n_pos > 0))


def kappa(matrix, weighting: str | None = None) -> np.ndarray:
    """Cohen's kappa (D,) from confusion (D, k, k), with the stated weighting of a disagreement of classes i and j.

    None: 1, 'linear': |i - j|, 'quadratic': (i - j)^2. NaN when chance alone agrees fully: truth and
    calls in one class. Cohen, 1968, doi:10.1037/h0026256.
    """
    distance = np.abs(np.subtract.outer(*[np.arange(matrix.shape[1], dtype=np.float64)] * 2))
    disagreement = {None: np.minimum(distance, 1), "linear": distance, "quadratic": distance**2}[weighting]
    by_chance = np.einsum("di,ij,dj->d", matrix.sum(2), disagreement, matrix.sum(1))
    observed = np.einsum("dij,ij->d", matrix, disagreement) * matrix.sum((1, 2))
    return 1 - _ratio(observed, by_chance)


# Grades and probabilities


def mae(y_true, y_pred, weights=None) -> np.ndarray:
    """Mean absolute error (D,) in grades; y_pred may lie between grades."""
    return _mean(np.abs(np.asarray(y_true, dtype=np.float64) - y_pred), weights)


def expectation(proba) -> np.ndarray:
    """Expectation of the grade under proba (n, k): (n,) in grades, between two of them."""
    return np.asarray(proba) @ np.arange(np.shape(proba)[1])


def expected_grade(proba) -> np.ndarray:
    """The grade (n,) int nearest to the expectation under proba (n, k); halfway between two it is the higher one.

    The one rule for calling a grade by its expectation: `np.rint` would send 0.5 to 0 and 1.5 to 2.
    """
    return np.clip(np.floor(expectation(proba) + 0.5), 0, np.shape(proba)[1] - 1).astype(np.int64)


def brier(y_true, proba, weights=None) -> np.ndarray:
    """Brier score (D,) of proba (n, k). k = 2: squared error of class 1, 0 to 1. k > 2: sum over classes, 0 to 2."""
    proba = np.asarray(proba, dtype=np.float64)
    squared = (proba - np.eye(proba.shape[1])[_as_classes(y_true, proba.shape[1])]) ** 2
    return _mean(squared[:, 1] if proba.shape[1] == 2 else squared.sum(1), weights)


def ece(y_true, proba, weights=None) -> np.ndarray:
    """Expected calibration error (D,) of the most probable class of proba (n, k), in ECE_BINS bins.

    Confidence = the largest probability, also for k = 2. The plug-in value grows as units get fewer, and again under
    resampling: its interval leans upwards.
    """
    proba = np.asarray(proba, dtype=np.float64)
    confidence = proba.max(axis=1)
    bins = np.searchsorted(np.linspace(0, 1, ECE_BINS + 1)[1:-1], confidence)
    gap = (proba.argmax(axis=1) == _as_classes(y_true, proba.shape[1])) - confidence
    weights = _as_weights(weights, len(gap))
    return _ratio(np.abs(_adder(bins, ECE_BINS, gap) @ weights.T).sum(0), weights.sum(1))


def selection_metric(y: np.ndarray, probability: np.ndarray, kind: str) -> float:
    """What the best epoch is chosen by, on validation: ROC AUC (binary), quadratic kappa of the rounded
    expected grade (ordinal). Not computable (one class) counts as the worst value."""
    if kind == "binary":
        value = roc_auc(y, probability[:, 1])[0]
    else:
        classes = probability.shape[1]
        grade = expected_grade(probability)
        value = kappa(confusion(y, grade, classes), "quadratic")[0]
    return float(value) if np.isfinite(value) else -1.0
