"""Epochs to a reference's ROC AUC against a slow loop with scikit-learn and against known courses; refused input."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import compare
from ortholib.metrics.speed import COLUMNS, Course, differences, table
from ortholib.report.sentences import training_speed

EPOCHS, DRAWS = 4, 60


def noisy() -> list[Course]:
    """Three arms of two or three seeds that learn at different speed, on units of 1 to 4 a group, with tied scores."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(25), rng.integers(1, 5, 25))
    units = {"unit_id": [f"u{i:03d}" for i in range(len(group))], "group": group}
    y_true, shared = (rng.random(len(group)) < 0.4).astype(int), rng.normal(size=len(group))
    courses = []
    for arm, seeds, speed in (("quick", (0, 1, 2), 0.5), ("plain", (3, 4), 0.2), ("slow", (0, 1), 0.15)):
        for seed in seeds:
            frame = pd.DataFrame(units | {"y_true": y_true})
            for epoch in range(1, EPOCHS + 1):
                logit = speed * epoch * y_true + shared + rng.normal(size=len(group))
                frame[f"epoch_{epoch}"] = np.round(1 / (1 + np.exp(-logit)), 1)
            courses.append(Course(arm, seed, frame, rng.uniform(20, 40, EPOCHS)))
    return courses


def known(arm: str, found: list[int], seed: int = 0, seconds=None, positives: int = 20) -> Course:
    """After epoch e the first found[e - 1] positives lie above all negatives, the others below: AUC found / positives.

    The sets are nested, so that no draw lets fewer found ones rank better.
    """
    n = 2 * positives
    frame = pd.DataFrame({"unit_id": [f"u{i:02d}" for i in range(n)], "group": range(n), "y_true": [1, 0] * positives})
    order = np.where(frame["y_true"] == 1, np.arange(n) // 2, -1)
    for epoch, count in enumerate(found, start=1):
        frame[f"epoch_{epoch}"] = np.where(order < 0, 0.5, np.where(order < count, 0.9, 0.1))
    return Course(arm, seed, frame, np.full(len(found), 30.0) if seconds is None else np.asarray(seconds))


def slow_loop(courses: list[Course], weights) -> dict:
    """(arm, metric) -> mean over seeds, from the definition."""
    areas = {}
    for course in courses:
        columns = [f"epoch_{e}" for e in range(1, EPOCHS + 1)]
        scored = [roc_auc_score(course.scores["y_true"], course.scores[c], sample_weight=weights) for c in columns]
        areas[course.arm, course.seed] = scored
    target = np.mean([scored[-1] for (arm, _), scored in areas.items() if arm == "plain"])
    values = {}
    for course in courses:
        there = [e for e, area in enumerate(areas[course.arm, course.seed], 1) if area >= target - 1e-12]
        epoch = there[0] if there else EPOCHS + 1
        spent = sum(course.seconds[:epoch]) + (0 if there else np.mean(course.seconds))
        values.setdefault((course.arm, "epochs_to_reference"), []).append(epoch)
        values.setdefault((course.arm, "minutes_to_reference"), []).append(spent / 60)
    return {key: np.mean(of_seeds) for key, of_seeds in values.items()}


@pytest.fixture(scope="module")
def courses():
    return noisy()


def test_a_slow_loop_over_the_draws_finds_the_same(courses):
    found = table(courses, "plain", DRAWS)
    group, rng = courses[0].scores["group"].to_numpy(), np.random.default_rng(0)
    point = slow_loop(courses, np.ones(len(group)))
    counts = [np.bincount(rng.integers(0, 25, 25), minlength=25)[group] for _ in range(DRAWS)]
    drawn = pd.DataFrame([slow_loop(courses, weights) for weights in counts])
    assert list(found.columns) == COLUMNS and len(found) == 6
    for row in found.itertuples():
        low, high = np.quantile(drawn[row.arm, row.metric], [0.025, 0.975])
        assert row.value == pytest.approx(point[row.arm, row.metric], abs=1e-12)
        assert (row.low, row.high) == pytest.approx((low, high), abs=1e-12)
        assert low < high  # so that the draws are told apart
    assert set(found["n"]) == {len(group)} and set(found["n_groups"]) == {25} and set(found["draws"]) == {DRAWS}
    assert dict(zip(found["arm"], found["seeds"], strict=True)) == {"quick": 3, "plain": 2, "slow": 2}

    step = differences(courses, "plain", DRAWS)
    assert list(step.columns) == compare.COLUMNS
    pairs = [("quick", "plain"), ("slow", "plain")] * 2
    assert list(zip(step["arm"], step["reference"], strict=True)) == pairs
    for row in step.itertuples():
        slow = np.sort(drawn[row.arm, row.metric] - drawn["plain", row.metric])
        apart = point[row.arm, row.metric] - point["plain", row.metric]
        assert row.difference == pytest.approx(apart, abs=1e-12)
        assert row.se == pytest.approx(slow.std(ddof=1), abs=1e-12)
        assert (row.low, row.high) == pytest.approx((slow[0], slow[-1]), abs=1e-12)  # rank 61 x 0.025, so the first


def test_epochs_known_by_hand():
    seconds = [60, 120, 30, 30]
    made = [
        known("reference", [2, 8, 11, 12]),
        known("early", [11, 12, 5, 20], seconds=seconds),  # there at epoch 2, whatever comes after
        known("never", [1, 11, 11, 11], seconds=seconds),
    ]
    found = table(made, "reference", 100).set_index(["arm", "metric"])
    assert (found["target"] == 12 / 20).all() and (found["epochs"] == 4).all()
    epochs, minutes = (found.xs(f"{name}_to_reference", level=1) for name in ("epochs", "minutes"))
    assert dict(epochs["value"]) == {"reference": 4, "early": 2, "never": 5}
    assert dict(minutes["value"]) == {"reference": 2, "early": 3, "never": 5}  # 4 minutes and a mean epoch of 1
    assert dict(epochs["reached"]) == {"reference": 1, "early": 1, "never": 0}
    assert (epochs["high"] <= 5).all() and epochs.loc["reference", "high"] == 4
    late = "1 of 1 training does not reach it, counted as 5 epochs: slower than this says"
    assert dict(epochs["reason"]) == {"reference": "", "early": "", "never": late}


def test_seeds_are_averaged_in_target_and_value():
    made = [
        known("reference", [1, 1, 10, 10], seed=1),
        known("reference", [1, 1, 1, 14], seed=0, seconds=[60] * 4),
        known("other", [12, 12, 12, 12], seed=0),
        known("other", [3, 3, 12, 12], seed=1),
        known("other", [11, 11, 11, 11], seed=7, seconds=[6, 6, 6, 12]),
    ]
    found = table(made, "reference", 20).set_index(["arm", "metric"])
    assert set(found["target"]) == {(10 + 14) / 2 / 20}
    epochs, minutes = (found.xs(f"{name}_to_reference", level=1) for name in ("epochs", "minutes"))
    assert dict(epochs["value"]) == {"reference": (5 + 4) / 2, "other": (1 + 3 + 5) / 3}
    assert minutes["value"].to_dict() == pytest.approx({"reference": (2.5 + 4) / 2, "other": (0.5 + 1.5 + 0.625) / 3})
    assert dict(epochs["reached"]) == {"reference": 1, "other": 2}
    assert "1 of 3 trainings does not reach it" in epochs.loc["other", "reason"]


def test_order_of_rows_does_not_matter(courses):
    mixed = [
        course._replace(scores=course.scores.sample(frac=1, random_state=number))
        for number, course in enumerate(courses)
    ]
    pd.testing.assert_frame_equal(table(mixed, "plain", DRAWS), table(courses, "plain", DRAWS))
    pd.testing.assert_frame_equal(differences(mixed, "plain", DRAWS), differences(courses, "plain", DRAWS))


def test_told_says_each_direction():
    made = [
        known("reference", [2, 8, 11, 14]),
        known("quick-1", [16, 17, 18, 19]),
        known("slow", [1, 1, 1, 2]),
        known("alike", [2, 8, 10, 14]),
    ]
    lines = training_speed(table(made, "reference"), differences(made, "reference")).splitlines()
    assert [line.split()[1] for line in lines] == ["quick-1", "slow", "alike"]
    quick, slow, alike = lines
    assert quick.startswith(
        "- quick-1 reaches the final validation ROC AUC of reference, 0.700, after 1.0 (95 % interval 1.0 to 1.0) "
        "of 4 epochs, against 4.0 of the reference itself: in fewer epochs (difference −3.0; at Holm's level −3.0 to −"
    )
    assert "1 of 1 training reached it (1 of 1 of the reference)" in quick
    assert "In minutes, which hold for this machine: 0.50 (95 % interval 0.50 to 0.50), against 2.00: in few" in quick
    assert "slow does not reach" in slow and "in 4 epochs, and counts as 5.0 (95 % interval 5.0 to 5.0; 1 of 1 " in slow
    assert ": in more epochs (difference 1.0; at Holm's level 1.0 to " in slow and "in more minutes" in slow
    assert slow.count("slower than this says") == 1 and "0 of 1 training reached it" in slow
    assert alike.count("no difference shown") == 2 and "difference 0.0" in alike


def test_told_says_where_nothing_can_be_tested():
    made = [known("reference", [2, 8, 11, 14]), known("quick", [16, 17, 18, 19])]
    few = training_speed(table(made, "reference", 20), differences(made, "reference", 20))
    assert "no difference shown (difference −3.0; " in few and "20 draws cannot reach 0.05" in few

    halves = [course._replace(scores=course.scores.assign(group=course.scores["y_true"])) for course in made]
    found = table(halves, "reference", 100)
    assert found["low"].isna().all() and found["n_undefined_draws"].gt(20).all()
    assert found["reason"].str.contains("draws are undefined").all()
    said = training_speed(found, differences(halves, "reference", 100))
    assert "no interval of the difference (difference −3.0" in said


def refused(courses, pattern, error=OrthoError, reference="plain"):
    for asked in (table, differences):
        with pytest.raises(error, match=pattern):
            asked(courses, reference, 20)


def test_courses_that_cannot_be_meant(courses):
    first, *others = courses
    unit = first.scores["unit_id"] == "u000"

    def changed(**columns):
        return [first._replace(scores=first.scores.assign(**columns)), *others]

    refused([first._replace(scores=first.scores[~unit]), *others], "scored different units .*u000")
    refused(changed(group=first.scores["group"].where(~unit, 99)), "group in seed .*first unit_id u000")
    refused(changed(y_true=1 - first.scores["y_true"]), "y_true in seed .*first unit_id u000")
    refused([first._replace(scores=pd.concat([first.scores, first.scores[:1]])), *others], "repeated unit_id in seed 0")
    refused(changed(epoch_2=np.nan), "epoch_2 of arm 'quick', seed 0, is no probability: .* epoch_2 nan")
    refused(changed(epoch_4=2.0), "epoch_4 of arm 'quick', seed 0, is no probability")
    lacking = first._replace(scores=first.scores.drop(columns="epoch_2"))
    refused([lacking, *others], "arm 'quick', seed 0, scores after every epoch: no column epoch_2")
    shorter = first._replace(scores=first.scores.drop(columns="epoch_4"), seconds=first.seconds[:3])
    refused([*others, shorter], "arm 'quick', seed 0, has 3 epochs, arm 'quick', seed 1, has 4; epochs are missing")
    none = first._replace(scores=first.scores[["unit_id", "group", "y_true"]])
    refused([none, *others], "no column epoch_1")
    refused([first._replace(seconds=first.seconds[:3]), *others], "seconds of arm 'quick', seed 0, .*expected 4 pos")
    refused([first._replace(seconds=first.seconds * np.nan), *others], "seconds of arm 'quick'")
    refused([*courses, first], "arm 'quick', seed 0, is given twice")
    for column, value, pattern in (("group", "g", "one group"), ("y_true", 0, "one class")):
        same = [course._replace(scores=course.scores.assign(**{column: value})) for course in courses]
        refused(same, f"all .* units are of {pattern}")


def test_wrong_usage(courses):
    refused(courses, r"no arm 'best' to be the reference; there are: \['quick', 'plain', 'slow'\]", UsageError, "best")
    refused([], "no arm 'plain' to be the reference", UsageError)
    alone = [course for course in courses if course.arm == "plain"]
    assert len(table(alone, "plain", 20)) == 2
    with pytest.raises(UsageError, match="nothing to compare"):
        differences(alone, "plain", 20)
