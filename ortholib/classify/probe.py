"""Probes: how much of a label lies in a frozen backbone's features, without training the backbone.

The protocol of the DINO paper (Caron et al. 2021, arXiv 2104.14294, section 4.1): a linear classifier, or a weighted
vote of the nearest training images. What either leaves open (penalty, number of neighbours) is chosen on validation.
"""

import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ortholib import machine as devices
from ortholib.classify import learners
from ortholib.data.labelled import Labelled, predictions
from ortholib.encoders import embed as frozen
from ortholib.encoders import load
from ortholib.encoders.batches import Batches
from ortholib.errors import OrthoError
from ortholib.metrics.scores import selection_metric, youden_threshold
from ortholib.settings import Probe

HEADS = ("linear", "kNN")


def train(data: Labelled, settings: Probe, folder: Path, weights: Path | None) -> dict:
    """Embed, fit each head with each share of the labels, and write `predictions.parquet` (validation and test, ids
    hashed, for each head and share, columns head and fraction) and `history.parquet` (a row a value that was tried).
    weights: the file that `settings.initial` means, None for random numbers. Returns the record: what was chosen with
    most labels, on which validation value.

    Raises UsageError for an unknown backbone, OrthoError for weights that do not fit or less than two classes.
    """
    validation, train = np.flatnonzero(data.part == "val"), data.part == "train"
    labelled = {share: np.flatnonzero(train & (data.fraction <= share)) for share in settings.fractions}
    for share, training in labelled.items():
        if len(np.unique(data.y[training])) < 2:
            few = f"all {len(training)} training images with a label (share {share:g}) are of one class"
            raise OrthoError(f"{few}; a probe needs two or more.")
    started = time.perf_counter()
    features = embed(data, settings, weights)
    speed = len(features) / (time.perf_counter() - started)
    scored = np.flatnonzero(np.isin(data.part, ["val", "test"]))
    tried, tables, thresholds = [], [], {}
    for name, (share, training) in product(HEADS, labelled.items()):
        best = None
        for value, head in candidates(name, len(training)):
            head.fit(features[training], data.y[training])
            probability = learners.scores(head, features[validation], len(data.classes))
            metric = selection_metric(data.y[validation], probability, data.kind)
            tried.append({"head": name, "fraction": share, "value": value, "val_metric": metric})
            if best is None or metric > best[0]:
                best = metric, head
        probability = learners.scores(best[1], features[scored], len(data.classes))
        frame = predictions(data, settings, scored, probability, name).assign(fraction=share)
        if data.kind == "binary" and share == 1:
            known = frame[frame["part"] == "val"]
            thresholds[name] = youden_threshold(known["y_true"], known["score_1"])
        tables.append(frame)
    tried = pd.DataFrame(tried)
    tried.to_parquet(folder / "history.parquet")
    pd.concat(tables, ignore_index=True).to_parquet(folder / "predictions.parquet")
    whole = tried[tried["fraction"] == max(settings.fractions)]
    chosen = whole.loc[whole.groupby("head", sort=False)["val_metric"].idxmax()].set_index("head")
    return {
        "steps": 0,
        "images_per_s": speed,
        "mfu": None,
        "chosen": chosen["value"].to_dict(),
        "val_metric": chosen["val_metric"].to_dict(),
        "threshold": thresholds or None,
        "features": features.shape[1],
        "counts": {name: int((data.part == name).sum()) for name in ("train", "val", "test")},
        "labels": {f"{share:g}": len(training) for share, training in labelled.items()},
    }


def candidates(head: str, n: int):
    """(value tried, unfitted classifier) of a head; n training images."""
    if head == "linear":
        for penalty in learners.PENALTIES:
            yield penalty, learners.logistic(penalty)
        return
    for k in sorted({min(k, n) for k in learners.NEIGHBOURS}):
        yield k, learners.nearest(k)


def embed(data: Labelled, settings: Probe, weights: Path | None) -> np.ndarray:
    """(n, D) float32 features of all labelled images, in evaluation mode.

    A random network gets what a pretrained one has: batch statistics of the training images, by one pass over them.
    """
    device, dtype = devices.pick(), devices.precision(devices.pick())
    backbone = load.build(settings.backbone, weights, settings.seed)
    batches = Batches(data, device)
    backbone = backbone.to(device, memory_format=torch.channels_last).eval()
    if weights is None:
        frozen.calibrate(backbone, batches, np.flatnonzero(data.part == "train"), dtype)
    return frozen.embed(backbone, batches, np.arange(len(data.y)), dtype)
