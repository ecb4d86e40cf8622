"""Areas and covariances: R's pROC, the papers' formulas in loops, one by the other, and simulation."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refused import refused
from scipy.stats import norm
from scores import frame
from sklearn.metrics import roc_auc_score

from ortholib.errors import UsageError
from ortholib.metrics.compare import DETECTABLE
from ortholib.metrics.delong import compare_areas, contrast, delong, obuchowski, placements

FIXTURES = Path(__file__).parents[1] / "fixtures"  # written by proc.R there
ARMS = ("a", "b", "c")


@pytest.fixture
def units():
    return pd.read_csv(FIXTURES / "proc-input.csv")


def clustered(seed: int, n_groups: int = 100, alike: float = 0.6):
    """y_true (n,), scores of two arms (2, n), groups of 1 to 5 units; labels and scores of a group are alike."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_groups), rng.integers(1, 6, n_groups))
    y_true = (rng.random(len(group)) < rng.beta(0.4, 0.6, n_groups)[group]).astype(int)
    own = rng.normal(size=(2, n_groups)) + rng.normal(size=n_groups)
    noise = np.sqrt(alike / 2) * own[:, group] + np.sqrt(1 - alike) * rng.normal(size=(2, len(group)))
    return y_true, np.array([[1.2], [0.9]]) * y_true + noise, group


def test_delong_is_proc(units):
    areas = delong(units["y_true"], units[list(ARMS)].to_numpy().T)
    for row in pd.read_csv(FIXTURES / "proc-output.csv").itertuples():
        i, j = ARMS.index(row.first), ARMS.index(row.second)
        assert areas.value[i] == pytest.approx(row.auc_first, abs=1e-12)
        assert areas.covariance[i, j] == pytest.approx(row.covariance, abs=1e-12)
        if i != j:
            found = contrast(areas, np.eye(3)[i] - np.eye(3)[j])
            assert (found["z"], found["p"]) == pytest.approx((row.z, row.p), rel=1e-9)


def kernel(positive, negative):
    return float(positive > negative) + 0.5 * float(positive == negative)


def restated(y_true, scores, groups):
    """Obuchowski, 1997: sums of placements by cluster, S10, S01 and S11, written out pair by pair."""
    k, names = len(scores), sorted(set(groups))
    pos, neg = np.flatnonzero(y_true == 1), np.flatnonzero(y_true == 0)
    m, n = len(pos), len(neg)
    theta = [sum(kernel(s[i], s[j]) for i in pos for j in neg) / (m * n) for s in scores]
    x, y = np.zeros((k, len(names))), np.zeros((k, len(names)))
    for r, s in enumerate(scores):
        for g, name in enumerate(names):
            own_pos, own_neg = [i for i in pos if groups[i] == name], [j for j in neg if groups[j] == name]
            x[r, g] = sum(sum(kernel(s[i], s[j]) for j in neg) / n for i in own_pos) - len(own_pos) * theta[r]
            y[r, g] = sum(sum(kernel(s[i], s[j]) for i in pos) / m for j in own_neg) - len(own_neg) * theta[r]
    i10, i01, every = len({groups[i] for i in pos}), len({groups[j] for j in neg}), len(names)
    covariance = np.zeros((k, k))
    for r in range(k):
        for q in range(k):
            s10 = i10 / ((i10 - 1) * m) * sum(x[r] * x[q])
            s01 = i01 / ((i01 - 1) * n) * sum(y[r] * y[q])
            s11 = every / (every - 1) * (sum(x[r] * y[q]) + sum(x[q] * y[r]))
            covariance[r, q] = s10 / m + s01 / n + s11 / (m * n)
    return theta, covariance


@pytest.mark.parametrize("decimals", [0, 6])
def test_obuchowski_is_the_formula_of_the_paper(decimals):
    y_true, scores, group = clustered(0, n_groups=25)
    scores = np.round(scores, decimals)
    value, covariance = restated(y_true, scores, group)
    order = np.random.default_rng(0).permutation(len(group))  # rows of a group need not stand together
    areas = obuchowski(y_true[order], scores[:, order], [f"p{g}" for g in group[order]])
    np.testing.assert_allclose(areas.value, value, atol=1e-12)
    np.testing.assert_allclose(areas.covariance, covariance, atol=1e-14)
    np.testing.assert_allclose(areas.value, [roc_auc_score(y_true, score) for score in scores], atol=1e-12)


def test_one_unit_a_group_gives_delong(units):
    y_true, scores = units["y_true"], units[list(ARMS)].to_numpy().T
    alone, grouped = delong(y_true, scores), obuchowski(y_true, scores, np.arange(len(units)))
    np.testing.assert_allclose(grouped.covariance, alone.covariance, rtol=1e-12)


def test_obuchowski_holds_over_simulated_sets_where_delong_does_not():
    found = [(obuchowski(y, scores, g), delong(y, scores)) for y, scores, g in map(clustered, range(600))]
    true = np.cov(np.array([grouped.value for grouped, _ in found]).T)
    grouped, alone = (np.mean([one[k].covariance for one in found], axis=0) for k in (0, 1))
    np.testing.assert_allclose(grouped, true, rtol=0.15)  # a variance from 600 sets has a standard error of 6 %
    assert (alone[[0, 1], [0, 1]] < 0.75 * np.diag(true)).all()
    truth = norm.cdf(np.array([1.2, 0.9]) / np.sqrt(2 * (0.6 * 1 + 0.4)))
    inside = [abs(one.value - truth) <= 1.96 * np.sqrt(np.diag(one.covariance)) for one, _ in found]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_a_constant_score_and_a_perfect_one():
    y_true = np.array([0, 0, 0, 1, 1])
    areas = delong(y_true, np.array([np.zeros(5), y_true]))
    np.testing.assert_array_equal(areas.value, [0.5, 1])
    found = contrast(areas, (1, -1))
    assert found["difference"] == -0.5 and np.isnan([found["se"], found["p"], found["low"]]).all()


def test_ten_thousand_units_need_no_pairs():
    rng = np.random.default_rng(0)
    y_true = (rng.random(200_000) < 0.3).astype(int)
    areas = delong(y_true, rng.normal(y_true, size=(2, 200_000)))  # 8.4e9 pairs would not fit
    np.testing.assert_allclose(areas.value, norm.cdf(1 / np.sqrt(2)), atol=0.005)


def predictions(y_true, scores_by_arm, group) -> pd.DataFrame:
    return pd.concat(
        frame(y_true, norm.cdf(score), arm=arm, seed=seed).assign(group=group)
        for (arm, seed), score in scores_by_arm.items()
    )


def test_compare_areas_averages_seeds_and_chooses_by_the_groups():
    y_true, scores, group = clustered(3)
    third = scores[0] + np.random.default_rng(0).normal(size=len(y_true))
    runs = {("x", 0): scores[0], ("x", 1): third, ("y", 0): scores[1]}
    row = compare_areas(predictions(y_true, runs, group)).iloc[0]
    areas = obuchowski(y_true, np.array(list(runs.values())), group)
    expected = contrast(areas, (0.5, 0.5, -1))
    assert (row["method"], row["seeds"], row["seeds_reference"]) == ("Obuchowski", 2, 1)
    assert row["difference"] == pytest.approx(np.mean(areas.value[:2]) - areas.value[2])
    for name, value in expected.items():
        assert row[name] == pytest.approx(value)
    assert row["detectable"] == pytest.approx(DETECTABLE * row["se"]) and row["p_holm"] == row["p"]

    alone = compare_areas(predictions(y_true, runs, np.arange(len(group)))).iloc[0]
    assert alone["method"] == "DeLong"
    assert alone["se"] == pytest.approx(contrast(delong(y_true, list(runs.values())), (0.5, 0.5, -1))["se"])


def test_like_arms_have_nothing_to_test():
    y_true, scores, group = clustered(3)
    row = compare_areas(predictions(y_true, {("x", 0): scores[0], ("y", 0): 2 * scores[0]}, group)).iloc[0]
    assert row["difference"] == 0 and np.isnan([row["se"], row["p"], row["p_holm"], row["detectable"]]).all()
    assert row["reason"] == "the two rank alike: nothing to test"


def test_bad_input_is_refused():
    y_true, scores, group = clustered(0)
    bad = scores.copy()
    bad[1, 4] = np.nan
    refused(r"1 of \d+ scores are not finite \(first: row 4 of column 1\)", delong, y_true, bad)
    refused("0 units of class 0", delong, np.ones_like(y_true), scores)
    refused("1 units of class 1", placements, np.arange(len(y_true)) == 0, scores)
    refused("must be 0 or 1", delong, y_true + 1, scores)
    refused("all units of class 1 are of one group", obuchowski, y_true, scores, np.where(y_true == 1, -1, group))
    refused("rows have no group", obuchowski, y_true, scores, np.where(group == 0, np.nan, group))
    table = predictions(y_true, {("x", 0): scores[0], ("y", 0): scores[1]}, group)
    refused("scored different units", compare_areas, table.iloc[1:])
    refused("areas under ROC curves: for 2 classes", compare_areas, table.assign(score_2=0.0), error=UsageError)
