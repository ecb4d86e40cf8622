"""Tests over blocks: scipy, scikit-posthocs' and published numbers, every permutation, and what few blocks give."""

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
from refused import refused
from scipy import stats as tests

from ortholib.errors import UsageError
from ortholib.metrics.evaluation import evaluate
from ortholib.metrics.ranks import block_values, blocks, friedman, nemenyi, wilcoxon

# ranks with ties, one block all equal
VALUES = pd.DataFrame(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.975, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ],
    columns=["w", "x", "y", "z"],
)


def random_values(n: int, k: int, seed: int = 0) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(n, k)), columns=[f"arm {i}" for i in range(k)])


@pytest.mark.parametrize("values", [VALUES, VALUES.round(2), random_values(9, 5)])
def test_friedman_is_scipy_with_iman_and_davenports_f(values):
    found, (n, k) = friedman(values), values.shape
    chi2 = tests.friedmanchisquare(*values.to_numpy().T).statistic
    assert found.chi2 == pytest.approx(chi2, rel=1e-12)
    assert found.f == pytest.approx((n - 1) * chi2 / (n * (k - 1) - chi2))
    assert found.df == (k - 1, (k - 1) * (n - 1)) and found.reason == ""
    assert found.p == pytest.approx(tests.f(*found.df).sf(found.f))
    pd.testing.assert_series_equal(found.mean_ranks, values.rank(axis=1, ascending=False).mean(), check_names=False)


def test_iman_davenport_holds_its_level_over_every_small_table():
    # all 6^4 ways of ranking 3 arms in 4 further blocks: its 5 % under the exact null of 5 blocks
    p = []
    for ways in product(permutations(range(3)), repeat=4):
        p.append(friedman(pd.DataFrame([(0, 1, 2), *ways])).p)
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.07


def test_blocks_that_all_rank_alike_give_the_exact_chance():
    values = pd.DataFrame([[0.1, 0.2, 0.3]] * 6)
    found = friedman(values)
    assert np.isinf(found.f) and found.p == pytest.approx(6.0**-5)
    assert list(found.mean_ranks) == [3, 2, 1]  # the highest value ranks first
    tied = friedman(pd.DataFrame([[0.1, 0.3, 0.3]] * 6))
    assert np.isinf(tied.f) and tied.p == pytest.approx(3.0**-5)
    equal = friedman(values * 0)
    assert np.isnan(equal.p) and equal.reason == "not computed: all arms are equal in every block"


def test_rounding_does_not_break_ties():
    values = pd.DataFrame([[0.1 + 0.2, 0.3, 0.5]] * 5)
    assert list(friedman(values).mean_ranks) == [2.5, 2.5, 1]


def test_nemenyi_is_scikit_posthocs():
    # posthoc_nemenyi_friedman of scikit-posthocs 0.17.1
    expected = [0.088672709289, 0.971686471302, 0.061683258912, 0.226696886026, 0.998882343982, 0.170051635664]
    found = nemenyi(VALUES)
    np.testing.assert_allclose(found.pairs["p"], expected, atol=1e-9)
    assert list(zip(found.pairs["arm"], found.pairs["other"], strict=True))[:3] == [("w", "x"), ("w", "y"), ("w", "z")]
    assert found.pairs["rank_difference"][0] == pytest.approx(found.mean_ranks["w"] - found.mean_ranks["x"])


@pytest.mark.parametrize(
    ("k", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)]
)
def test_critical_difference_is_the_published_one(k, q):
    # Demšar, 2006, table 5a; and its example of 4 classifiers on 14 sets: 1.25
    found = nemenyi(random_values(14, k))
    assert found.critical_difference == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * 14)), abs=1e-3)
    differs = found.pairs["rank_difference"].abs() >= found.critical_difference
    assert (differs == (found.pairs["p"] <= 0.05)).all()
    if k == 4:
        assert found.critical_difference == pytest.approx(1.25, abs=0.005)


def every_sign(difference) -> float:
    """Two-sided p of the signed-rank sum over all signs of the ranks, ties and all."""
    ranks = tests.rankdata(np.abs(difference))
    sums = np.array([ranks @ signs for signs in product((-1, 1), repeat=len(ranks))])
    return float(np.mean(np.abs(sums) >= abs(ranks @ np.sign(difference)) - 1e-9))


@pytest.mark.parametrize("difference", [[3, 1, 2, -0.5, 4, 6], [1, 1, 2, -1, 3, 3, 3], [1, 2, 3, 4, 5]])
def test_wilcoxon_is_every_sign(difference):
    values = pd.DataFrame({"a": np.array(difference) / 10 + 0.5, "b": 0.5})
    found = wilcoxon(values)
    assert found.p == pytest.approx(every_sign(difference)) and found.reason == ""
    assert found.least_p == 2.0 ** (1 - len(difference)) <= found.p


def test_wilcoxon_of_many_blocks_is_scipy():
    values = random_values(30, 2)
    assert wilcoxon(values).p == pytest.approx(tests.wilcoxon(values["arm 0"], values["arm 1"]).pvalue)
    values.iloc[:4] = 0.5  # equal blocks count as blocks and say nothing
    found = wilcoxon(values)
    assert (found.n_blocks, found.n_unequal) == (30, 26)
    tied = values.round(1)
    assert 0 < wilcoxon(tied).p < 1
    assert wilcoxon(values * 0).reason == "not computed: the arms are equal in every block"


def test_fewer_than_five_blocks_are_a_stated_result():
    values = VALUES[:4]
    why = "not computed: too few (4 blocks, 5 needed, where even 4 wins of 4 give p = 0.125)"
    for found in (friedman(values), nemenyi(values), wilcoxon(values[["w", "x"]])):
        assert found.reason == why and found.n_blocks == 4
    assert np.isnan([friedman(values).p, nemenyi(values).critical_difference, wilcoxon(values[["w", "x"]]).p]).all()
    assert nemenyi(values).pairs["p"].isna().all() and len(nemenyi(values).pairs) == 6
    assert friedman(VALUES[:0]).reason == "not computed: too few (0 blocks, 5 needed)"


def test_wrong_tables_are_refused():
    refused(r"\['w', 'x'\]; expected 3 at least; for 2 use wilcoxon", friedman, VALUES[["w", "x"]], error=UsageError)
    refused("Wilcoxon's test is for 2 arms", wilcoxon, VALUES, error=UsageError)
    hole = VALUES.mask((VALUES.index == 2)[:, None] & (VALUES.columns == "x")[None])
    refused("1 values are missing, first: arm 'x' in block '2'", nemenyi, hole)


def scored() -> pd.DataFrame:
    """Two arms over body parts: hand 20 and 20, foot 19 and 30, hip 40 and 25; one arm with two seeds."""
    rng, frames = np.random.default_rng(0), []
    y = {"hand": [1] * 20 + [0] * 20, "foot": [1] * 19 + [0] * 30, "hip": [1] * 40 + [0] * 25}
    units = pd.DataFrame([(part, one) for part, labels in y.items() for one in labels], columns=["body_part", "y_true"])
    units["unit_id"], units["group"] = np.arange(len(units)), np.arange(len(units)) // 2
    for arm, seed in (("a", 0), ("a", 1), ("b", 0)):
        score = 1 / (1 + np.exp(-rng.normal(units["y_true"])))
        frames.append(units.assign(arm=arm, seed=seed, score_0=1 - score, score_1=score))
    return pd.concat(frames, ignore_index=True)


def test_blocks_need_twenty_of_each_class():
    found = blocks(scored(), "body_part").set_index("block")
    assert list(found.index) == ["foot", "hand", "hip"]
    assert tuple(found.loc["hand", ["n_pos", "n_neg", "used", "reason"]]) == (20, 20, True, "")
    assert tuple(found.loc["foot", ["n_pos", "n_neg", "used", "reason"]]) == (19, 30, False, "19 positives, 20 needed")
    assert found.loc["hip", "n_groups"] == 33


def test_block_values_average_the_seeds():
    table = scored()
    found = block_values(table, "body_part", "roc_auc")
    assert list(found.index) == ["hand", "hip"] and list(found.columns) == ["a", "b"]
    for part, arm in product(found.index, found.columns):
        own = table[(table["body_part"] == part) & (table["arm"] == arm)]
        assert found.loc[part, arm] == evaluate(own, names=["roc_auc"], draws=1)["value"][0]
    assert wilcoxon(found).reason.startswith("not computed: too few (2 blocks")
    few = block_values(table[table["body_part"] == "foot"], "body_part", "roc_auc")
    assert few.shape == (0, 2) and wilcoxon(few).reason.startswith("not computed: too few (0 blocks")


def test_blocks_that_cannot_be_made():
    table = scored()
    refused("no column joint", blocks, table, "joint")
    refused(r"y_true is not 0 or 1: .* first y_true 2", blocks, table.assign(y_true=2), "body_part")
    blind = table.assign(body_part=table["body_part"].where(table["body_part"] != "hand"))
    refused(r"body_part is missing: \d+ of \d+ rows, first unit_id 0", blocks, blind, "body_part")
    lacking = table[(table["body_part"] != "hip") | (table["arm"] != "b")]
    refused(r"block 'hip' lacks the arms \['b'\]", block_values, lacking, "body_part", "roc_auc")
