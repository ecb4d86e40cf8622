"""Random numbers for a network, by the name and shape of each tensor: finite and image-dependent at any depth."""

from collections.abc import Mapping

import numpy as np
import torch

# absolute, as no fan-in can be read off their shapes
TABLES = ("token", "pos_embed", "position_embeddings", "word_embeddings", "token_type_embeddings")


def draw(shapes: Mapping[str, torch.Tensor], rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """A state dict with the names and shapes of `shapes` (whose values are not read; they may be on "meta").

    Layer scales are near 1: the 1e-5 that DINO starts from would hide the blocks and leave the class token blind.
    """
    return {name: draw_tensor(name, tuple(like.shape), rng) for name, like in shapes.items()}


def draw_tensor(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> torch.Tensor:
    """One tensor: float32, but int64 for counts and positions."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1000)
    if name.endswith("position_ids"):
        return torch.arange(shape[-1]).expand(shape).clone()
    if name.endswith("logit_scale"):
        return torch.tensor(np.log(1 / 0.07), dtype=torch.float32)  # CLIP's initial temperature
    if name.endswith("running_var") or any(part in name for part in ("gamma", "layer_scale")):
        values = rng.uniform(0.5, 1.5, shape)
    elif any(part in name.lower() for part in TABLES) and len(shape) > 1:
        values = rng.normal(0, 0.5, shape)
    elif name.endswith("weight") and len(shape) == 1:  # of a normalisation
        values = 1 + rng.normal(0, 0.1, shape)
    elif len(shape) < 2:  # biases and running means
        values = rng.normal(0, 0.1, shape)
    else:
        # He et al. 2015, arXiv 1502.01852: keeps the variance through ReLU; sharpens random attention a little
        values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    return torch.from_numpy(np.asarray(values, np.float32))
