"""The projection head of DINO (Caron et al. 2021, arXiv 2104.14294, section 3.1, appendix C): features to K logits."""

import torch
import torch.nn.functional as F
from torch import nn

from ortholib.errors import UsageError


class Head(nn.Module):
    """Three linear layers with GELU between them, unit length, then cosines with K unit prototypes.

    (N, in_dim) -> (N, out_dim), every logit within -1..1. `prototypes` (K, bottleneck) is the direction v of a
    weight-normalised layer whose length g stays 1; only its direction counts, yet its length sets how fast it turns.
    The layers start at a truncated normal of deviation 0.02 with bias 0, the prototypes as torch's linear layers do.
    Raises UsageError for less than two prototypes.
    """

    def __init__(self, in_dim: int, out_dim: int, hidden: int = 2048, bottleneck: int = 256):
        super().__init__()
        if out_dim < 2:
            raise UsageError(f"{out_dim} prototypes cannot tell images apart; expected at least 2, such as 1024.")
        self.layers = nn.Sequential(
            nn.Linear(in_dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        for layer in self.layers[::2]:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        bound = bottleneck**-0.5
        self.prototypes = nn.Parameter(torch.empty(out_dim, bottleneck).uniform_(-bound, bound))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        points = F.normalize(self.layers(features), dim=1)
        return F.linear(points, F.normalize(self.prototypes, dim=1))
