"""Two processes with half a batch each end where one with the whole batch ends: mean gradient, centre, teacher."""

import subprocess
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ortholib.dino.step import DINO, optimizer_of, step

BATCH, STEPS = 8, 3


class Features(nn.Module):
    """A backbone without batch normalisation, whose statistics would be of each half apart."""

    num_features, num_classes = 24, 0

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 24, 5, 3)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.convolution(crops).relu().mean((2, 3))


def made() -> DINO:
    torch.manual_seed(0)
    return DINO(Features(), 32, 48, 16)


def moved(model: DINO, mine: slice) -> dict[str, torch.Tensor]:
    """The state after some steps on these images of every batch, clipping and a frozen last layer included."""
    optimizer = optimizer_of(model, "sgd")
    for number in range(STEPS):
        numbers = torch.Generator().manual_seed(number)
        big = torch.randn(2, BATCH, 1, 32, 32, generator=numbers)[:, mine].flatten(0, 1)
        small = torch.randn(3, BATCH, 1, 16, 16, generator=numbers)[:, mine].flatten(0, 1)
        values = {"learning_rate": 0.1, "weight_decay": 0.01, "momentum": 0.9, "teacher_temperature": 0.04}
        step(model, optimizer, big, small, freeze_last=number == 0, clip=0.05, **values)
    return {name.replace("student.module.", "student."): value for name, value in model.state_dict().items()}


def worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    model = made()
    model.student = DistributedDataParallel(model.student)
    half = BATCH // 2
    torch.save(moved(model, slice(half * rank, half * (rank + 1))), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_halves_equal_the_whole(tmp_path):
    ranks = [subprocess.Popen([sys.executable, __file__, str(rank), tmp_path]) for rank in (0, 1)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    whole = moved(made(), slice(0, BATCH))
    for rank in (0, 1):
        half = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert half.keys() == whole.keys()
        for name, value in whole.items():
            torch.testing.assert_close(half[name], value, rtol=0, atol=1e-6, msg=name)
    assert not whole["student.head.prototypes"].equal(made().state_dict()["student.head.prototypes"])


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]))
