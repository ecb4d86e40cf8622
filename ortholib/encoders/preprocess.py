"""What a network is shown of a grey image."""

from typing import NamedTuple

import torch


class Grey(NamedTuple):
    """Mean and standard deviation of grey values from 0 to 1, by which they are shifted and scaled."""

    mean: float
    std: float


MEAN, STD = IMAGENET = Grey(0.449, 0.226)  # of ImageNet's grey values: one mean, one deviation for the one channel


def normalise(batch: torch.Tensor, grey: Grey = IMAGENET) -> torch.Tensor:
    """uint8 (B, S, S) -> float32 (B, 1, S, S), with `IMAGENET` of mean 0 and deviation 1 on natural grey images."""
    return batch.unsqueeze(1).float().div_(255 * grey.std).sub_(grey.mean / grey.std)
