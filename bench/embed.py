"""Embedding at 224 px: images a second of the fit, with reading, preparing and writing, against the bare forward pass;
and the bare pass in the four mixes of bfloat16 or float32 with or without channels last."""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ortholib import machine as devices
from ortholib.data.labelled import Labelled
from ortholib.encoders import embed, load
from ortholib.encoders.preprocess import normalise
from ortholib.settings import Embed

ON = {"cpu": "tf_efficientnet_lite0", "cuda": "vit_base_patch16_224"}
N = {"cpu": 512, "cuda": 16_384}
SIZE, REPEATS = 224, 3


def data(n: int) -> Labelled:
    """Noise in place of radiographs; none is of the training part, since a random network would be calibrated on it."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, SIZE, SIZE), np.uint8)
    ids, zeros = np.arange(n).astype(str), np.zeros(n, int)
    part = np.full(n, "test")
    return Labelled(pixels, np.arange(n), zeros, part, np.ones(n), zeros > 0, ids, ids, ["no", "yes"], "binary", {})


def run() -> dict:
    """Median rates over rounds in turn, so that a busy machine slows all."""
    device, n = devices.pick(), N[devices.pick().type]
    devices.keep_memory()
    settings, images = Embed(SIZE, "random", ON[device.type], dataset="noise"), data(n)
    calibrate, embed.calibrate = embed.calibrate, lambda *_: None  # no pass over training images here
    network = load.build(settings.backbone, None, 0).to(device).eval()
    fixed = normalise(torch.from_numpy(images.pixels[: embed.BATCH])).to(device)

    def finish():
        if device.type == "cuda":
            torch.cuda.synchronize()

    def fit() -> float:
        with tempfile.TemporaryDirectory() as folder:
            return embed.train(images, settings, Path(folder), None)["images_per_s"]

    def bare(dtype: torch.dtype, layout: torch.memory_format) -> float:
        network.to(memory_format=layout)
        batch = fixed.contiguous(memory_format=layout)
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            network(batch)
            finish()
            started = time.perf_counter()
            for _ in range(n // embed.BATCH):
                network(batch)
            finish()
        return n // embed.BATCH * embed.BATCH / (time.perf_counter() - started)

    layouts = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}
    mixes = [(dtype, name) for dtype in (torch.bfloat16, torch.float32) for name in layouts]
    try:
        fit()
        rounds = [(fit(), *(bare(dtype, layouts[name]) for dtype, name in mixes)) for _ in range(REPEATS)]
    finally:
        embed.calibrate = calibrate
    whole, *rates = np.median(rounds, axis=0).tolist()
    named = {f"{str(d).removeprefix('torch.')}, {name}": rate for (d, name), rate in zip(mixes, rates, strict=True)}
    used = named[f"{str(devices.precision(device)).removeprefix('torch.')}, channels last"]
    found = devices.describe()
    return {
        "images_per_s": round(whole, 1),
        "forward_only_images_per_s": round(used, 1),
        "ratio": round(whole / used, 3),
        "mixes": {name: round(rate, 1) for name, rate in named.items()},
        "mfu": None,
        "precision": found["precision"],
        "device": found["gpu"] or found["cpu"],
        "cores": os.cpu_count(),
        "settings": {"backbone": settings.backbone, "size": SIZE, "batch": embed.BATCH, "images": n, "rounds": REPEATS},
    }
