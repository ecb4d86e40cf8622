"""What a network is shown of a grey image."""

import torch

MEAN, STD = 0.449, 0.226  # of ImageNet's grey values: one mean, one deviation for the one channel


def normalise(batch: torch.Tensor) -> torch.Tensor:
    """uint8 (B, S, S) -> float32 (B, 1, S, S) with mean 0 and deviation 1 on natural grey images."""
    return batch.unsqueeze(1).float().div_(255 * STD).sub_(MEAN / STD)
