"""The chapter on DINO-Ortho: its arms are what they are called, its differences ask what they say, its words follow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ortholib import settings
from ortholib.data import ids
from ortholib.errors import UsageError
from ortholib.metrics import evaluation
from ortholib.report import chapter, dinoortho
from ortholib.settings import Pretrain
from ortholib.study import arms, ledger, plans, verdicts
from ortholib.study import dinoortho as numbers

ROOT = Path(__file__).parents[2]
CHAPTER = "20-dino-ortho"
PUBLISHED = ("SL", "DINO + SL", "DINO + DINO-Ortho + SL")
COMPARE = [(PUBLISHED[2], PUBLISHED[0], "claim"), (PUBLISHED[2], PUBLISHED[1], "claim")]
COMPARE += [("DINO-Ortho + SL", "random + SL", "pretraining")]
COMPARE += [("DINO-Ortho + SL, test images seen", "DINO-Ortho + SL", "contamination")]


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("ORTHOLIB_HOME", str(ROOT))
    monkeypatch.setenv("ORTHOLIB_WEIGHTS", str(tmp_path))  # holds nothing


def declared(edition: str, chapter_name: str = CHAPTER, **changes) -> dict:
    """What the cells of the notebook that declare its arms leave."""
    return plans.declared(chapter_name, chapter.parameters(chapter_name, edition) | changes)


def test_arms_without_their_weights_are_left_out_and_say_how_to_get_them(tmp_path):
    real = declared("real")
    assert list(real["arms"]) == ["random + SL", "DINO-Ortho + SL", "DINO-Ortho + SL, test images seen"]
    lacking = real["lacking"]
    assert {*lacking, *real["arms"]} == set(real["declared"])
    assert "Set backbone to resnet50" in lacking["SL"] and "$ORTHOLIB_WEIGHTS/resnet50/" in lacking["SL"]
    said = dinoortho.arms(real["declared"], lacking, real["published"])
    assert said.count("**not run**") == 4 and "- Not run: SL. Download torchvision's ResNet-50" in said
    (tmp_path / "resnet50").mkdir()
    (tmp_path / "resnet50" / "resnet50-11ad3fa6.pth").write_bytes(b"")
    assert "SL" in declared("real", backbone="resnet50")["arms"]
    phantom = declared("phantom")
    assert list(phantom["arms"]) == list(phantom["declared"])


def test_its_pretrainings_are_those_of_the_chapter_on_pretraining():
    """Else they would be made twice, and two chapters would speak of different ones."""
    for edition, arm in (("real", "DINO-Ortho + SL"), ("paper", "DINO + DINO-Ortho + SL")):
        made = declared(edition, "10-pretrain-dino")["pretraining"]
        assert declared(edition)["declared"][arm].initial == made


def test_seen_and_unseen_differ_in_the_images_alone():
    real = declared("real")
    unseen, seen = (real["declared"][f"DINO-Ortho + SL{more}"].initial for more in ("", ", test images seen"))
    assert unseen.sets == ("fracatlas:clean", "kneekl:official") and seen.sets == ("fracatlas:all", "kneekl:all")
    assert seen == replace(unseen, sets=seen.sets, epochs=real["epochs_seen"])


def test_every_arm_gets_the_same_training():
    real = declared("real", leak_seeds=2)
    of_arms, leaks = {}, set()
    for arm, asked in real["asked"]:
        if asked.split in numbers.SPLITS:
            leaks.add(asked)
        else:
            of_arms.setdefault(arm, set()).add(replace(asked, initial="random"))
    assert len(leaks) == 2 * 2
    narrow = of_arms.pop("DINO-Ortho + SL, test images seen")
    first, *rest = of_arms.values()
    assert all(asked == first for asked in rest) and len(first) == 2 * 3  # sets, seeds
    assert narrow == {one for one in first if one.dataset == "fracatlas"}
    assert all(asked.patience == asked.epochs for asked in first)


def test_fits_are_planned_after_what_they_start_from():
    real = chapter.parameters(CHAPTER, "real")
    planned = plans.fits(CHAPTER, real)
    assert [type(one) for one in planned[:2]] == [Pretrain, Pretrain] and Pretrain not in map(type, planned[2:])
    assert len(set(planned)) == len(planned)
    needed = [plans.needs(planned, number) for number in range(len(planned))]
    assert needed[:2] == [[], []] and {tuple(one) for one in needed[2:]} == {(), (0,), (1,)}
    assert plans.reads(CHAPTER, real) == ["fracatlas", "kneekl"]


def test_published_arms_are_named_as_the_ledger_names_them():
    known = ledger.table()
    known = known[(known["paper"] == dinoortho.PAPER) & (known["kind"] == "value")]
    paper = declared("paper")
    assert paper["published"] and set(paper["published"]) == set(known["arm"])
    for arm in paper["published"]:
        (initial,), (network,) = (known.loc[known["arm"] == arm, name].unique() for name in ("initial", "network"))
        assert settings.named(paper["declared"][arm].initial) == initial and paper["backbone"] == network


def test_what_is_compared_was_declared():
    paper = declared("paper")
    assert {arm for pair in paper["compare"] for arm in pair[:2]} <= set(paper["declared"])
    assert set(paper["drawn"]) <= set(paper["declared"]) and set(paper["leak_arms"]) <= set(paper["declared"])


def test_bad_parameters_are_named(monkeypatch):
    with pytest.raises(UsageError, match="'fracatlas:clean' is not set:task:split"):
        declared("real", sets=["fracatlas:clean"])
    for wrong, words in (({"epoch": 18}, "pretraining: 'epoch' is no setting"), ({"epochs": "18"}, "epochs = '18'")):
        with pytest.raises(UsageError, match=words):
            chapter.parameters(CHAPTER, "real", {"pretraining": wrong})


def made_up(strength: dict[str, float], n: int = 400, split: str = "clean", use: str = arms.FINETUNED) -> pd.DataFrame:
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
            frame = frame.assign(y_true=y.astype(int), score_0=1 - score, score_1=score, base=arm.split(", copies")[0])
            frame = frame.assign(use=use, fraction=1.0, head="", backbone="resnet50", initial="as published")
            copies = next((copies for copies in numbers.SPLITS.values() if arm.endswith(copies)), "")
            frames.append(frame.assign(copies=copies, **numbers._thresholds(frame, use)))
    return pd.concat(frames, ignore_index=True)


def published(strength: dict[str, float]) -> pd.DataFrame:
    """The same with the initial weights that the ledger names."""
    known = {arm: settings.named(asked.initial) for arm, asked in declared("paper")["declared"].items()}
    return made_up(strength, 1200).assign(initial=lambda frame: frame["arm"].map(known))


def test_values_are_those_of_scikit_learn_with_thresholds_of_validation():
    frame = made_up({"SL": 1.0})
    values = numbers.values(frame, 50).set_index("metric")
    test = frame[frame["part"] == "test"]
    area = np.mean([roc_auc_score(rows["y_true"], rows["score_1"]) for _, rows in test.groupby("seed")])
    assert values.loc["roc_auc", "value"] == pytest.approx(area, abs=1e-12)
    known = frame[frame["part"] == "val"].groupby("seed")
    chosen = {seed: evaluation.scores.youden_threshold(rows["y_true"], rows["score_1"]) for seed, rows in known}
    called = [(rows["score_1"] >= chosen[seed])[rows["y_true"] == 1].mean() for seed, rows in test.groupby("seed")]
    assert values.loc["sensitivity", "value"] == pytest.approx(np.mean(called), abs=1e-12)
    assert values.loc["sensitivity_at_specificity", "value"] > 0
    halves = numbers.half(frame, 50).set_index("metric")
    at_half = [(rows["score_1"] >= 0.5)[rows["y_true"] == 1].mean() for _, rows in test.groupby("seed")]
    assert halves.loc["sensitivity", "value"] == pytest.approx(np.mean(at_half), abs=1e-12)


def test_differences_ask_what_the_plan_says_and_find_what_is_there():
    better = {"random + SL": 0.8, "DINO-Ortho + SL": 2.0, "DINO-Ortho + SL, test images seen": 2.0}
    table = numbers.differences(made_up(better), COMPARE, 400)
    assert dict(zip(table["arm"], table["question"], strict=True)) == {
        "DINO-Ortho + SL": "pretraining",
        "DINO-Ortho + SL, test images seen": "contamination",
    }
    rows = table.set_index(["question", "metric"])
    assert rows.loc[("pretraining", "roc_auc"), "low_holm"] > 0
    assert rows.loc[("contamination", "roc_auc"), "p_holm"] > 0.05
    said = dinoortho.differences(table, "pretraining")
    assert "**higher**" in said and "FracAtlas, fracture, ROC AUC" in said
    assert "**no difference shown**" in dinoortho.differences(table, "contamination")
    assert dinoortho.differences(table, "leak").startswith("*Not run")
    assert dinoortho.forest(table, ["contamination"])["label"].unique().tolist() == [
        "DINO-Ortho + SL: test images seen − unseen"
    ]


def test_a_leak_is_a_difference_on_the_same_test_images():
    left, taken = numbers.SPLITS.values()
    frame = made_up({f"SL, {left}": 2.0, f"SL, {taken}": 0.8}, split="random")
    table = numbers.differences(frame, COMPARE, 400)
    assert table["question"].unique().tolist() == ["leak"] and (table["split"] == "random").all()
    assert table["arm"].unique().tolist() == [f"SL, {left}"] and (table["low_holm"] > 0).all()
    assert dinoortho.forest(table, ["leak"])["label"].iloc[0] == "SL: copies left in training − taken out"
    assert numbers.fine_tuned(frame).empty  # no value of a leaking split stands in the paper's table


@pytest.mark.parametrize(
    ("strength", "word"),
    [((0.8, 0.8, 2.5), verdicts.REPRODUCED), ((2.5, 2.5, 0.8), verdicts.NOT_REPRODUCED)],
)
def test_the_claim_on_fracatlas_is_judged_by_the_rules(strength, word):
    frame = published(dict(zip(PUBLISHED, strength, strict=True)))
    values, table = numbers.values(frame, 400), numbers.differences(frame, COMPARE, 400)
    judged = dinoortho.judged(values, table, "paper").set_index("claim")
    assert judged.loc["dino-ortho: best-on-fracatlas", "verdict"] == word
    assert judged.loc["dino-ortho: best-on-mura", "verdict"] in (verdicts.UNTESTABLE, verdicts.RELATED)
    assert set(judged["paper"]) == {dinoortho.PAPER}
    phantom = dinoortho.judged(values, table, "phantom")
    assert set(phantom["verdict"]) == {verdicts.NONE} and "No verdict on" in dinoortho.published(phantom)


def test_a_leaking_or_frozen_arm_never_gives_a_verdict():
    frame = published(dict(zip(PUBLISHED, (0.8, 0.8, 2.5), strict=True)))
    values = numbers.values(frame.assign(split="random", use=arms.FINETUNED), 50)
    assert verdicts.REPRODUCED not in set(dinoortho.judged(values, pd.DataFrame(), "paper")["verdict"])


def scored(use: str, head: str = "", fraction: float = 1.0, split: str = "clean", trained_on: str = "") -> pd.DataFrame:
    frame = made_up({"SL": 1.0}, 40).drop(columns=["threshold", "specificity_threshold", "copies"])
    return frame.assign(use=use, head=head, fraction=fraction, split=split, trained_on=trained_on)


def test_arms_are_named_by_how_they_were_made():
    names = {
        "SL": scored(arms.FINETUNED),
        "SL, 12.5 % of the labels": scored(arms.FINETUNED, fraction=0.125),
        "SL, frozen, linear, 50 % of the labels": scored(arms.FROZEN, "linear", 0.5),
        "SL, copies taken out of training": scored(arms.FINETUNED, split="random without copies"),
        "SL, trained on fracatlas": scored(arms.TRANSFERRED, trained_on="fracatlas"),
    }
    found = numbers.labelled(pd.concat(names.values(), ignore_index=True))
    assert found["arm"].unique().tolist() == list(names)
    assert set(found.loc[found["copies"] != "", "split"]) == {"random"}
    assert found["threshold"].isna().eq(found["use"] == arms.TRANSFERRED).all()


def blocks_of(n_blocks: int, strength: dict[str, float]) -> pd.DataFrame:
    frame = made_up(strength, 120 * n_blocks)
    test = numbers.fine_tuned(frame)
    place = test["unit_id"].map({unit: i % n_blocks for i, unit in enumerate(test["unit_id"].unique())})
    return test.assign(block=[f"part {i}" for i in place])


def test_ranks_are_tested_with_enough_blocks_only():
    strength = {"random + SL": 0.5, "DINO-Ortho + SL": 1.5, "SL": 3.0}
    few = dinoortho.ranked(blocks_of(3, strength))
    assert "not computed: too few (3 blocks, 5 needed" in few.sentences and few.figure is not None
    enough = dinoortho.ranked(blocks_of(6, strength))
    assert "some arms differ" in enough.sentences and "random + SL and SL" in enough.sentences
    assert "no difference shown" in dinoortho.ranked(blocks_of(5, dict.fromkeys(strength, 1.0))).sentences
    none = dinoortho.ranked(blocks_of(6, {"SL": 1.0, "random + SL": 2.0}))
    assert none.figure is None and "not computed: 2 arms" in none.sentences
