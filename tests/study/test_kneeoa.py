"""The chapter on knee osteoarthritis: arms are what they are called, one rule names a grade, test chooses nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from ortholib.encoders import registry
from ortholib.metrics import evaluation
from ortholib.report import chapter, kneeoa
from ortholib.settings import Embed, Finetune, Learn
from ortholib.study import arms, ledger, plans
from ortholib.study import kneeoa as numbers

ROOT = Path(__file__).parents[2]
CHAPTER = "30-knee-oa"
SKILL = {"trained": 1.5, "once": 1.2, "lite + XGBoost": 0.6, "dino + XGBoost": 0.4, "lite + kNN": 0.3}
SEEDS = {"trained": 3, "lite + XGBoost": 3}


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("ORTHOLIB_HOME", str(ROOT))
    monkeypatch.setenv("ORTHOLIB_WEIGHTS", str(tmp_path))  # holds nothing


@pytest.fixture(scope="module")
def scored() -> pd.DataFrame:
    """Grades of 150 knees of 75 patients by five arms, as `study.predictions` gives them."""
    rng = np.random.default_rng(0)
    y = rng.choice(5, 150, p=[0.35, 0.2, 0.25, 0.15, 0.05])
    frames = []
    for arm, skill in SKILL.items():
        for seed in range(SEEDS.get(arm, 1)):
            logits = -skill * np.abs(np.arange(5) - y[:, None]) + rng.normal(size=(150, 5))
            p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            frame = pd.DataFrame({f"score_{k}": p[:, k] for k in range(5)})
            head = arm.partition(" + ")[2]
            frame = frame.assign(arm=arm, seed=seed, head=head, backbone="net", initial="w", y_true=y)
            frame = frame.assign(unit_id=[f"i{i}" for i in range(150)], group=[f"p{i // 2}" for i in range(150)])
            frames.append(frame.assign(part=np.where(np.arange(150) < 50, "val", "test")))
    return pd.concat(frames, ignore_index=True).assign(dataset="kneekl", task="kl", split="official")


def declared(edition: str, **changes) -> dict:
    return plans.declared(CHAPTER, chapter.parameters(CHAPTER, edition) | changes)


def test_the_phantom_embeds_with_every_encoder_and_a_learner_has_its_encoder_s_name():
    found = declared("phantom")
    named = {name for name, one in registry.ENCODERS.items() if one.dimension}
    assert set(found["frozen"]) == {*named, "random resnet10t"} and not found["others"]
    learned = numbers.learned(found["frozen"], ["XGBoost", "kNN"], 2)
    assert isinstance(learned["rad-dino + kNN"], Learn) and learned["rad-dino + kNN"].initial.initial == "rad-dino"
    assert all(isinstance(one.settings, Finetune) for one in found["asked"])
    assert len(found["compare"]) == len(found["trained"]) * len(found["frozen"])


def test_an_arm_without_its_weights_is_left_out_with_the_way(monkeypatch):
    found = declared("paper")
    assert not found["trained"] and set(found["lacking"]) == {"ResNet-18, ImageNet", "ConvNeXt-Small, ImageNet"}
    assert "ortholib encoders get resnet18" in found["lacking"]["ResNet-18, ImageNet"]
    assert set(found["others"]) == {"biomedclip", "rad-dino"} and list(found["frozen"]) == ["random resnet18"]
    said = kneeoa.not_run(found["lacking"] | found["others"])
    assert said.count("not run:") == 4 and kneeoa.not_run({}).startswith("Every arm")


def test_its_pretraining_is_that_of_the_chapter_on_pretraining():
    found = declared("real")
    made = plans.declared("10-pretrain-dino", chapter.parameters("10-pretrain-dino", "real"))["pretraining"]
    assert found["frozen"]["own DINO, resnet18"] == Embed(128, made, "resnet18")


def test_a_plan_of_learners_knows_luck_from_none():
    frozen = {"a": Embed(64, "resnet18"), "r": Embed(64, "random", "resnet10t")}
    planned = arms.plan(numbers.learned(frozen, ["XGBoost", "kNN"], 1), ["kneekl:kl:official"], 3)
    counts = pd.Series([one.arm for one in planned]).value_counts().to_dict()
    assert counts == {"a + XGBoost": 3, "r + XGBoost": 3, "r + kNN": 3, "a + kNN": 1}
    seeds = {(one.arm, one.settings.seed, one.settings.initial.seed) for one in planned}
    assert ("a + XGBoost", 2, 0) in seeds and ("r + kNN", 2, 2) in seeds
    assert {one.settings.initial.dataset for one in planned} == {"kneekl"}


def test_one_rule_names_the_grade(scored):
    table = numbers.values(scored, 50)
    test = scored[(scored["arm"] == "once") & (scored["part"] == "test")]
    grade = np.floor(test[evaluation.score_columns(test)].to_numpy() @ np.arange(5) + 0.5).astype(int)
    row = table[table["arm"] == "once"].set_index("metric")["value"]
    assert row[numbers.HEADLINE] == pytest.approx(cohen_kappa_score(test["y_true"], grade, weights="quadratic"))
    assert row["accuracy_expectation"] == pytest.approx((grade == test["y_true"]).mean())
    for k in range(5):
        assert row[numbers.RECALLS[k]] == pytest.approx((grade[test["y_true"] == k] == k).mean())
    assert set(table.loc[table["arm"] == "lite + kNN", "metric"]) == {numbers.HEADLINE}


def test_grade_two_or_more_by_the_summed_probability(scored):
    test = scored[(scored["arm"] == "once") & (scored["part"] == "test")]
    likely = test[["score_2", "score_3", "score_4"]].sum(axis=1)
    found = numbers.osteoarthritis(scored, 50).set_index(["arm", "metric"])
    assert found.loc[("once", "roc_auc"), "value"] == pytest.approx(roc_auc_score(test["y_true"] >= 2, likely))
    assert "lite + kNN" not in found.index.get_level_values("arm")


def test_validation_alone_chooses_the_best_arm(scored):
    arms_of = ["trained", "once", "lite + XGBoost"]
    assert numbers.best(scored, arms_of) == "trained"
    turned = scored.copy()
    worse = (turned["arm"] == "trained") & (turned["part"] == "val")
    turned.loc[worse, "y_true"] = 4 - turned.loc[worse, "y_true"]
    assert numbers.best(turned, arms_of) == "once"
    spoilt = scored.copy()
    spoilt.loc[spoilt["part"] == "test", "y_true"] = 0
    assert numbers.best(spoilt, arms_of) == "trained"


def test_the_mean_of_trainings_is_one_arm(scored):
    found = numbers.ensemble(scored, "trained")
    assert len(found) == 150 and found["arm"].unique() == ["trained, mean of its trainings"]
    one = scored[(scored["arm"] == "trained") & (scored["unit_id"] == "i7")]
    kept = found[found["unit_id"] == "i7"].iloc[0]
    np.testing.assert_allclose(kept[[f"score_{k}" for k in range(5)]].astype(float), one.filter(like="score_").mean())
    assert numbers.ensemble(scored, "once").empty


def test_words_and_tables_follow_the_numbers(scored):
    values = numbers.values(scored, 50)
    pairs = [("trained", "lite + XGBoost"), ("trained", "dino + XGBoost"), ("once", "lite + XGBoost")]
    differences = numbers.differences(scored, pairs, 200)
    assert (differences["draws"] == 1000).all()
    said = kneeoa.finding(values, differences, "trained", "lite + XGBoost", "real")
    value = values.set_index(["arm", "metric"]).loc[("trained", numbers.HEADLINE), "value"]
    assert f"{value:.3f}" in said and "mean of 3 trainings" in said and "100 test knees of 50 patients" in said
    ahead = (differences["low_holm"] > 0).sum()
    assert f"ahead in {ahead} and behind in 0" in said and "generated" not in said
    assert "generated images" in kneeoa.finding(values, differences, "trained", "lite + XGBoost", "phantom")
    rows = kneeoa.forest(values[values["arm"] != "lite + kNN"], ["trained", "once"])
    assert list(rows["section"]) == ["networks trained on the grades"] * 2 + ["frozen encoders"] * 2
    table = kneeoa.table(values[values["arm"] != "lite + kNN"], numbers.osteoarthritis(scored, 50))
    assert table.count("\n") == 5 and f"{value:.3f}" in table
    drawn = kneeoa.pairs(differences)
    np.testing.assert_array_equal(drawn["low"], differences["low_holm"])
    learned = kneeoa.learners(values, ["lite"], ["XGBoost", "kNN"])
    assert f"{values.set_index(['arm', 'metric']).loc[('lite + kNN', numbers.HEADLINE), 'value']:.3f}" in learned


def test_the_declared_analogues_are_arms_of_the_real_edition():
    found = declared("real")
    named = {*found["trained"], *found["single"], *(f"{name} + XGBoost" for name in found["frozen"])}
    own = ledger.analogues()
    own = own[own["claim"].str.startswith("chavoshi")]
    assert {*own["arm"], *own["reference"]} <= named and set(own["metric"]) == {numbers.HEADLINE}
