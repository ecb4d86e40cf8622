"""Probes: how much of a label lies in a frozen backbone's features, without training the backbone.

The protocol of the DINO paper (Caron et al. 2021, arXiv 2104.14294, section 4.1): a linear classifier, or a weighted
vote of the nearest training images. What either leaves open (penalty, number of neighbours) is chosen on validation.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ortholib import device as devices
from ortholib import ids, metrics
from ortholib.classify.augment import normalise
from ortholib.classify.finetune import Batches, selection_metric
from ortholib.classify.labelled import Labelled
from ortholib.classify.probesettings import Probe
from ortholib.dino import initial
from ortholib.errors import OrthoError, UsageError

HEADS = ("linear", "kNN")
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of the logistic regression, on standardised features
NEIGHBOURS = (5, 10, 20, 50, 100)
TEMPERATURE = 0.07  # of the vote: weights exp(cosine / TEMPERATURE)


def train(data: Labelled, settings: Probe, folder: Path) -> dict:
    """Embed, fit each head, and write `predictions.parquet` (validation and test, ids hashed, an arm a head) and
    `history.parquet` (a row a value that was tried). Returns the record: what was chosen, on which validation value.

    Raises UsageError for an unknown backbone, OrthoError for weights that do not fit or less than two classes.
    """
    training, validation = (np.flatnonzero(data.part == name) for name in ("train", "val"))
    if len(np.unique(data.y[training])) < 2:
        raise OrthoError(f"all {len(training)} training images are of one class; a probe needs two or more.")
    started = time.perf_counter()
    features = embed(data, settings)
    speed = len(features) / (time.perf_counter() - started)
    scored = np.flatnonzero(np.isin(data.part, ["val", "test"]))
    tried, tables, thresholds = [], [], {}
    for name in HEADS:
        best = None
        for value, head in candidates(name, len(training)):
            head.fit(features[training], data.y[training])
            probability = scores(head, features[validation], len(data.classes))
            metric = selection_metric(data.y[validation], probability, data.kind)
            tried.append({"head": name, "value": value, "val_metric": metric})
            if best is None or metric > best[0]:
                best = metric, head
        frame = table(data, settings, name, scored, scores(best[1], features[scored], len(data.classes)))
        if data.kind == "binary":
            known = frame[frame["part"] == "val"]
            thresholds[name] = metrics.youden_threshold(known["y_true"], known["score_1"])
        tables.append(frame)
    tried = pd.DataFrame(tried)
    tried.to_parquet(folder / "history.parquet")
    pd.concat(tables, ignore_index=True).to_parquet(folder / "predictions.parquet")
    chosen = tried.loc[tried.groupby("head", sort=False)["val_metric"].idxmax()].set_index("head")
    return {
        "steps": 0,
        "images_per_s": speed,
        "mfu": None,
        "chosen": chosen["value"].to_dict(),
        "val_metric": chosen["val_metric"].to_dict(),
        "threshold": thresholds or None,
        "features": features.shape[1],
        "counts": {name: int((data.part == name).sum()) for name in ("train", "val", "test")},
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


def embed(data: Labelled, settings: Probe) -> np.ndarray:
    """(n, D) float32 features of all labelled images, in evaluation mode.

    A random network gets what a pretrained one has: batch statistics of the training images, by one pass over them.
    """
    if not timm.is_model(settings.backbone):
        raise UsageError(f"backbone '{settings.backbone}' is unknown to timm; see timm.list_models().")
    device, dtype = devices.pick(), devices.precision(devices.pick())
    torch.manual_seed(settings.seed)
    options = {"dynamic_img_size": True} if settings.backbone.startswith("vit") else {}
    backbone = timm.create_model(settings.backbone, pretrained=False, in_chans=1, num_classes=0, **options)
    batches = Batches(data, device)
    if settings.initial != "random":
        initial.load(backbone, Path(settings.initial), settings.backbone)
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
        if settings.initial == "random" and norms:
            for layer in norms:
                layer.momentum = None  # the mean over all batches
                layer.train()
            run(np.flatnonzero(data.part == "train"))
            backbone.eval()
        return run(np.arange(len(data.y)))


def table(data: Labelled, settings: Probe, head: str, scored: np.ndarray, probability: np.ndarray) -> pd.DataFrame:
    """Predictions by one head of the images `scored` (n,), ids hashed: one row an image, `score_k` of each class."""
    frame = pd.DataFrame(
        {
            "unit": "image",
            "unit_id": ids.hashed(data.unit_id[scored], settings.dataset),
            "group": ids.hashed(data.group[scored], settings.dataset),
            "dataset": settings.dataset,
            "task": settings.task,
            "split": settings.split,
            "part": data.part[scored],
            "arm": f"{settings.backbone}, {Path(settings.initial).stem}, {head}",
            "seed": settings.seed,
            "y_true": data.y[scored],
        }
    )
    return frame.assign(**{f"score_{k}": column for k, column in enumerate(probability.T)})
