"""Detectors: boxes matched to truths once, then average precision by COCO's rule and FROC for any weights of images.

Boxes are x0, y0, x1, y1 in pixels of the original, edges and not centres. Every image that was scored counts, with
boxes or without: one without a fracture and with an alarm costs precision. Weights are (D, images), a row for each
bootstrap draw, or None: groups of images are resampled, and nothing is matched again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ortholib.errors import OrthoError
from ortholib.metrics import bootstrap
from ortholib.metrics.frames import need, one_each, refuse
from ortholib.metrics.scores import _as_weights, _ratio

IOUS = np.linspace(0.5, 0.95, 10)  # of COCO, as its code writes them
RECALLS = np.linspace(0, 1, 101)
MOST = 100  # detections an image that COCO looks at, the highest scores
RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # false positives an image: those of LUNA16, arXiv:1612.08012
CORNERS = ["x0", "y0", "x1", "y1"]


class Matches(NamedTuple):
    """Detections of all images from the highest score down, and which of them found a truth of their own."""

    images: tuple  # of the images scored, their ids; weights follow this order
    truths: np.ndarray  # (images,) int: boxes to be found
    score: np.ndarray  # (d,) falling
    image: np.ndarray  # (d,) int: place in `images`
    hit: np.ndarray  # (d, 10) bool: found a truth at each of `IOUS`


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Area of intersection over union of boxes (n, 4) and (m, 4): (n, m), 0 for two boxes without area."""
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    area, other = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second))
    return np.nan_to_num(_ratio(both, area[:, None] + other[None] - both))


def match(detections: pd.DataFrame, truths: pd.DataFrame, images: Sequence) -> Matches:
    """Match the detections of each image to its truths, greedily: the rule of COCO's `evaluateImg`, one class.

    detections  columns image_id, x0, y0, x1, y1, score, of one arm and seed
    truths      columns image_id, x0, y0, x1, y1; those of images not in `images` are of other parts and left out
    images      ids of every image that was scored, those without a detection or a truth included

    The highest score chooses first (among equals the first row), takes the truth that it overlaps most of those still
    free, and is false when that overlap is too small: a second box on one fracture is a false positive. The 100 highest
    an image count. Raises OrthoError for boxes that are none, scores that are no numbers, detections on images that are
    not in `images`, and images named twice.
    """
    images = tuple(images)
    place = pd.Series(np.arange(len(images)), index=pd.Index(images))
    if not place.index.is_unique:
        raise OrthoError(
            f"image {place.index[place.index.duplicated()][0]} is twice in the images scored; name it once"
        )
    _check(detections, [*CORNERS, "score"], "detections")
    _check(truths, CORNERS, "truths")
    strange = ~detections["image_id"].isin(place.index)
    refuse(detections, strange, "detections on images that were not scored", "list them", ["image_id"])
    of_image = dict(list(truths[truths["image_id"].isin(place.index)].groupby("image_id")))
    count = np.array([len(of_image.get(name, ())) for name in images], dtype=np.int64)
    scores, owners, hits = [np.empty(0)], [np.empty(0, dtype=np.int64)], [np.empty((0, len(IOUS)), dtype=bool)]
    by_image = dict(list(detections.groupby("image_id")))
    for name in images:
        if name not in by_image:
            continue
        found = by_image[name].sort_values("score", ascending=False, kind="stable").head(MOST)
        boxes = of_image[name][CORNERS].to_numpy(dtype=np.float64) if name in of_image else np.empty((0, 4))
        scores.append(found["score"].to_numpy(dtype=np.float64))
        owners.append(np.full(len(found), place[name]))
        hits.append(_greedy(iou(found[CORNERS].to_numpy(dtype=np.float64), boxes)))
    score, image, hit = np.concatenate(scores), np.concatenate(owners), np.concatenate(hits)
    order = np.argsort(-score, kind="stable")
    return Matches(images, count, score[order], image[order], hit[order])


def _greedy(overlap: np.ndarray) -> np.ndarray:
    """Which detections (rows of overlap (d, m), highest score first) find a free truth: (d, 10)."""
    hit = np.zeros((len(overlap), len(IOUS)), dtype=bool)
    for t, least in enumerate(IOUS if overlap.shape[1] else ()):
        free = np.ones(overlap.shape[1], dtype=bool)
        for row, values in enumerate(overlap):
            left = np.where(free, values, -1)
            best = left.shape[0] - 1 - int(np.argmax(left[::-1]))  # the last among equals, as COCO takes
            if left[best] >= min(least, 1 - 1e-10):
                free[best], hit[row, t] = False, True
    return hit


def _check(boxes: pd.DataFrame, numbers: list[str], what: str) -> None:
    need(boxes, ["image_id", *numbers], what)
    one_each(boxes, ("arm", "seed"))
    values = boxes[numbers].to_numpy(dtype=np.float64)
    bad = ~np.isfinite(values).all(axis=1) | (values[:, 2] < values[:, 0]) | (values[:, 3] < values[:, 1])
    show = ["image_id", *numbers]
    refuse(boxes, bad, f"{what} that are no boxes", "expected finite x0 <= x1 and y0 <= y1 in pixels", show)


def average_precision(matches: Matches, weights=None) -> np.ndarray:
    """Average precision (D, 10) at each of `IOUS`: the mean of the precision at 101 recalls, COCO's `accumulate`.

    At each recall the best precision at that recall or a higher one. Equal to pycocotools on a data set in which an
    image stands as often as its weight says, but for ties of scores between images, which it takes in order of rows.
    NaN without a truth.
    """
    values = []
    for weight in _as_weights(weights, len(matches.images)):
        truths = weight @ matches.truths
        taken = weight[matches.image]
        kept = taken > 0
        if not truths or not kept.any():
            values.append(np.full(len(IOUS), 0.0 if truths else np.nan))
            continue
        taken, hit = taken[kept], matches.hit[kept].T
        positives = np.cumsum(taken * hit, axis=1)
        precision = positives / (np.cumsum(taken) + np.spacing(1))
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        envelope = np.column_stack([envelope, np.zeros(len(envelope))])  # a recall that is never reached has 0
        first = [np.searchsorted(recall, RECALLS) for recall in positives / truths]
        values.append(np.mean(np.take_along_axis(envelope, np.array(first), axis=1), axis=1))
    return np.array(values).reshape(-1, len(IOUS))


def froc(matches: Matches, weights=None) -> np.ndarray:
    """Sensitivity by truth (D, R) at most `RATES` false positives an image, at IoU 0.5: the FROC curve as a step.

    The lowest score whose false positives stay within the rate decides; equal scores enter together. NaN without a
    truth or an image. Bunch et al., 1978, doi:10.1117/12.955926.
    """
    hit = matches.hit[:, 0]
    ends = np.append(np.flatnonzero(np.diff(matches.score)), len(matches.score) - 1) if len(hit) else []
    sensitivities = []
    for weight in _as_weights(weights, len(matches.images)):
        truths, count = weight @ matches.truths, weight.sum()
        if not truths:
            sensitivities.append(np.full(len(RATES), np.nan))
            continue
        taken = weight[matches.image]
        found = np.append(0, np.cumsum(taken * hit)[ends] if len(hit) else [])
        false = np.append(0, np.cumsum(taken * ~hit)[ends] if len(hit) else [])
        last = np.searchsorted(false, np.asarray(RATES) * count + 1e-9, side="right") - 1
        sensitivities.append(found[last] / truths)
    return np.array(sensitivities).reshape(-1, len(RATES))


def at_score(matches: Matches, threshold: float, weights=None) -> dict[str, np.ndarray]:
    """What a reader sees who is shown the boxes with score >= threshold (chosen on validation), at IoU 0.5.

    name -> (D,): sensitivity (truths found), precision (boxes that are right), false_positives (wrong boxes an image),
    false_alarms (share of the images without a truth that show a box).
    """
    shown = matches.score >= threshold
    hit, image = matches.hit[shown, 0], matches.image[shown]
    weights = _as_weights(weights, len(matches.images))
    found, false = (np.bincount(image[which], minlength=len(matches.images)) for which in (hit, ~hit))
    empty = matches.truths == 0
    right, wrong = weights @ found, weights @ false
    return {
        "sensitivity": _ratio(right, weights @ matches.truths),
        "precision": _ratio(right, right + wrong),
        "false_positives": _ratio(wrong, weights.sum(1)),
        "false_alarms": _ratio(weights @ (empty & (false > 0)), weights @ empty),
    }


def detection_table(matches: Matches, groups, draws: int = bootstrap.DRAWS) -> pd.DataFrame:
    """AP at IoU 0.5 (`ap50`) and as the mean over 0.50 to 0.95 (`ap50_95`), with group-clustered 95 % intervals.

    groups  (images,) patient or duplicate group of each of `matches.images`

    Columns are those of `bootstrap.bootstrap`; n counts images, empty ones included.
    """

    def compute(weights):
        values = average_precision(matches, weights)
        return {"ap50": values[:, 0], "ap50_95": values.mean(axis=1)}

    return bootstrap.bootstrap(compute, groups, draws)


def froc_table(matches: Matches, groups, draws: int = bootstrap.DRAWS) -> pd.DataFrame:
    """FROC curve with pointwise group-clustered 95 % intervals: a row for each rate of false positives.

    groups  (images,) of each of `matches.images`

    Columns false_positives_per_image, sensitivity, low, high, n (images), n_groups, n_truths.
    """

    def compute(weights):
        return dict(zip(RATES, froc(matches, weights).T, strict=True))

    table = bootstrap.bootstrap(compute, groups, draws)
    table = table.rename(columns={"metric": "false_positives_per_image", "value": "sensitivity"})
    table["n_truths"] = int(matches.truths.sum())
    return table[["false_positives_per_image", "sensitivity", "low", "high", "n", "n_groups", "n_truths"]]
