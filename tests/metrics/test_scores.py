"""Every metric against scikit-learn or its definition, point and weighted, and what it says about bad input."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scores import N, graded, scored, two
from sklearn import metrics as sk

from ortholib.errors import OrthoError
from ortholib.metrics import scores as m

WEIGHTS = {
    "none": None,
    "counts": np.random.default_rng(1).poisson(1.0, (3, N)).astype(float),
    "real": np.random.default_rng(2).random((3, N)),
}


@pytest.fixture(params=WEIGHTS, ids=str)
def weights(request):
    return WEIGHTS[request.param]


def draws_of(weights):
    return [None] if weights is None else list(weights)


@pytest.mark.parametrize("n_scores", [3, 12, 10**9])
def test_areas_equal_scikit_learn(weights, n_scores):
    y, score = scored(n_scores)
    for ours, theirs in ((m.roc_auc, sk.roc_auc_score), (m.average_precision, sk.average_precision_score)):
        expected = [theirs(y, score, sample_weight=w) for w in draws_of(weights)]
        np.testing.assert_allclose(ours(y, score, weights), expected, atol=1e-12)


def test_calls_equal_scikit_learn(weights):
    y, score = scored()
    call = (score >= 0.5).astype(int)
    matrix = m.confusion(y, call, 2, weights)
    for i, w in enumerate(draws_of(weights)):
        np.testing.assert_allclose(matrix[i], sk.confusion_matrix(y, call, sample_weight=w))
        assert m.accuracy(matrix)[i] == pytest.approx(sk.accuracy_score(y, call, sample_weight=w))
        assert m.sensitivity(matrix)[i] == pytest.approx(sk.recall_score(y, call, sample_weight=w))
        assert m.specificity(matrix)[i] == pytest.approx(sk.recall_score(y, call, pos_label=0, sample_weight=w))
        assert m.f1(matrix)[i] == pytest.approx(sk.f1_score(y, call, sample_weight=w))


def test_grades_equal_scikit_learn(weights):
    y, proba = graded()
    call, expectation = proba.argmax(1), m.expectation(proba)
    matrix = m.confusion(y, call, 4, weights)
    for i, w in enumerate(draws_of(weights)):
        for weighting in (None, "linear", "quadratic"):
            expected = sk.cohen_kappa_score(y, call, weights=weighting, sample_weight=w)
            assert m.kappa(matrix, weighting)[i] == pytest.approx(expected)
        assert m.balanced_accuracy(matrix)[i] == pytest.approx(sk.balanced_accuracy_score(y, call, sample_weight=w))
        recall = sk.recall_score(y, call, average=None, sample_weight=w)
        np.testing.assert_allclose(m.per_class_recall(matrix)[i], recall)
        for grade in (call, expectation):
            assert m.mae(y, grade, weights)[i] == pytest.approx(sk.mean_absolute_error(y, grade, sample_weight=w))


def test_brier_equals_scikit_learn(weights):
    y, score = scored()
    grades, proba = graded()
    for i, w in enumerate(draws_of(weights)):
        assert m.brier(y, two(score), weights)[i] == pytest.approx(sk.brier_score_loss(y, score, sample_weight=w))
        expected = sk.brier_score_loss(grades, proba, sample_weight=w)
        assert m.brier(grades, proba, weights)[i] == pytest.approx(expected)


def test_ece_equals_a_loop_over_the_bins(weights):
    y, proba = graded()
    confidence, right = proba.max(1), proba.argmax(1) == y
    for i, w in enumerate(draws_of(weights)):
        w = np.ones(N) if w is None else w
        expected = 0.0
        for b in range(15):
            inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
            if w[inside].sum() > 0:
                gap = np.average(right[inside], weights=w[inside]) - np.average(confidence[inside], weights=w[inside])
                expected += w[inside].sum() / w.sum() * abs(gap)
        assert m.ece(y, proba, weights)[i] == pytest.approx(expected)


def test_ece_of_two_classes_uses_the_called_class():
    # four units called with 0.9, three of them rightly, whichever class was called
    y, score = np.array([1, 1, 0, 0]), np.array([0.9, 0.9, 0.9, 0.1])
    assert m.ece(y, two(score))[0] == pytest.approx(0.15)


def test_ece_bins_own_their_upper_edge():
    edge = 12 / 15
    for other, bins in ((edge - 0.01, "shared"), (edge + 0.01, "apart")):
        gap_right, gap_wrong = 1 - edge, -other
        value = m.ece([1, 0], two(np.array([edge, other])))[0]
        expected = abs(gap_right + gap_wrong) if bins == "shared" else abs(gap_right) + abs(gap_wrong)
        assert value == pytest.approx(expected / 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 3)), min_size=1, max_size=25))
def test_areas_are_their_definitions(rows):
    y, score, w = (np.array(column) for column in zip(*rows, strict=True))
    auc, ap = m.roc_auc(y, score, w)[0], m.average_precision(y, score, w)[0]
    pos, neg = np.repeat(score[y], w[y]), np.repeat(score[~y], w[~y])
    if not len(pos) or not len(neg):
        assert np.isnan([auc, ap]).all()
        return
    wins = np.sign(pos[:, None] - neg) / 2 + 0.5
    assert auc == pytest.approx(wins.mean(), abs=1e-12)
    precision = [np.sum(pos >= t) / (np.sum(pos >= t) + np.sum(neg >= t)) for t in pos]
    assert ap == pytest.approx(np.mean(precision), abs=1e-12)
    assert m.roc_auc(y, np.exp(score), w)[0] == auc  # any increasing transform ranks alike
    assert m.roc_auc(y, -score, w)[0] == pytest.approx(1 - auc, abs=1e-12)


def test_integer_weights_are_repeated_rows():
    y, proba = graded()
    counts = WEIGHTS["counts"][0].astype(int)
    rows = np.repeat(np.arange(N), counts)
    for metric in (m.brier, m.ece):
        np.testing.assert_allclose(metric(y, proba, counts), metric(y[rows], proba[rows]), atol=1e-12)


def test_an_expected_grade_halfway_between_two_is_the_higher():
    proba = np.array([[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0.5, 0, 0, 0.5], [0, 0, 0.5, 0.5], [0.75, 0.25, 0, 0]])
    assert m.expected_grade(proba).tolist() == [1, 2, 2, 3, 0]
    assert m.expected_grade(proba.astype(np.float16)).dtype == np.int64
    assert m.expected_grade([[0, 1.01]]).tolist() == [1]  # stored with three digits, still a grade


def test_kappa_keeps_classes_that_nobody_has():
    y, call = np.array([0, 0, 1, 3]), np.array([0, 1, 1, 3])
    for weighting in (None, "linear", "quadratic"):
        expected = sk.cohen_kappa_score(y, call, labels=range(5), weights=weighting)
        assert m.kappa(m.confusion(y, call, 5), weighting)[0] == pytest.approx(expected)


def test_youden_threshold_is_the_best_of_all():
    y, score = scored(50)
    tried = np.unique(score)
    youden = [np.mean(score[y == 1] >= t) + np.mean(score[y == 0] < t) - 1 for t in tried]
    chosen = m.youden_threshold(y, score)
    assert youden[list(tried).index(chosen)] == pytest.approx(max(youden))
    assert chosen == tried[np.isclose(youden, max(youden))].max()
    assert np.isnan(m.youden_threshold(np.ones(5, int), np.arange(5.0)))


def test_undefined_is_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for y, score in (([1, 1], [0.2, 0.4]), ([0, 0], [0.2, 0.4]), ([], [])):
            y = np.array(y, dtype=int)
            assert np.isnan([m.roc_auc(y, score), m.average_precision(y, score)]).all()
        nobody = m.confusion([], [], 2)
        for metric in (m.accuracy, m.sensitivity, m.specificity, m.f1, m.balanced_accuracy, m.kappa):
            assert np.isnan(metric(nobody)).all()
        assert np.isnan(m.kappa(m.confusion([1, 1], [1, 1], 2))).all()
        assert np.isnan(m.f1(m.confusion([0, 0], [0, 1], 2))).all()  # scikit-learn: 0
        assert np.isnan([m.brier([], np.empty((0, 2))), m.ece([], np.empty((0, 2))), m.mae([], [])]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.roc_auc([0, 1], [0.5, np.nan]), "1 of 2 scores are not finite .first: row 1"),
        (lambda: m.roc_auc([0, 2], [0.5, 0.5]), "must be 0 or 1"),
        (lambda: m.roc_auc([0, 1], [0.5, 0.5], np.ones((4, 3))), r"shape \(4, 3\), expected \(draws, 2\)"),
        (lambda: m.confusion([0, 1], [0, 5], 3), "row 1: 5"),
        (lambda: m.brier([-1, 0], [[0.5, 0.5]] * 2), "row 0: -1"),
    ],
)
def test_wrong_arrays_are_errors(call, message):
    with pytest.raises(OrthoError, match=message):
        call()
