"""Temperature scaling: a known temperature is found, the likelihood is least there, test rows never choose it."""

import numpy as np
import pandas as pd
import pytest
from refused import refused
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from scores import frame
from sklearn.metrics import log_loss

from ortholib.metrics import calibration as cal
from ortholib.metrics import evaluation, scores


def overconfident(k: int, n: int = 4000, true_temperature: float = 2.5, seed: int = 0):
    """Truths drawn from softmax(logits), probabilities stated as softmax(T logits): the best temperature is T."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, k)) * 1.2
    honest = softmax(logits, axis=1)
    y = np.array([rng.choice(k, p=p) for p in honest])
    return y, softmax(true_temperature * logits, axis=1)


@pytest.mark.parametrize("k", [2, 5])
def test_a_known_temperature_is_found_where_the_likelihood_is_least(k):
    y, proba = overconfident(k)
    found = cal.temperature(y, proba)
    assert found == pytest.approx(2.5, rel=0.12)

    def loss(log_t: float) -> float:
        return log_loss(y, softmax(np.log(proba) / np.exp(log_t), axis=1), labels=range(k))

    best = np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-9}).x)
    assert found == pytest.approx(best, rel=1e-4)
    after = cal.scaled(proba, found)
    np.testing.assert_allclose(after.sum(1), 1)
    assert (after.argmax(1) == proba.argmax(1)).all()
    assert cal.nll(y, after)[0] < cal.nll(y, proba)[0]
    assert scores.ece(y, after)[0] < 0.3 * scores.ece(y, proba)[0]
    assert cal.temperature(y, after) == pytest.approx(1)
    np.testing.assert_allclose(cal.scaled(proba, 1.0), proba)


def test_logits_of_the_network_are_not_needed():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 3)) * 4 + rng.normal(size=(50, 1)) * 10  # a constant a row says nothing
    np.testing.assert_allclose(cal.scaled(softmax(logits, axis=1), 3.0), softmax(logits / 3, axis=1), atol=1e-9)


def test_temperature_at_its_bounds_and_zeros():
    right, wrong = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.1, 0.9], [0.8, 0.2]])
    assert cal.temperature([0, 1], right) == cal.COLDEST
    assert cal.temperature([0, 1], wrong) == cal.HOTTEST
    y, proba = overconfident(2)
    stored = proba.astype(np.float16)
    assert (stored == 0).any() or stored.min() < 1e-3
    assert cal.temperature(y, stored) == pytest.approx(cal.temperature(y, proba), rel=0.02)
    assert cal.nll([1], [[1.0, 0.0]])[0] == pytest.approx(-np.log(cal.FLOOR))
    refused("no validation rows", cal.temperature, [], np.empty((0, 2)))
    refused("row 0: 2", cal.temperature, [2], [[0.5, 0.5]])


def test_nll_equals_scikit_learn():
    y, proba = overconfident(3, n=400)
    weights = np.random.default_rng(1).poisson(1.0, (3, 400)).astype(float)
    for i, w in enumerate(weights):
        assert cal.nll(y, proba, weights)[i] == pytest.approx(log_loss(y, proba, sample_weight=w, labels=range(3)))


def test_before_and_after_on_test_with_the_temperature_of_validation():
    parts = {}
    for part, base in (("val", 0), ("test", 10)):
        y, proba = overconfident(2, 600, 2.5, base)
        runs = [frame(y, proba, seed=3), frame(y, cal.scaled(proba, 0.5), seed=4)]
        parts[part] = pd.concat(runs).sample(frac=1, random_state=0)
    table = cal.before_after(parts["val"], parts["test"], draws=200)
    fitted = cal.temperatures(parts["val"])
    assert fitted[4] == pytest.approx(2 * fitted[3], rel=1e-6)  # the second seed was twice as sure
    values = table.set_index(["metric", "scaling"])["value"]
    for metric in ("nll", "brier", "ece"):
        assert values[metric, "after"] < values[metric, "before"]
        difference = values[metric, "after"] - values[metric, "before"]
        assert values[metric, "after - before"] == pytest.approx(difference)
    said = evaluation.evaluate(parts["test"], draws=200, names=["brier"]).iloc[0]
    row = table[(table["metric"] == "brier") & (table["scaling"] == "before")].iloc[0]
    assert row["value"] == pytest.approx(said["value"])
    one = [frame[frame["seed"] == 3].reset_index(drop=True) for frame in (parts["val"], parts["test"])]
    low = cal.before_after(*one, draws=200).set_index(["metric", "scaling"]).loc[("brier", "before"), "low"]
    assert low == pytest.approx(evaluation.evaluate(one[1], draws=200, names=["brier"])["low"].iloc[0])
    assert (table["seeds"] == 2).all() and table["temperature"].iloc[0] == pytest.approx(1.5 * fitted[3])
    paired = table[(table["metric"] == "nll") & (table["scaling"] == "after - before")].iloc[0]
    assert paired["high"] < 0
    # both seeds say the same after scaling, and other test truths change no temperature
    again = cal.rescaled(parts["test"], fitted).sort_values(["seed", "unit_id"])
    first, second = (again.loc[again["seed"] == s, "score_1"].to_numpy() for s in (3, 4))
    np.testing.assert_allclose(first, second, atol=1e-6)
    flipped = parts["test"].assign(y_true=1 - parts["test"]["y_true"])
    assert (cal.before_after(parts["val"], flipped, draws=10)["temperature"] == table["temperature"].iloc[0]).all()
    refused("no temperature for seed 9", cal.rescaled, parts["test"].assign(seed=9), fitted)


def test_predictions_without_seeds():
    y, proba = overconfident(5, 300)
    table = cal.before_after(frame(y, proba), frame(y, proba), draws=20)
    one_block = pd.DataFrame(proba, columns=[f"score_{c}" for c in range(5)])  # such columns are read as they lie
    changed = cal.rescaled(one_block, {None: 2.0})
    np.testing.assert_allclose(one_block["score_0"], proba[:, 0])
    np.testing.assert_allclose(changed["score_0"], cal.scaled(proba, 2.0)[:, 0])
    assert len(table) == 9 and (table["seeds"] == 1).all() and (table["n_groups"] == 150).all()
