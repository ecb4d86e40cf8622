"""Supervised training at 224 px: images a second with everything a step of the trainer does, and of the bare step."""

import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode

from ortholib import machine as devices
from ortholib.classify.augment import Augmentation, augment
from ortholib.classify.finetune import Batches
from ortholib.data.labelled import Labelled
from ortholib.encoders import load
from ortholib.encoders.preprocess import normalise
from ortholib.settings import Finetune

ON = {"cpu": {"backbone": "resnet18", "batch": 32}, "cuda": {"backbone": "resnet50", "batch": 256}}
N, CLASSES = {"cpu": 512, "cuda": 4096}, 5
WARM_UP = 2  # steps
STEPS = {"cpu": 4, "cuda": 100}  # a round; CPU: about 3 s in bf16, 6 s in fp32
REPEATS = 3


def data(n: int, side: int) -> Labelled:
    """Noise in place of radiographs, in memory: what they show costs no time."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, side, side), np.uint8)
    ids, part, y = np.arange(n).astype(str), np.full(n, "train"), rng.integers(0, CLASSES, n)
    names = [f"KL {k}" for k in range(CLASSES)]
    return Labelled(pixels, np.arange(n), y, part, np.ones(n), np.arange(n) % 2 == 0, ids, ids, names, "ordinal", {})


def run() -> dict:
    """Median rates over rounds in turn, so that a busy machine slows both."""
    device, dtype = devices.pick(), devices.precision(devices.pick())
    settings, n = Finetune(size=224, epochs=1, **ON[device.type]), N[device.type]
    model = load.build(settings.backbone, None, 0, CLASSES).to(device, memory_format=torch.channels_last).train()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, fused=True)
    labelled, ranges = data(n, settings.size), Augmentation()
    batches, order = Batches(labelled, device), np.random.default_rng(0).permutation(n)

    def step(images, target):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def whole(i):
        """As in `ortholib.classify.finetune.train`: batch, augmentation, step, running average."""
        index = np.take(order, range(i * settings.batch, (i + 1) * settings.batch), mode="wrap")
        images = augment(batches(index), ranges, settings.seed, i).contiguous(memory_format=torch.channels_last)
        step(images, torch.from_numpy(labelled.y[index]).to(device))
        average.update_parameters(model)

    fixed = normalise(batches(order[: settings.batch])).contiguous(memory_format=torch.channels_last)
    target = torch.from_numpy(labelled.y[order[: settings.batch]]).to(device)
    with FlopCounterMode(display=False) as counter:
        step(fixed, target)
    lacking = devices.cannot_compile()
    if not lacking:
        model.compile(dynamic=False)
    steps = STEPS[device.type]

    def rate(function):
        started = time.perf_counter()
        for i in range(steps):
            function(i)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return steps * settings.batch / (time.perf_counter() - started)

    for i in range(WARM_UP):
        whole(i)
    rounds = [(rate(whole), rate(lambda _: step(fixed, target))) for _ in range(REPEATS)]
    with_data, step_only = np.median(rounds, axis=0).tolist()
    flops_per_s = counter.get_total_flops() / settings.batch * with_data
    peak = devices.peak_tflops(device)
    machine = devices.describe()
    return {
        "images_per_s": round(with_data, 1),
        "step_only_images_per_s": round(step_only, 1),
        "ratio": round(with_data / step_only, 3),
        "tflops": round(flops_per_s / 1e12, 3),
        "mfu": round(flops_per_s / 1e12 / peak, 3) if peak else None,
        "precision": machine["precision"],
        "device": machine["gpu"] or machine["cpu"],
        "cores": os.cpu_count(),
        "settings": {
            **{name: getattr(settings, name) for name in ("backbone", "size", "batch")},
            **{"steps": steps, "repeats": REPEATS, "images": n, "compiled": f"no, {lacking}" if lacking else "yes"},
        },
    }
