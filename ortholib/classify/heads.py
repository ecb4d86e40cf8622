"""Classifiers on top of a network: free classes, or grades in an order.

Each gives (B, K) numbers whose softmax is the probability of each class, so that losses and scores need not know which.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ortholib.errors import UsageError


class Continuation(nn.Linear):
    """Continuation ratios (Fienberg 1980; as a network's loss: CORN, Shi et al. 2021, arXiv 2111.08851): K - 1 outputs,
    the k-th the logit of going on from grade k. Gives log-probabilities, whose negative likelihood is CORN's loss,
    summed over the questions instead of averaged."""

    def __init__(self, features: int, classes: int):
        super().__init__(features, classes - 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = super().forward(x).float()
        reached = F.pad(F.logsigmoid(z).cumsum(1), (1, 0))
        return reached + F.pad(F.logsigmoid(-z), (0, 1))


class Cumulative(nn.Module):
    """Cumulative logits with one slope (McCullagh 1980; with a network: CORAL, Cao et al. 2020, arXiv 1901.07884): one
    score and K - 1 thresholds in order. Gives log-probabilities."""

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.score = nn.Linear(features, 1, bias=False)
        self.first = nn.Parameter(torch.tensor([-(classes - 2) / 2]))
        self.steps = nn.Parameter(torch.full((classes - 2,), 0.5413))  # softplus of it: 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        thresholds = torch.cat([self.first, F.softplus(self.steps)]).float().cumsum(0)
        above = self.score(x).float() - thresholds  # logits of a higher grade than k, falling with k
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a))
        between = torch.log(-torch.expm1(-F.softplus(self.steps).float()))
        upper = F.pad(F.logsigmoid(above), (1, 0))
        lower = F.pad(F.logsigmoid(-above), (0, 1))
        return upper + lower + F.pad(between, (1, 1))


HEADS = {"continuation": Continuation, "cumulative": Cumulative}


def put(network: nn.Module, head: str, classes: int, zero: bool = False) -> nn.Module:
    """Give a timm network the classifier `head` (`softmax` keeps the one it has). Returns the network.

    zero: let its weights start at zero. Raises UsageError for an unknown head, or an ordinal one on two classes.
    """
    if head not in ("softmax", *HEADS) or (head in HEADS and classes < 3):
        raise UsageError(
            f"head '{head}' on {classes} classes; expected softmax, or of 3 grades and more one of {', '.join(HEADS)}."
        )
    path = network.default_cfg["classifier"]
    place, _, name = path.rpartition(".")
    if head in HEADS:
        setattr(network.get_submodule(place), name, HEADS[head](network.get_submodule(path).in_features, classes))
    if zero:
        for part in network.get_submodule(path).modules():
            if isinstance(part, nn.Linear):
                nn.init.zeros_(part.weight)
    return network
