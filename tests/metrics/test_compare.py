"""Paired differences against a slow loop, draw by draw; Holm; the difference that could be shown; refused input."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, roc_auc_score

from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import bootstrap
from ortholib.metrics.compare import COLUMNS, DETECTABLE, compare, holm, order_interval, paired, read_arms, two_sided_p
from ortholib.metrics.evaluation import evaluate

SKILL = {"plain": 0.6, "strong": 1.4, "middle": 1.0}
SEEDS = {"plain": (0, 1), "strong": (0, 1, 2), "middle": (5,)}


def made_up(n_groups: int = 50, skill=SKILL, seeds=SEEDS, n_scores: float = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(n_groups), rng.integers(1, 5, n_groups))
    y_true, shared = (rng.random(len(group)) < 0.4).astype(int), rng.normal(size=len(group))
    frames = []
    for arm, strength in skill.items():
        for seed in seeds[arm]:
            score = 1 / (1 + np.exp(-(strength * y_true + shared + 0.5 * rng.normal(size=len(group)))))
            score = np.round(score * n_scores) / n_scores
            units = {"unit_id": [f"u{i:03d}" for i in range(len(group))], "group": group, "y_true": y_true}
            frames.append(pd.DataFrame(units | {"arm": arm, "seed": seed, "score_0": 1 - score, "score_1": score}))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def table():
    return made_up()


def test_compare_is_a_slow_loop_draw_by_draw(table):
    found = compare(table, ["roc_auc", "brier"], pairs=[("strong", "plain")], draws=60, seed=3).set_index("metric")
    first = table[(table["arm"] == "plain") & (table["seed"] == 0)]
    names, rng, group = np.unique(first["group"]), np.random.default_rng(3), first["group"].to_numpy()
    drawn = [rng.integers(0, len(names), len(names)) for _ in range(60)]
    indices = [np.concatenate([np.flatnonzero(group == names[g]) for g in taken]) for taken in drawn]
    by_arm = table.groupby("arm")
    runs = {arm: [run[["y_true", "score_1"]].to_numpy() for _, run in seeds.groupby("seed")] for arm, seeds in by_arm}
    for metric, score in (("roc_auc", roc_auc_score), ("brier", brier_score_loss)):

        def value(arm, index, shares=None, score=score):
            return np.average([score(*run[index].T) for run in runs[arm]], weights=shares)

        # trainings are drawn too, three of the one arm and two of the other
        lucks = zip(indices, bootstrap.luck(3, 3)(60), bootstrap.luck(2, 3)(60), strict=True)
        slow = np.sort([value("strong", index, a) - value("plain", index, b) for index, a, b in lucks])
        row, everyone = found.loc[metric], slice(None)
        assert row["value_arm"] == pytest.approx(value("strong", everyone))
        assert row["difference"] == pytest.approx(value("strong", everyone) - value("plain", everyone))
        assert row["se"] == pytest.approx(slow.std(ddof=1))
        assert row["detectable"] == pytest.approx((1.959964 + 0.841621) * slow.std(ddof=1))
        assert (row["low"], row["high"]) == pytest.approx((slow[0], slow[-1]))  # rank 61 x 0.025 = 1.5, so the first
        assert row["p"] == pytest.approx(2 * (1 + min((slow <= 0).sum(), (slow >= 0).sum())) / 61)
        assert tuple(row[["n", "n_groups", "draws", "seeds", "seeds_reference"]]) == (len(first), 50, 60, 3, 2)


def test_values_and_signs_are_those_of_evaluate_whatever_the_order_of_rows(table):
    found = compare(table, ["roc_auc", "ece"], draws=200)
    assert list(found.columns) == [*COLUMNS, "seeds", "seeds_reference"]
    pairs = [("plain", "strong"), ("plain", "middle"), ("strong", "middle")]
    assert list(zip(found["arm"], found["reference"], strict=True)) == pairs * 2
    for row in found.itertuples():
        own = [evaluate(table[table["arm"] == arm], draws=1).set_index("metric") for arm in (row.arm, row.reference)]
        assert row.value_arm == own[0].loc[row.metric, "value"]
        assert row.value_reference == own[1].loc[row.metric, "value"]
        assert row.difference == row.value_arm - row.value_reference
    shuffled = table.sample(frac=1, random_state=0)
    again = compare(shuffled, ["roc_auc", "ece"], pairs=pairs, draws=200)
    pd.testing.assert_frame_equal(again, found)
    turned = compare(table, ["roc_auc"], pairs=[("strong", "plain")], draws=200).iloc[0]
    assert turned["low"] == -found["high"][0] and turned["p"] == found["p"][0]


def test_shared_draws_make_the_difference_of_like_arms_narrow(table):
    table = table[table["seed"] == 0]
    row = compare(table, ["roc_auc"], pairs=[("strong", "plain")]).iloc[0]
    alone = [evaluate(table[table["arm"] == arm], names=["roc_auc"]).iloc[0] for arm in ("strong", "plain")]
    apart = np.hypot(*[(one["high"] - one["low"]) / 2 / 1.96 for one in alone])
    assert row["se"] < 0.6 * apart  # the score both arms share, of standard deviation 1, cancels; 0.5 of each does not
    assert row["p"] < 0.01 and row["low"] > 0


def test_blocks_of_any_size_give_the_same(table, monkeypatch):
    found = compare(table, ["roc_auc"], draws=100)
    monkeypatch.setattr(bootstrap, "BLOCK_BYTES", 8 * 7 * 150)
    pd.testing.assert_frame_equal(compare(table, ["roc_auc"], draws=100), found)


def test_grades_and_calls_are_compared_too(table):
    rng = np.random.default_rng(1)
    graded = table[table["seed"] == 0].drop(columns=["score_0", "score_1"]).assign(y_true=lambda t: t.index % 3)
    graded[["score_0", "score_1", "score_2"]] = rng.dirichlet(np.ones(3), len(graded))
    graded["y_true"] = graded["unit_id"].str[1:].astype(int) % 3
    found = compare(graded, ["kappa_quadratic", "accuracy"], pairs=[("strong", "plain")], draws=100)
    assert found["p"].between(0, 1).all() and (found["reason"] == "").all()

    thresholds = {"plain": {0: 0.4, 1: 0.6}, "strong": 0.5}
    found = compare(table, ["accuracy"], pairs=[("strong", "plain")], draws=100, thresholds=thresholds).iloc[0]
    plain = table[table["arm"] == "plain"]
    cut = plain["seed"].map(thresholds["plain"])
    assert found["value_reference"] == pytest.approx(((plain["score_1"] >= cut) == plain["y_true"]).mean())
    blind = compare(table, ["f1"], pairs=[("strong", "plain")], thresholds={"strong": 0.5, "plain": np.nan}).iloc[0]
    assert blind["reason"] == "no threshold for plain" and blind[["difference", "low", "p", "p_holm"]].isna().all()


def test_equal_arms_differ_in_nothing():
    table = made_up(skill={"one": 1.0}, seeds={"one": range(5)}, n_scores=1e9)
    both = pd.concat([table, table.assign(arm="two")])
    for row in compare(both, ["roc_auc", "brier"], draws=100).itertuples():
        assert row.difference == pytest.approx(0, abs=1e-12)
        assert (row.low, row.high, row.p, row.p_holm) == (0, 0, 1, 1)
        assert np.isnan(row.detectable) and row.reason == "the difference is the same in every draw"


def test_too_many_undefined_draws_refuse_the_test():
    def hers(weights):
        return {"value": np.where(weights[:, 0] > 0, weights[:, 0], np.nan)}

    found = paired({"a": hers, "b": lambda weights: {"value": weights[:, 1]}}, np.arange(30), draws=300).iloc[0]
    assert found["difference"] == 0 and found[["low", "high", "se", "p", "p_holm", "detectable"]].isna().all()
    assert f"{found['n_undefined_draws']} of 300 draws are undefined" in found["reason"]


@settings(max_examples=150)
@given(st.integers(1, 300), st.floats(-3, 3), st.integers(0, 10**6), st.sampled_from([0.05, 0.05 / 3, 0.2]))
def test_interval_leaves_out_zero_exactly_where_p_is_small(n, shift, seed, alpha):
    drawn = np.round(np.random.default_rng(seed).normal(shift, size=n), 1)  # zeros and ties among them
    low, high = order_interval(drawn, alpha)
    assert (low > 0 or high < 0) == (two_sided_p(drawn) <= alpha)


def test_interval_is_the_percentile_interval_of_the_tables():
    drawn = np.random.default_rng(0).normal(size=2000)
    low, high, *_ = bootstrap.percentile_interval(0.0, drawn, 100)
    ordered = np.sort(drawn)
    assert order_interval(drawn, 0.05) == (ordered[49], ordered[-50])
    assert ordered[49] <= low <= ordered[50] and ordered[-51] <= high <= ordered[-50]


def test_holm():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, np.nan, 0.02]), [0.6, np.nan, 0.04])
    assert holm([]).shape == (0,) and holm([0.9, 0.8]).max() == 1
    with pytest.raises(OrthoError, match=r"p = 1.5 is no probability"):
        holm([0.5, 1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.2))
def test_holm_is_the_step_down_procedure(p, alpha):
    rejected, remaining = set(), sorted(range(len(p)), key=p.__getitem__)
    while remaining and p[remaining[0]] * len(remaining) <= alpha:
        rejected.add(remaining.pop(0))
    assert set(np.flatnonzero(holm(p) <= alpha)) == rejected


def test_holm_interval_says_what_holm_says():
    rng = np.random.default_rng(0)
    value = {f"arm {k}": rng.normal(0.06 * k, 1, 400) for k in range(7)}
    computes = {arm: lambda weights, v=v: {"mean": weights @ v / weights.sum(1)} for arm, v in value.items()}
    found = paired(computes, np.arange(400))
    assert 0 < (found["p_holm"] <= 0.05).sum() < (found["p"] <= 0.05).sum()
    assert (((found["low_holm"] > 0) | (found["high_holm"] < 0)) == (found["p_holm"] <= 0.05)).all()
    assert (found["low_holm"] <= found["low"]).all() and (found["high_holm"] >= found["high"]).all()
    np.testing.assert_array_equal(found["p_holm"], holm(found["p"]))
    few = paired(computes, np.arange(400), draws=200)
    assert (few["p_holm"] > 0.05).all()
    assert few["reason"].str.contains("200 draws cannot reach 0.05 in a family of 21, 839 can").all()
    assert np.isinf(few["low_holm"]).all()


def test_a_detectable_difference_is_detected_four_times_in_five():
    rng, n, trials = np.random.default_rng(0), 150, 300
    shift = DETECTABLE * np.sqrt(2 / n)  # two arms of independent errors of variance 1

    def means(value):  # each trial is a metric of its own
        return lambda weights: dict(enumerate((weights @ value / weights.sum(1, keepdims=True)).T))

    better, worse = rng.normal(shift, 1, (n, trials)), rng.normal(0, 1, (n, trials))
    found = paired({"better": means(better), "worse": means(worse)}, np.arange(n), draws=399)
    assert pytest.approx(norm.ppf(0.975) + norm.ppf(0.8)) == DETECTABLE
    assert found["detectable"].mean() == pytest.approx(shift, rel=0.03) and len(found) == trials
    assert (found["p"] <= 0.05).mean() == pytest.approx(0.8, abs=0.07)  # 3 standard errors of 300 trials


def refused(table, pattern, error=OrthoError, **asked):
    with pytest.raises(error, match=pattern):
        compare(table, asked.pop("names", ["roc_auc"]), draws=20, **asked)


def test_predictions_that_cannot_be_compared(table):
    strong, first = table["arm"] == "strong", table["unit_id"] == "u000"
    refused(table[~(strong & first)], r"'plain' and arm 'strong' scored .* \(1 in one only, such as u000\)")
    refused(pd.concat([table, table[:1]]), "repeated unit_id in seed 0: 1 of .* first unit_id u000")
    refused(table.assign(score_1=table["score_1"].where(~first)), "score_1 is missing: 2 of .* first unit_id u000")
    turned = table["y_true"].where(~(strong & first), 1 - table["y_true"])
    refused(table.assign(y_true=turned), "y_true in arm 'strong' is not that in arm 'plain': 1 of")
    refused(table.assign(group=table["group"].where(~(strong & first), 99)), "group in arm 'strong' is not")
    refused(table.assign(group="p1"), r"all \d+ units are of one group \(p1\); a comparison needs 2")
    refused(table.assign(y_true=0), r"all \d+ units are of one class \(0\)")
    refused(table.drop(columns="arm"), "predictions: no column arm")
    refused(table.assign(arm=table["arm"].where(~strong)), "arm is missing: .* rows")
    refused(table.assign(dataset=np.where(strong, "x", "y")), "several dataset in one table")
    refused(table[:0], "no rows")
    with pytest.raises(OrthoError, match="the 3 units are of 1 group"):
        paired({"a": dict, "b": dict}, ["g"] * 3)


def test_wrong_usage(table):
    refused(table, "no metric .*'auc'.*known", UsageError, names=["auc"])
    refused(table, "no metric was named", UsageError, names=[])
    refused(table, r"no arm \['weak'\]", UsageError, pairs=[("strong", "weak")])
    refused(table, "no pair of two arms", UsageError, pairs=[("strong", "strong")])
    refused(table[table["arm"] == "plain"], "nothing to compare: the arms are", UsageError)
    refused(table, r"\['f1'\] need a threshold; none is given for the arm 'plain'", UsageError, names=["f1"])
    refused(table, r"thresholds are given for \['weak'\]", UsageError, thresholds={"weak": 0.5})
    assert list(read_arms(table)) == ["plain", "strong", "middle"]
    assert all(a.equals(b) for a, b in pairwise(arm.runs[0]["unit_id"] for arm in read_arms(table).values()))
