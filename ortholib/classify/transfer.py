"""A trained classifier on the images of another set: what it learned there, asked here."""

import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from ortholib import machine as devices
from ortholib.classify import heads
from ortholib.classify.finetune import predict
from ortholib.data.labelled import Labelled, predictions
from ortholib.encoders import load, registry
from ortholib.encoders.batches import Batches
from ortholib.errors import OrthoError
from ortholib.settings import Transfer


def train(data: Labelled, settings: Transfer, folder: Path, weights: Path) -> dict:
    """Score validation and test images, nothing is trained: `predictions.parquet`. Class k is taken for class k.

    weights: the file of the trained network. Raises OrthoError where it has other outputs than the task
    has classes.
    """
    device, dtype = devices.pick(), devices.precision(devices.pick())
    network = load.build(settings.backbone, None, 0, len(data.classes))
    network = heads.put(network, settings.initial.head, len(data.classes))
    try:
        network.load_state_dict(load_file(weights))
    except RuntimeError as error:
        raise OrthoError(
            f"{weights} does not fit {settings.backbone} with the {len(data.classes)} classes of "
            f"{settings.task}: {str(error).splitlines()[-1].strip()} Ask a training with as many classes."
        ) from error
    network = network.to(device, memory_format=torch.channels_last)
    scored = np.flatnonzero(np.isin(data.part, ["val", "test"]))
    started = time.perf_counter()
    probability = predict(network, Batches(data, device), scored, dtype, registry.grey(settings.initial.initial))
    speed = len(scored) / (time.perf_counter() - started)
    frame = predictions(data, settings, scored, probability)
    frame.to_parquet(folder / "predictions.parquet")
    return {"steps": 0, "images_per_s": speed, "mfu": None}
