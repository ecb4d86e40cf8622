"""Packing FracAtlas: our store against one-by-one Pillow open, convert, resize; same files, same process, in turn."""

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from ortholib import paths, phantom
from ortholib.data import datasets, pixels
from ortholib.data.files import Plane

SIZE, FILES, REPEATS = 224, 600, 3


def planes() -> tuple[dict[str, Plane], str]:
    """FILES readable images spread over the set by image id, and which data they are."""
    real = paths.data_root() is not None
    root = datasets.locate("fracatlas") if real else phantom.ensure() / "FracAtlas"
    usable = datasets.SETS["fracatlas"].read(root).usable
    chosen = usable.iloc[np.unique(np.linspace(0, len(usable) - 1, FILES).round().astype(int))]
    return {row.image_id: Plane(root / row.path) for row in chosen.itertuples()}, "FracAtlas" if real else "phantom"


def ours(chosen: dict[str, Plane]) -> None:
    """The whole way to a finished store on disk, hash included."""
    with tempfile.TemporaryDirectory() as folder:
        pixels.pack(chosen, "bench", SIZE, Path(folder))


def rival(chosen: dict[str, Plane]) -> None:
    """What a plain data loader does. It squashes to the square and keeps nothing: both make it faster, not slower."""
    for plane in chosen.values():
        with Image.open(plane.path) as image:
            image.convert("L").resize((SIZE, SIZE))


def run() -> dict:
    """Images per second of both, medians of REPEATS rounds in turn after a warm-up that fills the file cache."""
    chosen, data = planes()
    seconds = {ours: [], rival: []}
    for _ in range(1 + REPEATS):
        for way, times in seconds.items():
            start = time.perf_counter()
            way(chosen)
            times.append(time.perf_counter() - start)
    speed = {way: len(chosen) / statistics.median(times[1:]) for way, times in seconds.items()}
    return {
        "images_per_s": round(speed[ours], 1),
        "rival_images_per_s": round(speed[rival], 1),
        "ratio": round(speed[ours] / speed[rival], 2),
        "n": len(chosen),
        "size": SIZE,
        "cores": os.cpu_count(),
        "data": data,
    }
