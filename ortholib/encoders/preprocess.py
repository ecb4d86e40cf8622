"""What a network is shown of a grey image."""

from typing import NamedTuple

import torch
import torch.nn.functional as F


class Grey(NamedTuple):
    """Mean and standard deviation of grey values from 0 to 1, by which they are shifted and scaled."""

    mean: float
    std: float


class Preparation(NamedTuple):
    """A publisher's preprocessing: the shorter side resized, the centre cut out, each channel shifted and scaled.

    resize, crop: in pixels. mean, std: of the three channels in the network's own order, values from 0 to 1.
    interpolation: `bicubic` or `bilinear`, smoothed where it shrinks, as Pillow does.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"


MEAN, STD = IMAGENET = Grey(0.449, 0.226)  # of ImageNet's grey values: one mean, one deviation for the one channel
LITE = Grey(127 / 255, 128 / 255)  # EfficientNet-Lite: (x - 127) / 128


def normalise(batch: torch.Tensor, grey: Grey = IMAGENET) -> torch.Tensor:
    """uint8 (B, S, S) -> float32 (B, 1, S, S), with `IMAGENET` of mean 0 and deviation 1 on natural grey images."""
    return batch.unsqueeze(1).float().div_(255 * grey.std).sub_(grey.mean / grey.std)


def prepare(batch: torch.Tensor, how: Preparation) -> torch.Tensor:
    """uint8 (B, S, S) -> float32 (B, 3, crop, crop) on the same device: the grey image as a publisher's own
    preprocessing gives it, repeated to three channels. Widths are resized first, then heights, and
    grey values rounded after each, as Pillow does."""
    x = batch.unsqueeze(1).float()
    if batch.shape[-1] != how.resize:
        for size in ((batch.shape[-2], how.resize), (how.resize, how.resize)):
            x = F.interpolate(x, size, mode=how.interpolation, align_corners=False, antialias=True)
            x = x.round_().clamp_(0, 255)
    top = round((how.resize - how.crop) / 2)
    x = x[..., top : top + how.crop, top : top + how.crop].div(255)
    mean, std = (torch.tensor(values, device=x.device).view(1, 3, 1, 1) for values in (how.mean, how.std))
    return (x - mean) / std
