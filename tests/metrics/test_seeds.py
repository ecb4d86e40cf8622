"""Seeds against test sets: known components, found again; the columns against numpy."""

import numpy as np
import pandas as pd
import pytest
from refused import refused
from scores import frame

from ortholib.errors import UsageError
from ortholib.metrics import bootstrap
from ortholib.metrics.evaluation import evaluate
from ortholib.metrics.seeds import components, seed_spread

N, SEEDS = 200, 12


def accuracies(rng, seed_sd: float, shared_sd: float = 0.4, own_sd: float = 0.3):
    """Values by unit (SEEDS, N): seed effect, unit effect shared by all seeds, and what each seed does to each unit."""
    units = shared_sd * rng.normal(size=N) + own_sd * rng.normal(size=(SEEDS, N))
    return seed_sd * rng.normal(size=(SEEDS, 1)) + units


def test_components_are_found_again():
    rng, found = np.random.default_rng(0), []
    for trial in range(60):
        by_unit = accuracies(rng, seed_sd=0.05)
        draws = bootstrap.bootstrap_draws(
            lambda weights, v=by_unit: {s: weights @ v[s] / weights.sum(1) for s in range(SEEDS)},
            np.arange(N),
            200,
            trial,
        )
        found.append(components(by_unit.mean(1), np.array(list(draws.values()))))
    variance = (pd.DataFrame(found) ** 2).mean()
    shared, own = 0.4**2 / N, 0.3**2 / N
    assert variance["seed_sd"] == pytest.approx(0.05**2 + own, rel=0.15)
    assert variance["between_seed_sd"] == pytest.approx(0.05**2, rel=0.2)
    assert variance["sampling_sd"] == pytest.approx(shared + own / SEEDS, rel=0.1)
    assert variance["one_seed_sd"] == pytest.approx(shared + own, rel=0.1)


def test_the_same_training_over_again_has_no_seed_component():
    rng = np.random.default_rng(1)
    one = rng.normal(size=(1, 500))
    found = components([0.8, 0.8, 0.8], np.repeat(one, 3, axis=0))
    assert (found["seed_sd"], found["between_seed_sd"]) == pytest.approx((0, 0), abs=1e-12)
    assert found["sampling_sd"] == pytest.approx(found["one_seed_sd"]) == pytest.approx(one.std(ddof=1))


def test_seed_spread_is_a_table_of_metrics():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3 % 2
    table = pd.concat(frame(y, 1 / (1 + np.exp(-rng.normal(y))), seed=seed) for seed in (0, 1, 2))
    found = seed_spread(table, ["roc_auc", "brier"], draws=300).set_index("metric")
    whole = evaluate(table, names=["roc_auc", "brier"], draws=300).set_index("metric")
    np.testing.assert_allclose(found[["value", "seed_sd"]], whole[["value", "seed_sd"]])
    width = (whole["high"] - whole["low"]) / 2 / 1.96
    both = np.hypot(found["sampling_sd"], found["seed_sd"] / np.sqrt(3))  # the interval holds the luck of the trainings
    assert (both < 1.1 * width).all() and (width < 1.6 * both).all()  # crossed draws count their interaction again
    assert (found["one_seed_sd"] > found["sampling_sd"]).all() and (found["seeds"] == 3).all()

    alone = seed_spread(table[table["seed"] == 0], ["roc_auc"], draws=300).iloc[0]
    assert alone["seeds"] == 1 and np.isnan([alone["seed_sd"], alone["between_seed_sd"]]).all()
    assert alone["sampling_sd"] == alone["one_seed_sd"] > 0


def test_draws_that_do_not_fit_are_refused():
    refused(r"draws have shape \(2, 5\); expected \(3 seeds", components, [1, 2, 3], np.zeros((2, 5)), error=UsageError)
    some = np.arange(40.0).reshape(2, 20)
    assert np.isfinite(list(components([1, 2], np.where(some == 3, np.nan, some)).values())).all()
    assert np.isnan(list(components([1, 2], np.where(some < 2, np.nan, some)).values())).all()  # 2 of 20 draws
    one = frame([0, 1], np.array([0.4, 0.6]))
    refused("the 2 units are of 1 group", seed_spread, one, ["roc_auc"])
