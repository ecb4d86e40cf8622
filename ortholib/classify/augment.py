"""Augmentation for supervised training, on the device, one channel, whole batches.

Every image draws its own rotation, scale, shift, flip, brightness and contrast from a generator seeded by
(seed, step), so a resumed run sees exactly the images that the uninterrupted one would have seen.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ortholib.encoders.preprocess import IMAGENET, Grey


@dataclass(frozen=True)
class Augmentation:
    """Ranges drawn uniformly around "unchanged".

    rotation: degrees. scale, shift: fractions of the side. contrast: fraction of the grey range, for both
    brightness and contrast. flip: probability of a left-right flip (0 where the side matters).
    """

    rotation: float = 10.0
    scale: float = 0.1
    shift: float = 0.05
    contrast: float = 0.2
    flip: float = 0.0


def random_draws(seed: int, step: int, n: int) -> np.ndarray:
    """(7, n) float32 uniform in -1..1. numpy's generator: torch's on the CPU drops all but 32 bits of a seed."""
    return np.random.default_rng([seed, step]).uniform(-1, 1, (7, n)).astype(np.float32)


def augment(
    batch: torch.Tensor, ranges: Augmentation, seed: int, step: int, side: int | None = None, grey: Grey = IMAGENET
) -> torch.Tensor:
    """uint8 (B, S, S) -> normalised float32 (B, 1, side, side), each image changed by its own random draw.

    side: of the result, by averaging areas; None keeps S. grey: what values are shifted and scaled by.
    """
    draws = torch.from_numpy(random_draws(seed, step, len(batch))).to(batch.device)
    angle, zoom, dx, dy, bright, gain, flip = draws
    angle = torch.deg2rad(angle * ranges.rotation)
    zoom = 1 + zoom * ranges.scale
    mirror = torch.where((flip + 1) / 2 < ranges.flip, -1.0, 1.0)
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    # shifts are in units of the half side
    theta = torch.stack([mirror * cos, -sin, 2 * dx * ranges.shift, mirror * sin, cos, 2 * dy * ranges.shift], 1)
    grid = F.affine_grid(theta.view(-1, 2, 3), (len(batch), 1, *batch.shape[1:]), align_corners=False)
    images = F.grid_sample(batch.unsqueeze(1).float(), grid, mode="bilinear", align_corners=False)
    if side is not None and side < images.shape[-1]:
        images = F.interpolate(images, (side, side), mode="area")
    images = images * (1 + gain * ranges.contrast)[:, None, None, None]
    images = images + (127.5 * bright * ranges.contrast)[:, None, None, None]
    return images.clamp_(0, 255).div_(255 * grey.std).sub_(grey.mean / grey.std)
