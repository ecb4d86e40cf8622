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
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ortholib import machine as devices
from ortholib.classify.finetune import Batches, selection_metric
from ortholib.data.labelled import Labelled, predictions
from ortholib.encoders import load
from ortholib.encoders.preprocess import normalise
from ortholib.errors import OrthoError
from ortholib.metrics.scores import youden_threshold
from ortholib.settings import Probe

HEADS = ("linear", "kNN")
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of the logistic regression, on standardised features
NEIGHBOURS = (5, 10, 20, 50, 100)
TEMPERATURE = 0.07  # of the vote: weights exp(cosine / TEMPERATURE)


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
            probability = scores(head, features[validation], len(data.classes))
            metric = selection_metric(data.y[validation], probability, data.kind)
            tried.append({"head": name, "fraction": share, "value": value, "val_metric": metric})
            if best is None or metric > best[0]:
                best = metric, head
        probability = scores(best[1], features[scored], len(data.classes))
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
        for penalty in PENALTIES:
            yield penalty, make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=500, tol=1e-3))
        return
    for k in sorted({min(k, n) for k in NEIGHBOURS}):
        yield k, KNeighborsClassifier(k, weights=vote, metric="cosine", algorithm="brute")


def vote(distance: np.ndarray) -> np.ndarray:
    """Weights of neighbours at these cosine distances (1 - cosine): Wu et al. 2018, arXiv 1805.01978, section 3.4."""
    return np.exp((1 - distance) / TEMPERATURE)


def scores(head, features: np.ndarray, classes: int) -> np.ndarray:
    """(n, classes) probabilities; 0 for a class without a training image."""
    probability = np.zeros((len(features), classes))
    probability[:, head.classes_] = head.predict_proba(features)
    return probability


def embed(data: Labelled, settings: Probe, weights: Path | None) -> np.ndarray:
    """(n, D) float32 features of all labelled images, in evaluation mode.

    A random network gets what a pretrained one has: batch statistics of the training images, by one pass over them.
    """
    device, dtype = devices.pick(), devices.precision(devices.pick())
    backbone = load.build(settings.backbone, weights, settings.seed)
    batches = Batches(data, device)
    backbone = backbone.to(device, memory_format=torch.channels_last).eval()

    def run(index: np.ndarray) -> np.ndarray:
        rows = []
        for start in range(0, len(index), 64):
            images = normalise(batches(index[start : start + 64])).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                rows.append(backbone(images).float().cpu().numpy())
        return np.concatenate(rows)

    with torch.inference_mode():
        norms = [layer for layer in backbone.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
        if weights is None and norms:
            for layer in norms:
                layer.momentum = None  # the mean over all batches
                layer.train()
            run(np.flatnonzero(data.part == "train"))
            backbone.eval()
        return run(np.arange(len(data.y)))
