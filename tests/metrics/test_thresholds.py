"""Thresholds for a specificity, the rates at them and net benefit, against scikit-learn and their definitions."""

import numpy as np
import pytest
from refused import refused
from scores import N, scored
from sklearn import metrics as sk

from ortholib.errors import UsageError
from ortholib.metrics import scores
from ortholib.metrics import thresholds as op

WEIGHTS = np.random.default_rng(1).poisson(1.0, (3, N)).astype(float)


@pytest.mark.parametrize("n_scores", [12, 10**9])
@pytest.mark.parametrize("wanted", [0.0, 0.5, 0.8, 0.9, 0.95, 1.0])
def test_threshold_is_the_most_sensitive_of_all_that_are_specific_enough(n_scores, wanted):
    y, score = scored(n_scores)
    chosen = op.threshold_at_specificity(y, score, wanted)
    tried = np.append(np.unique(score), np.inf)
    specificity = np.array([np.mean(score[y == 0] < t) for t in tried])
    sensitivity = np.array([np.mean(score[y == 1] >= t) for t in tried])
    best = sensitivity[specificity >= wanted - 1e-12].max()
    assert np.mean(score[y == 0] < chosen) >= wanted - 1e-12
    assert np.mean(score[y == 1] >= chosen) == best
    assert chosen == tried[(specificity >= wanted - 1e-12) & (sensitivity == best)].max() or best == 0


def test_threshold_where_there_is_none():
    assert op.threshold_at_specificity([1, 1, 0], [0.1, 0.2, 0.9], 1.0) == np.inf
    assert np.isnan(op.threshold_at_specificity([1, 1], [0.1, 0.2], 0.9))
    assert np.isnan(op.threshold_at_specificity([0, 0], [0.1, 0.2], 0.9))
    # nine of ten negatives are below 0.9: exactly the specificity wanted, whatever 0.1 * 10 is in binary
    assert op.threshold_at_specificity([0] * 10 + [1], [*np.arange(9) / 10, 0.95, 0.9], 0.9) == 0.9
    refused("specificity is 90", op.threshold_at_specificity, [0, 1], [0.1, 0.2], 90, error=UsageError)


def test_rates_equal_scikit_learn():
    y, score = scored(20)
    call = (score >= 0.5).astype(int)
    matrix = scores.confusion(y, call, 2, WEIGHTS)
    for i, w in enumerate(WEIGHTS):
        assert op.ppv(matrix)[i] == pytest.approx(sk.precision_score(y, call, sample_weight=w))
        assert op.npv(matrix)[i] == pytest.approx(sk.precision_score(y, call, pos_label=0, sample_weight=w))
        assert op.mcc(matrix)[i] == pytest.approx(sk.matthews_corrcoef(y, call, sample_weight=w))
    grades, called = np.random.default_rng(3).integers(0, 4, (2, N))
    called = np.where(np.arange(N) % 2, grades, called)
    for i, w in enumerate(WEIGHTS):
        expected = sk.matthews_corrcoef(grades, called, sample_weight=w)
        assert op.mcc(scores.confusion(grades, called, 4, WEIGHTS))[i] == pytest.approx(expected)


def test_rates_without_a_call_are_nan():
    nobody = scores.confusion([0, 1, 1], [0, 0, 0], 2)
    assert np.isnan([op.ppv(nobody)[0], op.mcc(nobody)[0]]).all() and op.npv(nobody)[0] == pytest.approx(1 / 3)
    everybody = scores.confusion([0, 1, 1], [1, 1, 1], 2)
    assert np.isnan(op.npv(everybody)[0]) and op.ppv(everybody)[0] == pytest.approx(2 / 3)
    assert np.isnan(op.mcc(scores.confusion([], [], 2))[0])


def test_net_benefit_is_its_definition():
    y, score = scored(20)
    thresholds = np.array([0.05, 0.3, 0.5, 0.85])  # some of them scores: the rule is >=
    found = op.net_benefit(y, score, thresholds, WEIGHTS)
    for i, w in enumerate(WEIGHTS):
        for j, t in enumerate(thresholds):
            right, wrong = w[(score >= t) & (y == 1)].sum(), w[(score >= t) & (y == 0)].sum()
            assert found[i, j] == pytest.approx((right - wrong * t / (1 - t)) / w.sum())
    prevalence = y.mean()
    everybody = op.net_benefit_all(y, thresholds)[0]
    np.testing.assert_allclose(everybody, prevalence - (1 - prevalence) * thresholds / (1 - thresholds))
    # a perfect model's benefit is the prevalence at every threshold; treating all breaks even at it
    np.testing.assert_allclose(op.net_benefit(y, y, thresholds)[0], prevalence)
    assert op.net_benefit_all(y, [prevalence])[0, 0] == pytest.approx(0, abs=1e-12)


def test_decision_curve_compares_arms_under_shared_draws():
    y, score = scored(20)
    groups = np.arange(N) // 2
    table = op.decision_curve(y, {"a": score, "b": score, "truth": y}, groups, [0.1, 0.3, 0.5], draws=100)
    assert list(table["strategy"].unique()) == ["a", "b", "truth", "all", "none"]
    a, b = (table[table["strategy"] == name].drop(columns="strategy").reset_index(drop=True) for name in "ab")
    assert a.equals(b)
    assert (a["low"] <= a["net_benefit"]).all() and (a["net_benefit"] <= a["high"]).all()
    np.testing.assert_allclose(a["net_benefit"], op.net_benefit(y, score, [0.1, 0.3, 0.5])[0])
    assert (table.loc[table["strategy"] == "none", ["net_benefit", "low", "high"]] == 0).all(axis=None)
    assert (table["n"] == N).all() and (table["n_groups"] == N // 2).all()
    refused("an arm is called all", op.decision_curve, y, {"all": score}, groups, draws=10, error=UsageError)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: op.net_benefit([0, 1], [0.5, 1.5]), "row 1 is 1.5"),
        (lambda: op.net_benefit([0, 1], [np.nan, 0.5]), "not finite .first: row 0"),
        (lambda: op.net_benefit([0, 2], [0.5, 0.5]), "must be 0 or 1"),
        (lambda: op.net_benefit([0, 1], [0.5, 0.5], [0.5, 1.0]), "must rise, above 0 and below 1"),
        (lambda: op.net_benefit([0, 1], [0.5, 0.5], []), "must rise"),
        (lambda: op.net_benefit([0, 1], [0.5, 0.5], [0.5], np.ones((2, 3))), "weights have shape"),
    ],
)
def test_wrong_arrays_are_errors(call, message):
    refused(message, call)
