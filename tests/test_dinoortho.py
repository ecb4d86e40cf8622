"""The chapter on DINO-Ortho: its arms are what they are called, its differences ask what they say, its words follow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ortholib import evaluation, ids, ledger, plans, runs, verdicts
from ortholib.classify.settings import Finetune
from ortholib.dino.settings import Pretrain
from ortholib.dinoortho import plan, scores, subsets, told
from ortholib.errors import UsageError

ROOT = Path(__file__).parents[1]
CHAPTER = "20-dino-ortho"


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("ORTHOLIB_HOME", str(ROOT))
    monkeypatch.setenv("ORTHOLIB_WEIGHTS", str(tmp_path))  # holds nothing


def parameters(edition: str, **changes) -> dict:
    return runs.parameters(CHAPTER, edition) | changes


def test_arms_without_their_weights_are_left_out_and_say_how_to_get_them(tmp_path):
    real = parameters("real")
    assert plan.run(real) == ["random + SL", "DINO-Ortho + SL", "DINO-Ortho + SL, test images seen"]
    lacking = plan.missing(real)
    assert set(lacking) == {arm for arm, (start, _) in plan.ARMS.items() if start != "random"}
    assert "Set backbone to resnet50" in lacking["SL"] and "$ORTHOLIB_WEIGHTS/resnet50/" in lacking["SL"]
    said = told.arms(real)
    assert said.count("**not run**") == 4 and "- Not run: SL. Download torchvision's ResNet-50" in said
    (tmp_path / "resnet50").mkdir()
    (tmp_path / "resnet50" / "resnet50-11ad3fa6.pth").write_bytes(b"")
    assert "SL" in plan.run(parameters("real", backbone="resnet50"))
    assert plan.run(parameters("phantom")) == list(plan.ARMS)


def test_its_pretrainings_are_those_of_the_chapter_on_pretraining():
    """Else they would be made twice, and two chapters would speak of different ones."""
    for edition, arm in (("real", "DINO-Ortho + SL"), ("paper", "DINO + DINO-Ortho + SL")):
        (made,) = plans.pretrain_dino(runs.parameters("10-pretrain-dino", edition))
        assert plan.start(arm, parameters(edition)) == made


def test_seen_and_unseen_differ_in_the_images_alone():
    real = parameters("real")
    unseen, seen = (plan.start(f"DINO-Ortho + SL{more}", real) for more in ("", ", test images seen"))
    assert unseen.sets == ("fracatlas:clean", "kneekl:official") and seen.sets == ("fracatlas:all", "kneekl:all")
    assert seen == replace(unseen, sets=seen.sets, epochs=real["epochs_seen"])


def test_every_arm_gets_the_same_training():
    trained = [one for one in plan.planned(parameters("real", leak_seeds=2)) if one.use == plan.FINETUNED]
    of_arms = {}
    for one in trained:
        same = replace(one.settings, initial="random")
        of_arms.setdefault(one.arm, set()).add(same)
    leaks = {one.settings for one in trained if one.settings.split in plan.SPLITS}
    assert len(leaks) == 2 * 2
    leaks = {replace(one, initial="random") for one in leaks}
    first, *rest = (asked - leaks for arm, asked in of_arms.items() if arm not in plan.NARROW)
    assert all(asked == first for asked in rest) and len(first) == 2 * 3  # sets, seeds
    assert all(of_arms[arm] == {one for one in first if one.dataset == "fracatlas"} for arm in plan.NARROW)
    assert all(asked.patience == asked.epochs for asked in first)


def test_fits_are_planned_after_what_they_start_from():
    planned = plans.dino_ortho(parameters("real"))
    assert [type(one) for one in planned[:2]] == [Pretrain, Pretrain] and Pretrain not in map(type, planned[2:])
    assert len(set(planned)) == len(planned)
    needed = [plans.needs(planned, number) for number in range(len(planned))]
    assert needed[:2] == [[], []] and {tuple(one) for one in needed[2:]} == {(), (0,), (1,)}
    assert plans.CHAPTERS[CHAPTER][0](parameters("real")) == ["fracatlas", "kneekl"]


def test_published_arms_are_named_as_the_ledger_names_them():
    known = ledger.table()
    known = known[(known["paper"] == told.PAPER) & (known["kind"] == "value")]
    paper = parameters("paper")
    for arm in plan.PUBLISHED:
        (initial,), (network,) = (known.loc[known["arm"] == arm, name].unique() for name in ("initial", "network"))
        assert plan.initial(arm, paper) == initial and paper["backbone"] == network
    assert plan.initial("DINO-Ortho + SL", parameters("real")) == (
        "random, then DINO on fracatlas and kneekl, training parts"
    )


def test_bad_sets_are_named():
    with pytest.raises(UsageError, match="'fracatlas:clean' is not set:task:split"):
        plan.planned(parameters("real", sets=["fracatlas:clean"]))


def made_up(strength: dict[str, float], n: int = 400, split: str = "clean", use: str = plan.FINETUNED) -> pd.DataFrame:
    """Predictions of arms that tell the classes apart by so much, three seeds, validation and test."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3 == 0
    noise = rng.normal(size=n)
    frames = []
    for arm, strong in strength.items():
        for seed in range(3):
            score = 1 / (1 + np.exp(-(strong * y + noise + 0.3 * rng.normal(size=n))))
            frame = pd.DataFrame({"unit": "image", "unit_id": ids.hashed([f"i{i}" for i in range(n)], "fracatlas")})
            frame = frame.assign(group=frame["unit_id"], dataset="fracatlas", task="fracture", split=split)
            frame = frame.assign(part=np.where(np.arange(n) % 4 == 0, "val", "test"), arm=arm, seed=seed)
            frame = frame.assign(y_true=y.astype(int), score_0=1 - score, score_1=score, base=arm.split(", frozen")[0])
            frame = frame.assign(use=use, fraction=1.0, head="", backbone="resnet50", initial="as published")
            frames.append(frame.assign(**scores._thresholds(frame, use)))
    return pd.concat(frames, ignore_index=True)


def published(strength: dict[str, float]) -> pd.DataFrame:
    """The same with the initial weights that the ledger names."""
    frame, paper = made_up(strength, 1200), parameters("paper")
    return frame.assign(initial=frame["arm"].map({arm: plan.initial(arm, paper) for arm in strength}))


def test_values_are_those_of_scikit_learn_with_thresholds_of_validation():
    frame = made_up({"SL": 1.0})
    values = scores.values(frame, 50).set_index("metric")
    test = frame[frame["part"] == "test"]
    area = np.mean([roc_auc_score(rows["y_true"], rows["score_1"]) for _, rows in test.groupby("seed")])
    assert values.loc["roc_auc", "value"] == pytest.approx(area, abs=1e-12)
    known = frame[frame["part"] == "val"].groupby("seed")
    chosen = {seed: evaluation.metrics.youden_threshold(rows["y_true"], rows["score_1"]) for seed, rows in known}
    called = [(rows["score_1"] >= chosen[seed])[rows["y_true"] == 1].mean() for seed, rows in test.groupby("seed")]
    assert values.loc["sensitivity", "value"] == pytest.approx(np.mean(called), abs=1e-12)
    assert values.loc["sensitivity_at_specificity", "value"] > 0
    halves = scores.half(frame, 50).set_index("metric")
    at_half = [(rows["score_1"] >= 0.5)[rows["y_true"] == 1].mean() for _, rows in test.groupby("seed")]
    assert halves.loc["sensitivity", "value"] == pytest.approx(np.mean(at_half), abs=1e-12)


def test_differences_ask_what_the_plan_says_and_find_what_is_there():
    better = {"random + SL": 0.8, "DINO-Ortho + SL": 2.0, "DINO-Ortho + SL, test images seen": 2.0}
    table = scores.differences(made_up(better), 400)
    assert dict(zip(table["arm"], table["question"], strict=True)) == {
        "DINO-Ortho + SL": "pretraining",
        "DINO-Ortho + SL, test images seen": "contamination",
    }
    rows = table.set_index(["question", "metric"])
    assert rows.loc[("pretraining", "roc_auc"), "low_holm"] > 0
    assert rows.loc[("contamination", "roc_auc"), "p_holm"] > 0.05
    said = told.differences(table, "pretraining")
    assert "**higher**" in said and "FracAtlas, fracture, ROC AUC" in said
    assert "**no difference shown**" in told.differences(table, "contamination")
    assert told.differences(table, "leak").startswith("*Not run")
    assert told.forest(table, ["contamination"])["label"].unique().tolist() == [
        "DINO-Ortho + SL: test images seen − unseen"
    ]


def test_a_leak_is_a_difference_on_the_same_test_images():
    left, taken = plan.SPLITS.values()
    frame = made_up({f"SL, {left}": 2.0, f"SL, {taken}": 0.8}, split="random").assign(base="SL")
    table = scores.differences(frame, 400)
    assert table["question"].unique().tolist() == ["leak"] and (table["split"] == "random").all()
    assert table["arm"].unique().tolist() == [f"SL, {left}"] and (table["low_holm"] > 0).all()
    assert told.forest(table, ["leak"])["label"].iloc[0] == "SL: copies left in training − taken out"
    assert scores.fine_tuned(frame).empty  # no value of a leaking split stands in the paper's table


@pytest.mark.parametrize(
    ("strength", "word"),
    [((0.8, 0.8, 2.5), verdicts.REPRODUCED), ((2.5, 2.5, 0.8), verdicts.NOT_REPRODUCED)],
)
def test_the_claim_on_fracatlas_is_judged_by_the_rules(strength, word):
    frame = published(dict(zip(plan.PUBLISHED, strength, strict=True)))
    values, table = scores.values(frame, 400), scores.differences(frame, 400)
    judged = told.judged(values, table, "paper").set_index("claim")
    assert judged.loc["dino-ortho: best-on-fracatlas", "verdict"] == word
    assert judged.loc["dino-ortho: best-on-mura", "verdict"] in (verdicts.UNTESTABLE, verdicts.RELATED)
    assert set(judged["paper"]) == {told.PAPER}
    phantom = told.judged(values, table, "phantom")
    assert set(phantom["verdict"]) == {verdicts.NONE} and "No verdict on" in told.published(phantom)


def test_a_leaking_or_frozen_arm_never_gives_a_verdict():
    frame = published(dict(zip(plan.PUBLISHED, (0.8, 0.8, 2.5), strict=True)))
    values = scores.values(frame.assign(split="random", use=plan.FINETUNED), 50)
    assert verdicts.REPRODUCED not in set(told.judged(values, pd.DataFrame(), "paper")["verdict"])


def test_arms_are_named_by_how_they_were_made():
    trained = Finetune("fracatlas", "fracture", "clean", 64, 1)
    name = scores._name
    assert name(plan.Planned(plan.FINETUNED, "SL", trained), "", 1.0) == "SL"
    assert name(plan.Planned(plan.FINETUNED, "SL", trained), "", 0.125) == "SL, 12.5 % of the labels"
    assert name(plan.Planned(plan.PROBED, "SL", trained), "linear", 0.5) == "SL, frozen, linear, 50 % of the labels"
    leak = replace(trained, split="random without copies")
    assert name(plan.Planned(plan.FINETUNED, "SL", leak), "", 1.0) == "SL, copies taken out of training"
    moved = plan.transfersettings.of(trained, "kneekl", "oa", "official")
    assert name(plan.Planned(plan.TRANSFERRED, "SL", moved), "", 1.0) == "SL, trained on fracatlas"


def blocks_of(n_blocks: int, strength: dict[str, float]) -> pd.DataFrame:
    frame = made_up(strength, 120 * n_blocks)
    test = scores.fine_tuned(frame)
    place = test["unit_id"].map({unit: i % n_blocks for i, unit in enumerate(test["unit_id"].unique())})
    return test.assign(block=[f"part {i}" for i in place])


def test_ranks_are_tested_with_enough_blocks_only():
    strength = {"random + SL": 0.5, "DINO-Ortho + SL": 1.5, "SL": 3.0}
    few = subsets.ranked(blocks_of(3, strength))
    assert "not computed: too few (3 blocks, 5 needed" in few.told and few.figure is not None
    enough = subsets.ranked(blocks_of(6, strength))
    assert "some arms differ" in enough.told and "random + SL and SL" in enough.told
    assert "no difference shown" in subsets.ranked(blocks_of(5, dict.fromkeys(strength, 1.0))).told
    none = subsets.ranked(blocks_of(6, {"SL": 1.0, "random + SL": 2.0}))
    assert none.figure is None and "not computed: 2 arms" in none.told
