"""Clustered bootstrap of ROC AUC and average precision: our weights against a loop over scikit-learn, same draws."""

import os
import time

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from ortholib.metrics.bootstrap import bootstrap_draws, group_draws
from ortholib.metrics.scores import Ranking

N, DRAWS, LOOP_DRAWS, REPEATS = 5000, 2000, 40, 5


def data(n: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y_true (30 % positive), score and group of n rows; groups hold 1 to 4 rows, 2.0 on average."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(n), rng.choice([1, 2, 3, 4], n, p=[0.4, 0.3, 0.2, 0.1]))[:n]
    y_true = (rng.random(n) < 0.3).astype(int)
    return y_true, rng.normal(y_true), group


def ours(y_true, score, group) -> dict[str, np.ndarray]:
    """Everything from raw arrays to all draws: sorting and drawing included."""
    ranking = Ranking(y_true, score)
    names = ("roc_auc", "average_precision")
    return bootstrap_draws(lambda weights: dict(zip(names, ranking.areas(weights), strict=True)), group, DRAWS)


def loop(y_true, score, weights) -> np.ndarray:
    """(LOOP_DRAWS, 2): scikit-learn on the rows of each draw repeated, faster there than sample_weight. Draws given."""
    values = []
    for draw in weights:
        rows = np.repeat(np.arange(len(draw)), draw)
        values.append((roc_auc_score(y_true[rows], score[rows]), average_precision_score(y_true[rows], score[rows])))
    return np.array(values)


def seconds(*functions) -> list[float]:
    """Median wall time of each over REPEATS rounds after a warm-up; in turn, so a busy machine slows both."""
    times = []
    for _ in range(1 + REPEATS):
        times.append([])
        for function in functions:
            start = time.perf_counter()
            function()
            times[-1].append(time.perf_counter() - start)
    return np.median(times[1:], axis=0).tolist()


def run() -> dict:
    """Seconds of both for DRAWS draws (scikit-learn's extrapolated from LOOP_DRAWS), and their largest difference."""
    y_true, score, group = data()
    weights = next(group_draws(group, DRAWS))[:LOOP_DRAWS].astype(int)
    drawn = ours(y_true, score, group)
    first = np.column_stack([drawn["roc_auc"], drawn["average_precision"]])[:LOOP_DRAWS]
    difference = float(np.abs(first - loop(y_true, score, weights)).max())
    ours_s, loop_s = seconds(lambda: ours(y_true, score, group), lambda: loop(y_true, score, weights))
    sklearn_s = loop_s * DRAWS / LOOP_DRAWS
    return {
        "ours_s": round(ours_s, 4),
        "sklearn_s": round(sklearn_s, 2),
        "sklearn_s_is": f"extrapolated from {LOOP_DRAWS} of {DRAWS} draws",
        "ratio": round(sklearn_s / ours_s, 1),
        "max_abs_difference": difference,
        "draws": DRAWS,
        "n": N,
        "n_groups": len(np.unique(group)),
        "cores": os.cpu_count(),
    }
