"""The table of `evaluate`: its values, seeds under shared draws, a reason for each missing number, refused input."""

import numpy as np
import pandas as pd
import pytest
from refused import refused
from scores import N, frame, graded, scored
from sklearn import metrics as sk

from ortholib.errors import UsageError
from ortholib.metrics.evaluation import evaluate


def row(table, metric):
    return table.set_index("metric").loc[metric]


def test_evaluate_two_classes():
    y, score = scored()
    table = evaluate(frame(y, score), draws=200, threshold=0.5)
    assert list(table.columns) == [
        *("metric", "value", "low", "high", "n", "n_groups", "draws", "n_undefined_draws", "reason"),
        *("seeds", "seed_sd", "threshold"),
    ]
    names = "roc_auc average_precision sensitivity specificity accuracy f1 brier ece ppv npv mcc"
    assert list(table["metric"]) == names.split()
    assert row(table, "roc_auc")["value"] == pytest.approx(sk.roc_auc_score(y, score))
    assert row(table, "sensitivity")["value"] == pytest.approx(sk.recall_score(y, score >= 0.5))
    sure = table[table["metric"] != "ece"]
    assert ((sure["low"] < sure["value"]) & (sure["value"] < sure["high"]) & (sure["reason"] == "")).all()
    assert (table["n"] == N).all() and (table["n_groups"] == N // 2).all() and (table["draws"] == 200).all()
    assert row(table, "ppv")["value"] == pytest.approx(sk.precision_score(y, score >= 0.5))
    assert row(table, "mcc")["value"] == pytest.approx(sk.matthews_corrcoef(y, score >= 0.5))
    assert row(table, "f1")["threshold"] == 0.5 and np.isnan(row(table, "brier")["threshold"])
    shuffled = evaluate(frame(y, score).sample(frac=1, random_state=0), draws=200, threshold=0.5)
    pd.testing.assert_frame_equal(table, shuffled)


def test_sensitivity_at_a_specificity_takes_its_own_threshold():
    y, score = scored()
    plain = evaluate(frame(y, score), draws=50, threshold=0.5)
    table = evaluate(frame(y, score), draws=50, threshold=0.5, specificity_threshold=0.7)
    pd.testing.assert_frame_equal(table[: len(plain)], plain)
    found, reached = row(table, "sensitivity_at_specificity"), row(table, "specificity_reached")
    assert found["value"] == pytest.approx(sk.recall_score(y, score >= 0.7)) and found["threshold"] == 0.7
    assert reached["value"] == pytest.approx(sk.recall_score(y, score >= 0.7, pos_label=0))
    two_seeds = pd.concat([frame(y, score, seed=s) for s in (0, 1)])
    by_seed = evaluate(two_seeds, draws=50, specificity_threshold={0: 0.6, 1: 0.8})
    expected = np.mean([sk.recall_score(y, score >= t) for t in (0.6, 0.8)])
    assert row(by_seed, "sensitivity_at_specificity")["value"] == pytest.approx(expected)
    assert row(by_seed, "sensitivity_at_specificity")["threshold"] == pytest.approx(0.7)
    unknown = row(evaluate(frame(y, score), draws=50, specificity_threshold=np.nan), "specificity_reached")
    assert np.isnan(unknown["value"]) and "thresholds.threshold_at_specificity" in unknown["reason"]
    nobody = evaluate(frame(y, score), draws=50, threshold=2)
    assert "no unit is called class 1" in row(nobody, "ppv")["reason"]
    assert "in one class" in row(nobody, "mcc")["reason"]


def test_evaluate_grades():
    y, proba = graded()
    table = evaluate(frame(y, proba), draws=100)
    rounded = np.floor(proba @ np.arange(4) + 0.5)
    expected = {
        "accuracy": sk.accuracy_score(y, proba.argmax(1)),
        "kappa_quadratic": sk.cohen_kappa_score(y, proba.argmax(1), weights="quadratic"),
        "kappa_linear_expectation": sk.cohen_kappa_score(y, rounded, weights="linear"),
        "balanced_accuracy_expectation": sk.balanced_accuracy_score(y, rounded),
        "mae": np.abs(y - proba.argmax(1)).mean(),
        "mae_expectation": np.abs(y - proba @ np.arange(4)).mean(),
        "recall_3": np.mean(proba.argmax(1)[y == 3] == 3),
        "auc_ovr_macro": sk.roc_auc_score(y, proba, multi_class="ovr"),
    }
    for name, value in expected.items():
        assert row(table, name)["value"] == pytest.approx(value), name
    assert len(table) == 10 + 2 + 2 * 4 + 4 + 1 + 2
    few = evaluate(frame(y, proba), draws=100, names=["mae", "auc_ovr_1"])
    pd.testing.assert_frame_equal(few, table.set_index("metric").loc[["mae", "auc_ovr_1"]].reset_index())


def test_columns_of_classes_that_only_another_task_has_do_not_count():
    y, score = scored()
    plain = frame(y, score)
    pd.testing.assert_frame_equal(
        evaluate(plain.assign(score_2=np.nan, score_3=np.nan), draws=50), evaluate(plain, draws=50)
    )
    refused("score_2 is missing", evaluate, plain.assign(score_2=[0.0] + [np.nan] * (N - 1)), draws=50)


def test_seeds_are_averaged_under_shared_draws():
    y, _ = scored()
    probas = [scored(50, seed=s)[1] for s in (0, 5, 9)]
    alone = [evaluate(frame(y, proba), draws=50, threshold=0.4) for proba in probas]
    shuffled = [frame(y, p, seed=s).sample(frac=1, random_state=s) for s, p in enumerate(probas)]
    table = evaluate(pd.concat(shuffled), draws=50, threshold={0: 0.4, 1: 0.4, 2: 0.4})
    values = np.array([t["value"] for t in alone])
    np.testing.assert_allclose(table["value"], values.mean(0))
    np.testing.assert_allclose(table["seed_sd"], values.std(0, ddof=1))
    assert (table["seeds"] == 3).all() and (table["n"] == N).all()
    same = pd.concat([frame(y, probas[0], seed=s) for s in range(3)])
    own = ["seeds", "seed_sd"]
    found = evaluate(same, draws=50, threshold=0.4).drop(columns=own)
    pd.testing.assert_frame_equal(found, alone[0].drop(columns=own), rtol=1e-12)  # no luck to draw


def test_every_missing_number_has_its_reason():
    y, score = scored(n=40)
    grades, proba = graded(n=40)
    tables = {
        "one class": evaluate(frame(np.zeros(40, int), score), draws=50, threshold=0.5),
        "one group": evaluate(frame(y, score, per_group=40), draws=50, threshold=0.5),
        "empty": evaluate(frame(y, score).iloc[:0], draws=50, threshold=0.5),
        "rare": evaluate(frame(np.arange(40) < 1, score), draws=50, threshold=0.5),
        "no threshold": evaluate(frame(y, score), draws=50),
        "absent grade": evaluate(frame(np.minimum(grades, 2), proba), draws=50),
        "empty grades": evaluate(frame(grades, proba).iloc[:0], draws=50),
        "one grade": evaluate(frame(np.ones(40, int), np.eye(4)[np.ones(40, int)]), draws=50),
    }
    for name, table in tables.items():
        missing = table[["value", "low", "high"]].isna().any(axis=1)
        assert missing.any(), name
        assert (table.loc[missing, "reason"] != "").all(), (name, table[missing])
    said = row(tables["one class"], "roc_auc")["reason"]
    assert said == "undefined: needs units of both classes; there are 40 of class 0, 0 of class 1"
    assert row(tables["one class"], "specificity")["value"] > 0
    assert row(tables["one group"], "roc_auc")["value"] == pytest.approx(sk.roc_auc_score(y, score))
    assert row(tables["one group"], "roc_auc")["reason"] == "no interval: all units are of one group"
    assert (tables["empty"]["reason"] == "no units").all()
    rare = row(tables["rare"], "roc_auc")
    assert np.isfinite(rare["value"]) and f"{rare['n_undefined_draws']} of 50 draws" in rare["reason"]
    assert "choose it on validation" in row(tables["no threshold"], "f1")["reason"]
    assert "0 of class 3" in row(tables["absent grade"], "recall_3")["reason"]
    assert "chance agrees fully" in row(tables["one grade"], "kappa_quadratic")["reason"]


def test_equal_scores_are_one_half_and_say_so():
    y, _ = scored()
    table = evaluate(frame(y, np.full(N, 0.3)), draws=50, threshold=0.5)
    assert list(row(table, "roc_auc")[["value", "low", "high"]]) == [0.5] * 3
    assert row(table, "average_precision")["value"] == pytest.approx(y.mean())
    assert "all scores are equal" in row(table, "roc_auc")["reason"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.assign(score_1=t["score_1"].where(t.index != 7)), "score_1 is missing: 1 of 300 rows.* u0007"),
        (lambda t: t.assign(group=t["group"].where(t.index != 3)), "group is missing.* u0003"),
        (lambda t: t.assign(y_true=t["y_true"].where(t.index != 3, 2)), "y_true is not in 0..1.* u0003"),
        (lambda t: t.assign(score_1=t["score_1"] * 30 - 5), "no probabilities.* u0000"),
        (lambda t: pd.concat([t, t.iloc[[4]]]), "repeated unit_id.* u0004"),
        (lambda t: t.drop(columns="group"), "predictions: no column group"),
        (lambda t: t.assign(arm=["a", "b"] * 150), "several arm"),
        (lambda t: pd.concat([t.assign(seed=0), t[1:].assign(seed=1)]), "different units .1 in one only, such as u000"),
        (lambda t: pd.concat([t.assign(seed=0), t.assign(seed=1, y_true=0)]), "y_true in seed 1 is not that in seed 0"),
    ],
)
def test_predictions_that_cannot_be_meant_are_errors(spoil, message):
    y, score = scored()
    refused(message, evaluate, spoil(frame(y, score)), draws=10, threshold=0.5)


def test_wrong_usage_is_named():
    y, score = scored()
    refused(r"no metric \['kappa'\]", evaluate, frame(y, score), draws=10, names=["kappa"], error=UsageError)
    with pytest.raises(UsageError, match="no threshold for seed 1"):
        evaluate(frame(y, score, seed=1), draws=10, threshold={0: 0.5})
    refused("for 4 classes", evaluate, frame(*graded()), draws=10, threshold=0.5, error=UsageError)
