from dataclasses import replace

import madeup
import numpy as np
import pytest

from ortholib.data.labelled import Labelled
from ortholib.settings import Finetune


@pytest.fixture
def blobs() -> Labelled:
    """96 noise squares of 32 px; those of class 1 carry a bright disc somewhere."""
    rng = np.random.default_rng(0)
    n, size = 96, 32
    y = np.arange(n) % 2
    pixels = rng.normal(90, 20, (n, size, size))
    grid = np.mgrid[:size, :size]
    for i in np.flatnonzero(y):
        centre = rng.uniform(10, 22, (2, 1, 1))
        pixels[i] += 100 * (((grid - centre) ** 2).sum(0) < 36)
    ids = np.array([f"i{i:03d}" for i in range(n)])
    part = np.array(["train"] * 64 + ["val"] * 16 + ["test"] * 16)
    mirror = np.zeros(n, bool)
    squares = np.clip(pixels, 0, 255).astype(np.uint8)
    return Labelled(squares, np.arange(n), y, part, np.ones(n), mirror, ids, ids, ["no", "yes"], "binary", {})


@pytest.fixture
def settings() -> Finetune:
    return replace(madeup.SETTINGS, flip=0.5)
