"""Is a pretraining alive: the spread and rank of its embeddings, a nearest-neighbour score, and the collapse alarm."""

import math

import numpy as np
import torch

NEIGHBOURS, TEMPERATURE = 20, 0.07  # of the weighted vote, as in the DINO evaluation


def spread(features: torch.Tensor) -> float:
    """Mean over dimensions of the standard deviation of unit-length features, times sqrt(D): 1 when they fill the
    sphere evenly, 0 when all are one point."""
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    return float(unit.std(0).mean() * math.sqrt(unit.shape[1]))


def rankme(features: torch.Tensor) -> float:
    """exp of the entropy of the normalised singular values (Garrido et al. 2023, arXiv 2210.02885, eq. 1-2)."""
    values = torch.linalg.svdvals(features.double())
    share = values / values.sum() + 1e-7
    return float(torch.exp(-(share * share.log()).sum()))


def knn(features: torch.Tensor, y: np.ndarray, group: np.ndarray) -> float:
    """Balanced accuracy of a weighted vote among the nearest images of other groups (patients, copies).

    features: (n, D). Weights exp(similarity / TEMPERATURE), k = NEIGHBOURS or as many as there are. NaN for one class.
    """
    if len(np.unique(y)) < 2:
        return math.nan
    unit = torch.nn.functional.normalize(features.float(), dim=1)
    similarity = unit @ unit.T
    _, number = np.unique(group, return_inverse=True)
    number = torch.from_numpy(number)
    similarity[number[:, None] == number[None]] = -torch.inf
    values, nearest = similarity.topk(min(NEIGHBOURS, len(y) - 1), dim=1)
    classes, label = np.unique(y, return_inverse=True)
    label = torch.from_numpy(label)
    votes = torch.zeros(len(y), len(classes)).scatter_add_(1, label[nearest], (values / TEMPERATURE).exp())
    right = votes.argmax(1) == label
    return float(np.mean([right[label == c].float().mean().item() for c in range(len(classes))]))


def alarm(entropy: float, prototypes: int, first_choices: float, spread_now: float) -> str:
    """What is wrong, or "": the teacher tells no image from another, or the embeddings of all images are one point.

    first_choices: different prototypes that come first for the views of a batch.
    """
    top = math.log(prototypes)
    if entropy > 0.99 * top:
        return f"collapse: the teacher's entropy {entropy:.3f} is that of no choice at all (ln K = {top:.3f})"
    if first_choices < 1.5:
        return f"collapse: the teacher puts every image on one prototype (entropy {entropy:.4f})"
    if spread_now < 0.02:
        return f"collapse: all embeddings are one point (spread {spread_now:.4f})"
    return ""
