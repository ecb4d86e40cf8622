"""Made-up truths and scores, and tables of predictions made of them."""

import numpy as np
import pandas as pd

N = 300


def scored(n_scores: int = 12, n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores on a grid of n_scores values: most pairs of rows are tied at 12."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(int)
    return y, np.round(np.clip(rng.normal(0.4 + 0.2 * y, 0.2), 0, 1) * n_scores) / n_scores


def graded(k: int = 4, n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Grades and probabilities (n, k) that are highest near them."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) - np.abs(np.arange(k) - y[:, None])
    return y, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def two(score) -> np.ndarray:
    """Probabilities (n, 2) from those of class 1."""
    return np.column_stack([1 - score, score])


def frame(y, proba, per_group: int = 2, **columns) -> pd.DataFrame:
    """Predictions of units u0000 … from probabilities (n, k), or of class 1 (n,), `per_group` units a group."""
    proba, units = two(proba) if np.ndim(proba) == 1 else np.asarray(proba), np.arange(len(y))
    table = pd.DataFrame({"unit_id": [f"u{i:04d}" for i in units], "group": units // per_group, "y_true": y})
    return table.assign(**{f"score_{c}": score for c, score in enumerate(proba.T)}, **columns)
