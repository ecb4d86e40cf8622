"""A tiny pretraining: generated squares of eight shapes, and settings that take seconds."""

from pathlib import Path

import numpy as np

from ortholib.dino.images import Images
from ortholib.settings import Pretrain

SETTINGS = Pretrain(
    ("shapes:all",), 32, 3, backbone="resnet10t", batch=16, prototypes=32, hidden=64, bottleneck=32,
    global_size=32, local_size=16, locals=2, learning_rate=0.5, freeze_last=1, checkpoint_minutes=0.0,
)  # fmt: skip


def shapes(n: int = 64, seed: int = 0, side: int = 32) -> Images:
    """n squares of eight textures (stripes of two directions and four widths), each at its own place and contrast."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 8
    across, down = np.meshgrid(np.arange(side), np.arange(side))
    squares = np.empty((n, side, side), np.uint8)
    for i, kind in enumerate(y):
        axis = across if kind % 2 else down
        wave = np.sin(2 * np.pi * (axis / (3 + 2 * (kind // 2)) + rng.random()))
        squares[i] = np.clip(120 + rng.uniform(40, 80) * wave + rng.normal(0, 10, (side, side)), 0, 255)
    valid = np.tile(np.array([0, 0, side, side], np.int16), (n, 1))
    group = np.array([f"g{i}" for i in range(n)])
    seen = {"shapes": {"split": "all", "version": "generated", "images": n, "weight": 1.0}}
    return Images([squares], [1.0], np.zeros(n, int), np.arange(n), valid, y.astype(float), group, seen, {"shapes": n})


RUN = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {here!r})
import small
from ortholib.dino import pretrain
{more}
pretrain.train(small.shapes(), small.SETTINGS, Path(sys.argv[1]), None)
"""


def script(more: str = "") -> str:
    """Source of a process that runs the tiny pretraining in the folder it is given; `more` is run before."""
    return RUN.format(here=str(Path(__file__).parent), more=more)
