"""ROC and precision-recall curves on a grid, against scikit-learn's curves, and their bands."""

import numpy as np
import pandas as pd
import pytest
from refused import refused
from scores import N, frame, scored
from sklearn import metrics as sk

from ortholib.errors import UsageError
from ortholib.metrics import curves, scores

GRID = np.array([0, 0.013, 0.1, 0.25, 0.5, 0.77, 1])


@pytest.mark.parametrize("n_scores", [3, 12, 10**9])
def test_curves_equal_scikit_learn(n_scores):
    y, score = scored(n_scores)
    weights = np.random.default_rng(1).poisson(1.0, (3, N)).astype(float)
    roc, pr = curves.sensitivity_at(y, score, GRID, weights), curves.precision_at(y, score, GRID, weights)
    for i, w in enumerate(weights):
        right, up, _ = sk.roc_curve(y, score, sample_weight=w, drop_intermediate=False)
        for j, x in enumerate(GRID):
            at = np.isclose(right, x, atol=1e-12)
            expected = up[at].max() if at.any() else np.interp(x, right, up)
            assert roc[i, j] == pytest.approx(expected, abs=1e-9), x
        precision, recall, _ = sk.precision_recall_curve(y, score, sample_weight=w)
        precision, recall = precision[:-1], recall[:-1]  # the point (0, 1) that it adds is no threshold
        for j, r in enumerate(GRID):
            reached = np.flatnonzero((recall >= r - 1e-12) & (recall > 0))  # thresholds rise: the last is the highest
            assert pr[i, j] == pytest.approx(precision[reached[-1]]), r


def test_the_area_under_the_grid_is_the_auc():
    y, score = scored(10**9)
    grid = np.linspace(0, 1, 20001)
    assert np.trapezoid(curves.sensitivity_at(y, score, grid)[0], grid) == pytest.approx(
        scores.roc_auc(y, score)[0], abs=1e-3
    )
    assert curves.precision_at(y, score, grid)[0].mean() == pytest.approx(
        scores.average_precision(y, score)[0], abs=1e-3
    )


def test_undefined_and_refused():
    for y in ([1, 1], [0, 0]):
        assert np.isnan(curves.sensitivity_at(y, [0.1, 0.2], GRID)).all()
        assert np.isnan(curves.precision_at(y, [0.1, 0.2], GRID)).all()
    assert np.isnan(curves.sensitivity_at([], [], GRID)).all()
    refused(r"1 of 2 scores are not finite \(first: row 1", curves.sensitivity_at, [0, 1], [0.5, np.nan])
    refused("must be 0 or 1", curves.precision_at, [0, 2], [0.5, 0.1])
    y, score = scored(12)
    refused("have 3", curves.curve_bands, frame(y, score).assign(score_2=0.0), draws=10, error=UsageError)


def test_bands_hold_the_curve_and_seeds_are_averaged():
    y, score = scored(10**9)
    table = curves.curve_bands(frame(y, score), draws=200)
    roc, pr = table[table["curve"] == "roc"], table[table["curve"] == "pr"]
    np.testing.assert_allclose(roc["y"], curves.sensitivity_at(y, score)[0])
    assert roc["y"].is_monotonic_increasing and roc["y"].iloc[-1] == 1
    assert pr["y"].iloc[-1] >= y.mean() - 1e-12 and (table["prevalence"] == y.mean()).all()
    inside = (table["low"] - 1e-12 <= table["y"]) & (table["y"] <= table["high"] + 1e-12)
    assert inside.mean() > 0.97  # the two ends of a precision-recall curve are biased under resampling
    assert (table["n"] == N).all() and (table["n_groups"] == N // 2).all()
    other = scored(10**9, seed=0)[1] ** 2 + np.linspace(0, 0.2, N)
    other = np.clip(other, 0, 1)
    both = curves.curve_bands(pd.concat([frame(y, score, seed=0), frame(y, other, seed=1)]), draws=20)
    mean = (curves.sensitivity_at(y, score)[0] + curves.sensitivity_at(y, other)[0]) / 2
    np.testing.assert_allclose(both.loc[both["curve"] == "roc", "y"], mean)
