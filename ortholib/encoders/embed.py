"""Embeddings: what a frozen network gives of each image of a set, computed once."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ortholib import machine, progress
from ortholib.data import ids
from ortholib.data.labelled import Labelled
from ortholib.encoders import encoder, load, networks, registry
from ortholib.encoders.batches import Batches
from ortholib.encoders.preprocess import normalise
from ortholib.errors import OrthoError
from ortholib.settings import Embed

BLOCK = 512  # images between two writes to disk
BATCH = 64


def train(data: Labelled, settings: Embed, folder: Path, weights: Path | None) -> dict:
    """Write `features.npy`, (n, D) float32 of all labelled images, and `images.parquet`, whose rows they are (ids
    hashed). A call on a folder that was left goes on after its last block of images.

    weights: the file that `settings.initial` means, None for random numbers. Returns the record: images/s, D.
    Raises UsageError for an unknown network, OrthoError for weights that are absent or do not fit.
    """
    machine.keep_memory()
    device, dtype = machine.pick(), machine.precision(machine.pick())
    batches = Batches(data, device)
    network, prepare = opened(settings, weights)
    network = network.to(device, memory_format=torch.channels_last)
    if weights is None:
        calibrate(network, batches, np.flatnonzero(data.part == "train"), dtype, prepare)
    starts = range(0, len(data.y), BLOCK)
    fresh, started = 0, time.perf_counter()
    for start in progress.bar(starts, desc="embedding", unit=f"{BLOCK} images"):
        file = folder / f"block-{start:08}.npy"
        if not file.is_file():
            index = np.arange(start, min(start + BLOCK, len(data.y)))
            found = embed(network, batches, index, dtype, prepare)
            partial = file.with_suffix(".partial")
            with open(partial, "wb") as stream:
                np.save(stream, found)
            partial.replace(file)
            fresh += len(index)
    speed = fresh / (time.perf_counter() - started)
    blocks = [folder / f"block-{start:08}.npy" for start in starts]
    features = np.concatenate([np.load(file) for file in blocks])
    if not np.isfinite(features).all():
        raise OrthoError(f"{folder}: {(~np.isfinite(features)).any(1).sum()} embeddings are not finite.")
    np.save(folder / "features.npy", features)
    pd.DataFrame({"unit_id": ids.hashed(data.unit_id, settings.dataset)}).to_parquet(folder / "images.parquet")
    for file in blocks:
        file.unlink()
    precision = str(dtype).removeprefix("torch.")
    return {"steps": 0, "images_per_s": speed, "mfu": None, "features": features.shape[1], "precision": precision}


class Whole(torch.nn.Module):
    """A published network whose output is its embedding."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return networks.embed(self.network, x)


def opened(settings: Embed, weights: Path | None) -> tuple[torch.nn.Module, Callable]:
    """The network, and what prepares uint8 (B, S, S) batches for it: as its publisher does, or in one channel."""
    if isinstance(settings.initial, str) and settings.initial in registry.ENCODERS:
        found = encoder.at(settings.initial, weights)
        return Whole(found.network), found.prepare
    return load.build(settings.backbone, weights, settings.seed), normalise


def embed(
    network: torch.nn.Module, batches: Batches, index: np.ndarray, dtype: torch.dtype, prepare: Callable = normalise
) -> np.ndarray:
    """(n, D) float32 of the images `index`, in the mode that the network is in."""
    rows = []
    with torch.inference_mode():
        for start in range(0, len(index), BATCH):
            images = prepare(batches(index[start : start + BATCH])).contiguous(memory_format=torch.channels_last)
            with torch.autocast(batches.device.type, dtype, enabled=dtype != torch.float32):
                rows.append(network(images).float().cpu().numpy())
    return np.concatenate(rows)


def calibrate(
    network: torch.nn.Module, batches: Batches, index: np.ndarray, dtype: torch.dtype, prepare: Callable = normalise
) -> None:
    """Give a random network what a pretrained one has: batch statistics of these images, by one pass over them."""
    network.eval()
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    if norms:
        for layer in norms:
            layer.momentum = None  # the mean over all batches
            layer.train()
        embed(network, batches, index, dtype, prepare)
        network.eval()
