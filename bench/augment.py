"""Multi-crop augmentation of DINO: our batches on the device against torchvision's chain on Pillow images in turn."""

import os
import statistics
import time

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision import transforms

from ortholib import machine as devices
from ortholib.dino.augment import Crops, crops, views
from ortholib.encoders.preprocess import MEAN, STD

SETTINGS = Crops()
SIZE, BATCH, REPEATS = 256, 64, 5
STEPS = {"cpu": 1, "cuda": 50}  # batches of ours a round


def data() -> np.ndarray:
    """Noise in place of radiographs: what they show costs no time."""
    return np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE), np.uint8)


def chain(size: int, scale: tuple[float, float], blur_p: float, solarize_p: float) -> transforms.Compose:
    """One crop of the recipe in one channel, without the colour steps: both make it faster, not slower."""
    jitter = transforms.ColorJitter(SETTINGS.brightness, SETTINGS.contrast)
    rng = np.random.default_rng(0)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale, SETTINGS.ratio, transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(SETTINGS.flip),
            transforms.RandomApply([jitter], SETTINGS.jitter_p),
            transforms.RandomApply(
                [lambda image: image.filter(ImageFilter.GaussianBlur(rng.uniform(*SETTINGS.blur_sigma)))], blur_p
            ),
            transforms.RandomApply([ImageOps.solarize], solarize_p),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def run() -> dict:
    """Images per second of both, medians of REPEATS rounds in turn after a warm-up, in one process."""
    device = devices.pick()
    arrays = data()
    batch = torch.from_numpy(arrays).to(device)
    valid = torch.tensor([[0, 0, SIZE, SIZE]] * BATCH, dtype=torch.int16, device=device)
    render = torch.compile(views, fullgraph=True) if device.type == "cuda" else views
    steps = STEPS[device.type]
    first, second, local = SETTINGS.blur_p
    chains = [
        chain(SETTINGS.global_size, SETTINGS.global_scale, first, 0),
        chain(SETTINGS.global_size, SETTINGS.global_scale, second, SETTINGS.solarize_p),
        *[chain(SETTINGS.local_size, SETTINGS.local_scale, local, 0)] * SETTINGS.locals,
    ]

    def ours() -> int:
        for step in range(steps):
            crops(batch, valid, SETTINGS, 0, step, render=render)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return steps * BATCH

    threads = torch.get_num_threads()

    def rival() -> int:
        torch.set_num_threads(1)  # as in a worker of a data loader; more only slow such small tensors down
        for array in arrays:
            image = Image.fromarray(array)
            for view in chains:
                view(image)
        torch.set_num_threads(threads)
        return BATCH

    rates = {ours: [], rival: []}
    for _ in range(1 + REPEATS):
        for way, found in rates.items():
            start = time.perf_counter()
            found.append(way() / (time.perf_counter() - start))
    speed = {way: statistics.median(found[1:]) for way, found in rates.items()}
    machine = devices.describe()
    return {
        "images_per_s": round(speed[ours], 1),
        "rival_images_per_s": round(speed[rival], 1),
        "ratio": round(speed[ours] / speed[rival], 2),
        "precision": "float16 products" if device.type == "cuda" else "float32",
        "device": machine["gpu"] or machine["cpu"],
        "cores": os.cpu_count(),
        "settings": {
            **{"size": SIZE, "batch": BATCH, "repeats": REPEATS, "compiled": render is not views},
            **{name: getattr(SETTINGS, name) for name in ("global_size", "local_size", "locals")},
            **{"threads": threads, "rival": "torchvision on Pillow, one channel, one thread"},
        },
    }
