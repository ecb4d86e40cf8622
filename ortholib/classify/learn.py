"""A learner on an embedding: its settings chosen on validation, its scores of validation and test kept."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from ortholib import progress
from ortholib.classify import learners
from ortholib.data import ids
from ortholib.data.labelled import Labelled, predictions
from ortholib.errors import OrthoError
from ortholib.metrics.scores import selection_metric, youden_threshold
from ortholib.settings import Learn


def train(data: Labelled, settings: Learn, folder: Path, weights: Path) -> dict:
    """Fit the learner with each of its settings; write `predictions.parquet` (validation and test, ids hashed) of the
    best on validation, and `history.parquet`, a row a try. weights: `features.npy` of the embedding.

    Returns the record: what was chosen, on which validation value. Raises OrthoError for an embedding of other images
    than the labels, or of one class only, UsageError for an unknown learner.
    """
    features = np.load(weights, mmap_mode="r")
    embedded = pd.read_parquet(weights.with_name("images.parquet"))["unit_id"].to_numpy()
    wanted = ids.hashed(data.unit_id, settings.dataset)
    if len(embedded) != len(wanted) or (embedded != np.asarray(wanted)).any():
        both = len(set(embedded) & set(wanted))
        raise OrthoError(
            f"{weights} embeds {len(embedded)} images, {both} of them among the {len(wanted)} with a label, which have "
            "to be the same in the same order. Make the embedding for this set, task and split."
        )
    parts = {name: np.flatnonzero(data.part == name) for name in ("train", "val", "test")}
    if len(np.unique(data.y[parts["train"]])) < 2:
        few = f"all {len(parts['train'])} training images are of one class ({data.y[parts['train']][:1]})"
        raise OrthoError(f"{few}; a learner needs two or more.")
    pairs = [(np.asarray(features[parts[name]]), data.y[parts[name]]) for name in ("train", "val")]
    tried, best, started = [], None, time.perf_counter()
    asked = learners.fitted(settings.learner, settings.tries, settings.seed, *pairs)
    for chosen, head in progress.bar(asked, desc=settings.learner, total=settings.tries, leave=False):
        probability = learners.scores(head, pairs[1][0], len(data.classes))
        metric = selection_metric(pairs[1][1], probability, data.kind)
        tried.append(chosen | {"val_metric": metric})
        if best is None or metric > best[0]:
            best = metric, chosen, head
    scored = np.flatnonzero(np.isin(data.part, ["val", "test"]))
    probability = learners.scores(best[2], np.asarray(features[scored]), len(data.classes))
    frame = predictions(data, settings, scored, probability, settings.learner)
    frame.to_parquet(folder / "predictions.parquet")
    pd.DataFrame(tried).to_parquet(folder / "history.parquet")
    threshold = None
    if data.kind == "binary":
        known = frame[frame["part"] == "val"]
        threshold = youden_threshold(known["y_true"], known["score_1"])
    return {
        "steps": 0,
        "images_per_s": len(tried) * len(parts["train"]) / (time.perf_counter() - started),
        "mfu": None,
        "chosen": best[1],
        "val_metric": best[0],
        "threshold": threshold,
        "features": features.shape[1],
        "counts": {name: len(rows) for name, rows in parts.items()},
    }
