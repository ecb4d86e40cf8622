"""The curve of fifty steps, kept in the repository: a change that is to change nothing leaves it as it is.

`python tests/dino/test_golden.py` writes it anew, for a change that is meant to change it.
"""

from pathlib import Path

import numpy as np
import small
import torch

from ortholib.dino import pretrain
from ortholib.dino.augment import Crops, crops
from ortholib.dino.images import Batches
from ortholib.dino.step import DINO, optimizer_of, step

FILE = Path(__file__).with_name("golden.txt")
STEPS = 50
RECIPE = Crops(global_size=32, local_size=16, locals=2)


def curve() -> np.ndarray:
    """(STEPS, 2) loss and teacher's entropy, float32, one thread, 64 generated images, everything a step does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    images, rows = small.shapes(64), []
    model = DINO(pretrain.build(small.SETTINGS), 32, 64, 32).to(memory_format=torch.channels_last)
    optimizer, batches = optimizer_of(model, "sgd"), Batches(images, torch.device("cpu"))
    for now in range(STEPS):
        index = images.order(16, 0, now // 4)[now % 4]
        big, local = crops(*batches(index), RECIPE, 0, now)
        values = {"learning_rate": 0.002, "weight_decay": 1e-4, "momentum": 0.99, "teacher_temperature": 0.04}
        seen = step(model, optimizer, big, local, freeze_last=now < 4, **values)
        rows.append([float(seen["loss"]), float(seen["entropy"])])
    torch.set_num_threads(before)
    return np.array(rows)


def test_the_curve_is_the_one_that_was_kept():
    kept = np.loadtxt(FILE)
    found = curve()
    assert kept.shape == (STEPS, 2) and kept[:, 0].std() > 0.01  # a curve, not a constant
    np.testing.assert_allclose(found, kept, rtol=1e-4)


if __name__ == "__main__":
    np.savetxt(FILE, curve(), fmt="%.8f", header="loss  entropy of the teacher, by step")
