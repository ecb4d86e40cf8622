"""The clustered bootstrap against a slow loop, draw by draw; whole groups, the same draws again, reasons."""

import numpy as np
import pytest
from refused import refused
from sklearn.metrics import average_precision_score, roc_auc_score

from ortholib.errors import UsageError
from ortholib.metrics import bootstrap, scores


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    group = np.repeat([f"p{i}" for i in range(60)], rng.integers(1, 5, 60))
    y = (rng.random(len(group)) < 0.4).astype(int)
    return y, np.round(rng.normal(y), 1), rng.permutation(group)


def all_draws(*args, **kwargs):
    return np.concatenate(list(bootstrap.group_draws(*args, **kwargs)))


def test_a_draw_takes_whole_groups_as_many_as_there_are(rows):
    group = rows[2]
    weights = all_draws(group, 300)
    names, first = np.unique(group, return_index=True)
    assert weights.shape == (300, len(group))
    for name, column in zip(names, first, strict=True):
        assert (weights[:, group == name] == weights[:, [column]]).all()
    counts = weights[:, first]
    assert (counts == counts.astype(int)).all() and (counts.sum(1) == 60).all()
    assert counts.mean(0) == pytest.approx(1, abs=5 / np.sqrt(300))  # each group once on average, 5 standard errors


def test_draws_depend_on_names_and_seed_alone(rows, monkeypatch):
    group = rows[2]
    weights = all_draws(group, 100, seed=3)
    order = np.random.default_rng(1).permutation(len(group))
    np.testing.assert_array_equal(all_draws(group[order], 100, seed=3), weights[:, order])
    assert (all_draws(group, 100, seed=4) != weights).any()
    monkeypatch.setattr(bootstrap, "BLOCK_BYTES", 8 * 7 * len(group))
    assert len(next(bootstrap.group_draws(group, 100))) == 7
    np.testing.assert_array_equal(all_draws(group, 100, seed=3), weights)


def test_a_block_stays_small():
    block = next(bootstrap.group_draws(np.arange(200_000) // 2, 2000))
    assert block.nbytes <= 2**26


def test_bootstrap_is_a_slow_loop_draw_by_draw(rows):
    y, score, group = rows
    rng = np.random.default_rng(11)
    names = np.unique(group)
    slow = []
    for _ in range(40):
        taken = names[rng.integers(0, len(names), len(names))]
        index = np.concatenate([np.flatnonzero(group == name) for name in taken])
        slow.append((roc_auc_score(y[index], score[index]), average_precision_score(y[index], score[index])))
    metrics_by_name = {
        "auc": lambda weights: scores.roc_auc(y, score, weights),
        "ap": lambda weights: scores.average_precision(y, score, weights),
    }
    drawn = bootstrap.bootstrap_draws(
        lambda weights: {name: f(weights) for name, f in metrics_by_name.items()}, group, 40, seed=11
    )
    np.testing.assert_allclose(np.column_stack([drawn["auc"], drawn["ap"]]), slow, atol=1e-10)

    table = bootstrap.bootstrap(metrics_by_name, group, 40, seed=11).set_index("metric")
    assert table.loc["auc", "value"] == pytest.approx(roc_auc_score(y, score))
    expected = np.quantile(np.array(slow)[:, 1], [0.025, 0.975])
    np.testing.assert_allclose(table.loc["ap", ["low", "high"]].astype(float), expected, atol=1e-10)
    assert tuple(table.loc["ap", ["n", "n_groups", "draws", "n_undefined_draws", "reason"]]) == (len(y), 60, 40, 0, "")


def test_clusters_widen_the_interval():
    # forty groups of ten equal rows carry forty observations, not four hundred
    value = np.repeat(np.random.default_rng(0).normal(size=40), 10)

    def mean(weights):
        return weights @ value / weights.sum(1)

    tables = [bootstrap.bootstrap({"mean": mean}, groups) for groups in (np.arange(400) // 10, np.arange(400))]
    clustered, naive = (table["high"][0] - table["low"][0] for table in tables)
    assert clustered / naive == pytest.approx(np.sqrt(10), rel=0.1)


def test_undefined_draws_are_counted_and_many_of_them_refuse_the_interval():
    groups = np.arange(100)

    def undefined_without(n):
        """NaN where none of the first n groups was taken: probability (1 - n / 100)^100."""
        return lambda weights: np.where(weights[:, :n].sum(1) > 0, weights[:, 0], np.nan)

    table = bootstrap.bootstrap({"few": undefined_without(5), "many": undefined_without(1)}, groups).set_index("metric")
    few, many = table.loc["few"], table.loc["many"]
    assert 0 < few["n_undefined_draws"] < 40 and np.isfinite([few["low"], few["high"]]).all()
    assert 600 < many["n_undefined_draws"] < 900 and np.isnan([many["low"], many["high"]]).all()
    assert many["value"] == 1 and f"{many['n_undefined_draws']} of 2000 draws are undefined" in many["reason"]


def test_no_interval_from_one_group_or_none():
    def total(weights):
        return weights.sum(1)

    one = bootstrap.bootstrap({"total": total}, ["a"] * 5).iloc[0]
    assert one["value"] == 5 and np.isnan(one["low"]) and one["draws"] == 0
    assert one["reason"] == "no interval: all units are of one group"
    none = bootstrap.bootstrap({"mean": lambda weights: np.full(len(weights), np.nan)}, []).iloc[0]
    assert np.isnan(none["value"]) and none["reason"] == "no units"


def test_a_value_outside_its_interval_is_marked():
    def distinct(weights):
        """Share of rows taken at all: 1 for the data, about 0.63 in draws."""
        return (weights > 0).mean(1)

    found = bootstrap.bootstrap({"distinct": distinct}, np.arange(50), 200).iloc[0]
    assert found["high"] < found["value"] == 1 and "biased under resampling" in found["reason"]


def test_wrong_input_is_an_error():
    refused(r"1 of 3 rows have no group \(first: row 1\)", all_draws, ["a", None, "b"])
    refused("draws is 0", all_draws, ["a", "b"], 0, error=UsageError)


def test_drawn_trainings_show_the_whole_variance_of_their_mean():
    values = np.array([0.71, 0.74, 0.80])
    shares = bootstrap.luck(3)(200_000)
    assert shares.shape == (200_000, 3) and np.allclose(shares.sum(1), 1)
    means = shares @ values
    assert means.mean() == pytest.approx(values.mean(), abs=1e-3)
    assert means.std() == pytest.approx(values.std(ddof=1) / np.sqrt(3), rel=0.01)
    drawn = bootstrap.luck(3)
    assert np.array_equal(np.vstack([drawn(7), drawn(3)]), bootstrap.luck(3)(10))  # whatever the blocks
    assert np.array_equal(bootstrap.luck(1)(4), np.ones((4, 1)))
