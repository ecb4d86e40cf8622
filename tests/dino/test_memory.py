"""Which batch would fit where memory runs out, and that the trainer says so."""

from dataclasses import replace

import pytest
import small
import torch

from ortholib.dino import memory, pretrain
from ortholib.errors import OrthoError


def until(most: int, tried: list):
    def attempt(batch: int) -> None:
        tried.append(batch)
        if batch > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return attempt


@pytest.mark.parametrize(("most", "fits", "asked"), [(20, 16, [32, 16]), (64, 32, [32]), (1, 0, [32, 16, 8, 4, 2])])
def test_halved_until_it_fits(most, fits, asked):
    tried = []
    assert memory.fitting(until(most, tried), 64) == fits and tried == asked


def test_other_errors_are_not_taken_for_it():
    def attempt(batch):
        raise ValueError("another")

    with pytest.raises(ValueError, match="another"):
        memory.fitting(attempt, 8)


@pytest.mark.parametrize(
    ("most", "words"), [(5, "; 4 fits"), (1, "not even 2 images fit: lower the size of the crops")]
)
def test_the_trainer_says_which_batch_fits(tmp_path, monkeypatch, most, words):
    real, tried = pretrain.step, []

    def step(model, optimizer, big, local, **values):
        until(most, tried)(len(big) // 2)
        return real(model, optimizer, big, local, **values)

    monkeypatch.setattr(pretrain, "step", step)
    with pytest.raises(OrthoError, match=f"batch 16 of resnet10t, 2 x 32 and 2 x 16 px, does not fit .*{words}"):
        pretrain.train(small.shapes(), replace(small.SETTINGS), tmp_path, None)


def test_freed_memory_is_kept_without_harm():
    memory.keep()
    assert torch.ones(1000, 1000).sum() == 1_000_000
