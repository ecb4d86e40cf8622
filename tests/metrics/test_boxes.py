"""Detection against torchvision (overlap), pycocotools (stored, `fixtures/coco/make.py`) and FROC written naively."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.ops import box_iou

from ortholib.errors import OrthoError
from ortholib.metrics import boxes as det

COCO = Path(__file__).parents[1] / "fixtures" / "coco"


@pytest.fixture(scope="module")
def coco():
    expected = json.loads((COCO / "expected.json").read_text())
    detections, truths = pd.read_csv(COCO / "detections.csv"), pd.read_csv(COCO / "truths.csv")
    return detections, truths, expected, det.match(detections, truths, expected["images"])


def boxes(rows, columns=("image_id", "x0", "y0", "x1", "y1", "score")) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns[: len(rows[0])]) if rows else list(columns))


def test_overlap_equals_torchvision():
    rng = np.random.default_rng(0)
    first, second = (np.column_stack([c, c + rng.uniform(0, 60, c.shape)]) for c in rng.uniform(0, 80, (2, 30, 2)))
    expected = box_iou(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    np.testing.assert_allclose(det.iou(first, second), expected, atol=1e-12)
    assert det.iou([[1, 1, 1, 1]], [[1, 1, 1, 1]])[0, 0] == 0
    assert det.iou(np.empty((0, 4)), second).shape == (0, 30)


def test_average_precision_equals_pycocotools(coco):
    _, _, expected, matches = coco
    np.testing.assert_allclose(det.average_precision(matches)[0], expected["all"], atol=1e-12)


def test_weights_are_repeated_images(coco):
    _, _, expected, matches = coco
    draws = expected["resampled"]
    weights = np.array([[draw["images"].count(name) for name in expected["images"]] for draw in draws])
    np.testing.assert_allclose(det.average_precision(matches, weights), [draw["ap"] for draw in draws], atol=1e-12)


def test_images_without_a_truth_cost_precision():
    detections = boxes([("a", 0, 0, 10, 10, 0.8), ("empty", 0, 0, 10, 10, 0.9)])
    truths = boxes([("a", 0, 0, 10, 10)])
    assert det.average_precision(det.match(detections[:1], truths, ["a", "empty"]))[0, 0] == pytest.approx(1)
    assert det.average_precision(det.match(detections, truths, ["a", "empty"]))[0, 0] == pytest.approx(0.5)


def test_each_truth_is_found_once_and_the_highest_score_chooses_first():
    truths = boxes([("a", 0, 0, 10, 10), ("a", 0, 2, 10, 12), ("other part", 0, 0, 5, 5)])
    detections = boxes(
        [("a", 0, 0, 10, 10, 0.5), ("a", 0, 1, 10, 11, 0.9), ("a", 0, 0, 10, 10, 0.7), ("a", 0, 2, 10, 12, 0.4)]
    )
    matches = det.match(detections, truths, ["a"])
    assert list(matches.score) == [0.9, 0.7, 0.5, 0.4] and list(matches.truths) == [2]
    # 0.9 overlaps both alike and takes the last, as COCO does; 0.7 the other; nothing is left for the rest
    assert list(matches.hit[:, 0]) == [True, True, False, False]
    assert det.average_precision(matches)[0, 0] == pytest.approx(1)
    # the same by hand at 0.9: the middle one finds nothing, then one truth, then none free, then the other
    assert det.IOUS[8].round(9) == 0.9 and list(matches.hit[:, 8]) == [False, True, False, True]


def naive_froc(matches, repeats, rate: float) -> float:
    """Largest sensitivity over all thresholds whose false positives are at most `rate` an image."""
    best, truths = 0.0, (matches.truths * repeats).sum()
    for threshold in np.unique(matches.score):
        shown = matches.score >= threshold
        false = sum(repeats[i] for i, hit in zip(matches.image[shown], matches.hit[shown, 0], strict=True) if not hit)
        found = sum(repeats[i] for i, hit in zip(matches.image[shown], matches.hit[shown, 0], strict=True) if hit)
        if false <= rate * repeats.sum() + 1e-9:
            best = max(best, found / truths)
    return best


@pytest.mark.parametrize("digits", [6, 1])
def test_froc_is_its_definition(coco, digits):
    detections, truths, expected, _ = coco
    matches = det.match(detections.assign(score=detections["score"].round(digits)), truths, expected["images"])
    weights = np.random.default_rng(0).poisson(1.0, (3, len(matches.images))).astype(float)
    found = det.froc(matches, weights)
    for i, repeats in enumerate(weights):
        np.testing.assert_allclose(found[i], [naive_froc(matches, repeats, rate) for rate in det.RATES])
    assert (np.diff(found, axis=1) >= 0).all()


def test_what_a_reader_sees_at_a_score(coco):
    detections, truths, expected, matches = coco
    seen = {name: value[0] for name, value in det.at_score(matches, 0.4).items()}
    shown = detections[detections["score"] >= 0.4]
    empty = set(expected["images"]) - set(truths["image_id"])
    right = matches.hit[matches.score >= 0.4, 0].sum()
    assert seen["sensitivity"] == pytest.approx(right / len(truths))
    assert seen["precision"] == pytest.approx(right / (matches.score >= 0.4).sum())
    assert seen["false_positives"] == pytest.approx(((matches.score >= 0.4).sum() - right) / len(expected["images"]))
    assert seen["false_alarms"] == pytest.approx(len(empty & set(shown["image_id"])) / len(empty))


def test_tables_carry_intervals_by_group(coco):
    _, truths, _, matches = coco
    groups = np.arange(len(matches.images)) // 2
    table = det.detection_table(matches, groups, draws=200)
    values = det.average_precision(matches)[0]
    assert list(table["metric"]) == ["ap50", "ap50_95"]
    np.testing.assert_allclose(table["value"], [values[0], values.mean()])
    assert ((table["low"] < table["value"]) & (table["value"] < table["high"])).all()
    assert (table["n"] == 40).all() and (table["n_groups"] == 20).all()
    curve = det.froc_table(matches, groups, draws=100)
    assert list(curve["false_positives_per_image"]) == list(det.RATES) and (curve["n_truths"] == len(truths)).all()
    assert ((curve["low"] <= curve["sensitivity"]) & (curve["sensitivity"] <= curve["high"])).all()


def test_nothing_found_and_nothing_to_find():
    truths, nothing = boxes([("a", 0, 0, 10, 10)]), boxes([])
    silent = det.match(nothing, truths, ["a", "b"])
    assert (det.average_precision(silent) == 0).all() and (det.froc(silent) == 0).all()
    assert np.isnan(det.at_score(silent, 0.5)["precision"]).all() and det.at_score(silent, 0.5)["false_alarms"] == 0
    healthy = det.match(boxes([("b", 0, 0, 9, 9, 0.9)]), truths, ["b"])
    assert np.isnan(det.average_precision(healthy)).all() and np.isnan(det.froc(healthy)).all()
    assert det.at_score(healthy, 0.5)["false_alarms"] == 1
    table = det.detection_table(healthy, ["b"], draws=10)
    assert table["reason"].ne("").all() and table["value"].isna().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d, t: det.match(d, t, ["a", "a"]), "image a is twice"),
        (lambda d, t: det.match(d, t, ["b"]), "images that were not scored: 1 .* image_id a"),
        (lambda d, t: det.match(d.assign(score=np.nan), t, ["a"]), "detections that are no boxes: 1 .* a"),
        (lambda d, t: det.match(d, t.assign(x1=-1.0), ["a"]), "truths that are no boxes"),
        (lambda d, t: det.match(d.drop(columns="score"), t, ["a"]), "detections: no column score"),
        (lambda d, t: det.match(pd.concat([d.assign(arm=1), d.assign(arm=2)]), t, ["a"]), "several arm"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, message):
    with pytest.raises(OrthoError, match=message):
        call(boxes([("a", 0, 0, 10, 10, 0.9)]), boxes([("a", 0, 0, 10, 10)]))
