"""Sentences that surgeons read: every branch, and the inputs that could make them say something false."""

import math

import pandas as pd
import pytest

from ortholib import wording
from ortholib.report import sentences

NAN = math.nan


def row(value=0.788, low=0.765, high=0.81, reason="", **more) -> pd.Series:
    return pd.Series({"value": value, "low": low, "high": high, "reason": reason, **more})


def recalls(*rows: tuple) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["name", "value", "low", "high"])
    return frame.assign(reason="")


@pytest.mark.parametrize(
    ("n", "noun", "plural", "text"),
    [
        (0, "image", None, "0 images"),
        (1, "image", None, "1 image"),
        (1656, "image", None, "1,656 images"),
        (2, "study", "studies", "2 studies"),
        (1, "study", "studies", "1 study"),
    ],
)
def test_count(n, noun, plural, text):
    assert wording.count(n, noun, plural) == text


def test_interval():
    assert sentences.interval(row()) == "0.788 (95 % interval 0.765 to 0.810)"
    assert sentences.interval(row(), 2) == "0.79 (95 % interval 0.77 to 0.81)"
    one_class = row(NAN, NAN, NAN, "undefined: needs units of both classes")
    assert sentences.interval(one_class) == "not computable (undefined: needs units of both classes)"
    one_group = row(low=NAN, high=NAN, reason="no interval: all units are of one group")
    assert sentences.interval(one_group) == "0.788 (no interval: all units are of one group)"
    biased = row(0.05, 0.06, 0.09, "value outside its interval: the metric is biased under resampling")
    assert sentences.interval(biased).endswith("0.090; " + biased["reason"] + ")")


@pytest.mark.parametrize(
    ("ours", "begins"),
    [
        (row(0.7, 0.65, 0.81), "The whole interval lies below the 2 published values (0.82 to 0.88)"),
        (row(0.9, 0.89, 0.95), "The whole interval lies above the 2 published values (0.82 to 0.88)"),
        (row(0.8, 0.78, 0.82), "The interval overlaps the range of the 2 published values (0.82 to 0.88)"),
        (row(0.85, 0.84, 0.86), "The interval overlaps the range of the 2 published values (0.82 to 0.88)"),
        (row(0.9, 0.88, 0.92), "The interval overlaps the range of the 2 published values (0.82 to 0.88)"),
        (row(0.9, NAN, NAN, "one group"), "No comparison is possible: one group."),
        (row(NAN, NAN, NAN, "one class"), "No comparison is possible: one class."),
    ],
)
def test_against_published(ours, begins):
    sentence = sentences.against_published(ours, pd.Series([0.88, 0.82]), "real")
    assert sentence.startswith(begins) and sentence.endswith(".")
    assert not {"reproduced", "better", "worse", "significant"} & set(sentence.split())
    assert "Generated" in sentences.against_published(ours, pd.Series([0.88, 0.82]), "phantom")


def test_against_one_or_no_published_value():
    one = sentences.against_published(row(), pd.Series([0.88]), "paper")
    assert one.startswith("The whole interval lies below the one published value (0.88), which comes from")
    none = sentences.against_published(row(), pd.Series([], dtype=float), "real")
    assert none == "No comparison is possible: there is no published value."


def test_hardest_apart():
    table = recalls(("KL 0", 0.9, 0.8, 1.0), ("KL 1", 0.3, 0.2, 0.4), ("KL 2", 0.6, 0.5, 0.7))
    assert sentences.hardest(table) == (
        "KL 1 is found least often: recall 0.30 (95 % interval 0.20 to 0.40), below every other class with images, "
        "intervals apart."
    )
    assert "apart" in sentences.hardest(pd.concat([table, recalls(("KL 3", NAN, NAN, NAN))]))  # no images: not ranked


def test_hardest_overlapping():
    for low in (0.35, 0.4):  # touching is not apart
        table = recalls(("KL 0", 0.9, 0.8, 1.0), ("KL 1", 0.3, 0.2, 0.4), ("KL 2", 0.5, low, 0.6))
        assert sentences.hardest(table).endswith("though its interval overlaps another class's.")


@pytest.mark.parametrize("missing", [0, 1])
def test_hardest_without_an_interval_is_not_apart(missing):
    table = recalls(("KL 0", 0.9, 0.8, 1.0), ("KL 1", 0.3, 0.2, 0.4))
    table.loc[missing, ["low", "high", "reason"]] = [NAN, NAN, "no interval: all units are of one group"]
    sentence = sentences.hardest(table)
    assert "intervals apart" not in sentence and "overlaps" not in sentence
    assert sentence.endswith("though not every class has an interval, so none is shown to lie apart.")


def test_hardest_ties_and_too_few():
    tied = recalls(("KL 0", 0.9, 0.8, 1.0), ("KL 1", 0.0, 0.0, 0.0), ("KL 2", 0.0, 0.0, 0.0))
    assert sentences.hardest(tied) == "KL 1 and KL 2 are found least often, equally so: recall 0.00."
    equal = recalls(("KL 0", 1.0, 1.0, 1.0), ("KL 1", 1.0, 1.0, 1.0))
    assert sentences.hardest(equal) == "All 2 classes are found equally often: recall 1.00."
    three = recalls(*((f"KL {k}", 0.0, 0.0, 0.0) for k in range(3)), ("KL 4", 0.5, 0.4, 0.6))
    assert sentences.hardest(three).startswith("KL 0, KL 1 and KL 2 are")
    for table in (recalls(), recalls(("KL 0", 0.9, 0.8, 1.0)), recalls(("a", NAN, NAN, NAN), ("b", 1.0, 1.0, 1.0))):
        assert sentences.hardest(table) == "Too few classes have images in test to rank them."


@pytest.mark.parametrize(
    ("confidence", "accuracy", "begins"),
    [
        (0.80, 0.70, "On average it is surer than it is right: mean confidence 0.80, accuracy 0.70; ECE 0.788 ("),
        (0.60, 0.70, "On average it is less sure than it is right:"),
        (0.705, 0.70, "On average it is about as sure as it is right:"),
        (0.695, 0.70, "On average it is about as sure as it is right:"),
        (NAN, NAN, "Whether its confidence can be believed is not computable"),
    ],
)
def test_calibration(confidence, accuracy, begins):
    assert sentences.calibration(row(), confidence, accuracy).startswith(begins)


def test_calibration_without_an_interval():
    sentence = sentences.calibration(row(0.1, NAN, NAN, "no interval: all units are of one group"), 0.8, 0.7)
    assert sentence.endswith("ECE 0.100 (no interval: all units are of one group).")


def test_crossing():
    assert sentences.crossing(0, 1656) == "No patient stands in more than one official part (1,656 patients)."
    assert sentences.crossing(0, 1) == "No patient stands in more than one official part (1 patient)."
    assert sentences.crossing(1, 10) == "**1 of 10 patients stands in more than one official part**: scores on it leak."
    assert sentences.crossing(1200, 2000).startswith("**1,200 of 2,000 patients stand in")


def test_audit_names_every_count():
    counts = {
        "images": 4083, "truncated": 59, "exif_rotated": 25, "pixel_duplicate_groups": 79,
        "pixel_duplicate_images": 163, "pixel_duplicate_groups_truncated": 1, "near_duplicate_groups": 85,
        "near_duplicate_images": 181, "conflicting_groups": 4, "leaked": {"train": 14, "val": 14, "test": 0},
        "leaked_identical": {"train": 8, "val": 8, "test": 0},
    }  # fmt: skip
    text = sentences.audit(counts)
    for piece in ("59 truncated files of 4,083", "25 files", "79 groups", "163 files", "85 groups", "181 images"):
        assert piece in text
    assert "with a copy in another: 14 of train, 14 of val; pixel-identical: 8 of train, 8 of val." in text
    clean = sentences.audit(counts | {"leaked": dict.fromkeys(counts["leaked"], 0), "leaked_identical": {}})
    assert "with a copy in another: none; pixel-identical: none." in clean
    nothing = dict.fromkeys(counts, 0) | {"images": 12, "leaked": {}, "leaked_identical": {}}
    assert sentences.audit(nothing) == "- No truncated or turned file and no copy among 12 images."
    assert sentences.audit(nothing | {"implausible": 2}).startswith("- 2 pictures constant, nearly black or white,")
    turned = sentences.audit(nothing | {"exif_rotated": 1})
    assert turned == "- 0 truncated files of 12; 1 file to be turned by the EXIF tag."


def test_shortcut_claims_nothing_that_its_interval_does_not():
    table = pd.DataFrame(
        {
            "trait": ["hardware", "multiscan"],
            "images": [99, 1],
            "positive": [97, 0],
            "low": [0.55, 0.48],
            "high": [0.58, 0.52],
        }
    )
    text = sentences.shortcuts(table)
    assert text == (
        "hardware: 97 of 99 images positive, tells the label; "
        "multiscan: 0 of 1 image positive, does not clearly tell the label."
    )
    assert sentences.shortcuts(table.iloc[:0]) == "No trait to test."


def change(temperature=1.4, step=(-0.03, -0.04, -0.02), seeds=1) -> pd.DataFrame:
    rows = [
        (metric, scaling, *numbers)
        for metric in ("nll", "brier", "ece")
        for scaling, numbers in (
            ("before", (0.07, 0.06, 0.08)),
            ("after", (0.04, 0.03, 0.05)),
            ("after - before", step),
        )
    ]
    frame = pd.DataFrame(rows, columns=["metric", "scaling", "value", "low", "high"])
    return frame.assign(reason="", seeds=seeds, temperature=temperature)


def test_recalibration():
    told = sentences.recalibration(change())
    assert told.startswith("Temperature fitted on validation: T = 1.40; the probabilities were too sure there.")
    ece = "ECE on test 0.070 before, 0.040 after, difference −0.0300 (95 % interval −0.0400 to −0.0200): better."
    assert ece in told and told.endswith("better.") and "Negative log likelihood on test" in told
    assert "T = 0.80, mean of 3 trainings; the probabilities were too cautious" in sentences.recalibration(
        change(0.8, seeds=3)
    )
    assert "T = 1.01; the probabilities were about right there" in sentences.recalibration(change(1.01))
    assert "worse" in sentences.recalibration(change(step=(0.03, 0.02, 0.04)))
    undecided = sentences.recalibration(change(step=(0.01, -0.01, 0.02)))
    assert "(95 % interval −0.0100 to 0.0200): no change shown" in undecided
    assert "difference 0.0000 (95 % interval 0.0000 to 0.0000)" in sentences.recalibration(
        change(step=(-1e-6, -1e-5, 1e-5))
    )
    one_group = change(step=(0.03, NAN, NAN)).assign(reason="no interval: all units are of one group")
    assert "no interval of the change" in sentences.recalibration(one_group)
    assert "not computable" in sentences.recalibration(change(step=(NAN, NAN, NAN)))


def spreads(seeds: int, **more) -> pd.DataFrame:
    row = {"metric": "accuracy", "value": 0.6, "seeds": seeds, "seed_sd": 0.01, "between_seed_sd": 0.008}
    return pd.DataFrame([row | {"sampling_sd": 0.012, "one_seed_sd": 0.013} | more])


def test_seed_spread():
    names = {"accuracy": "accuracy"}
    once = sentences.seed_spread(spreads(1, seed_sd=NAN), names)
    assert once.startswith("Trained once: what another training would change is not known.") and "by 0.013" in once
    several = sentences.seed_spread(spreads(3), names)
    assert several.startswith("- accuracy: another training moves it by 0.010, another test set of as many patients by")
    assert "by 0.013; the mean of these trainings by 0.012" in several
    assert "over 3 trainings is known to a factor of 0.5 to 6.3." in several
    assert sentences.seed_spread(spreads(3, one_seed_sd=NAN), names) == "Neither spread is computable on these units."


def test_verdicts():
    judged = pd.DataFrame({"claim": list("aabc"), "verdict": ["reproduced", "reproduced", "none", "related evidence"]})
    assert sentences.verdicts(judged) == (
        "Of 3 published numbers and claims: 1 reproduced, 1 without verdict, 1 related evidence."
    )
    assert sentences.verdicts(judged.head(1)) == "Of 1 published number or claim: 1 reproduced."
