"""A pretraining looked at: the crops that the network is shown, its nearest neighbours, a map of its embedding."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.manifold import TSNE

from ortholib import machine as devices
from ortholib.dino import pretrain
from ortholib.dino.augment import crops
from ortholib.dino.images import Batches, Images
from ortholib.encoders import load
from ortholib.encoders.preprocess import MEAN, STD
from ortholib.settings import Pretrain

LOCALS = 3  # local crops shown of each image


def crop_gallery(images: Images, settings: Pretrain, chosen: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """(n, S, S) uint8 pictures and their titles: of each chosen image the square, both global crops and some local
    ones, as the first step would show them."""
    batch, valid = Batches(images, torch.device("cpu"))(chosen)
    big, small = crops(batch, valid, pretrain.recipe(settings), settings.seed, 0)
    local = small.chunk(settings.locals)[:LOCALS] if settings.locals else ()
    shown = [batch.float()[:, None], *big.chunk(2), *local]
    titles = [f"square, {batch.shape[-1]} px"]
    titles += [f"global crop {i + 1}, {settings.global_size} px" for i in range(2)]
    titles += [f"local crop {i + 1}, {settings.local_size} px" for i in range(len(shown) - 3)]
    levels = [shown[0], *((view * STD + MEAN) * 255 for view in shown[1:])]
    side = batch.shape[-1]
    pictures = [torch.nn.functional.interpolate(view, side).round().clamp(0, 255).byte()[:, 0] for view in levels]
    return torch.stack(pictures, 1).flatten(0, 1).numpy(), titles * len(chosen)


def sentences(history: pd.DataFrame, prototypes: int) -> str:
    """What the curves say, from their first and last epoch, and what the collapse watch said."""
    first, last = history.iloc[0], history.iloc[-1]
    share = last["entropy"] / math.log(prototypes)
    ranks = f"from {first['rankme']:.0f} to {last['rankme']:.0f}"
    rank = f"fell {ranks}: the embedding lost directions" if last["rankme"] < first["rankme"] else f"rose {ranks}"
    alarms = sorted(set(history["alarm"]) - {""})
    return (
        f"From the first epoch to the last, the student's distance from the teacher (KL) went from {first['kl']:.2f} "
        f"to {last['kl']:.2f} nats; the teacher's entropy ends at {share:.0%} of ln K. The effective rank {rank}; the "
        f"spread went from {first['spread']:.2f} to {last['spread']:.2f}. Collapse watch: "
        f"{'; '.join(alarms) or 'no alarm'}."
    )


def embedding(weights: Path, images: Images, settings: Pretrain, chosen: np.ndarray) -> torch.Tensor:
    """(n, D) unit-length features of the chosen images by a backbone's file of weights."""
    device = devices.pick()
    backbone = load.build(settings.backbone, weights, settings.seed)
    backbone = backbone.to(device, memory_format=torch.channels_last)
    found = pretrain.embed(backbone, Batches(images, device), chosen, settings.global_size, devices.precision(device))
    return torch.nn.functional.normalize(found.cpu(), dim=1)


def neighbours(features: torch.Tensor, groups: np.ndarray, queries: list[int], k: int = 5) -> np.ndarray:
    """(queries, k) numbers of the nearest images of other groups, nearest first."""
    similarity = features[queries] @ features.T
    same = groups[queries][:, None] == groups[None]
    similarity[torch.from_numpy(same)] = -torch.inf
    return similarity.topk(k, dim=1).indices.numpy()


def flat(features: torch.Tensor | np.ndarray) -> np.ndarray:
    """(n, 2) map by t-SNE (van der Maaten and Hinton, 2008): neighbours stay near, distances between clusters say
    nothing."""
    perplexity = min(30, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", metric="cosine", random_state=0).fit_transform(np.asarray(features))


def squares(images: Images, chosen: np.ndarray) -> np.ndarray:
    """(n, S, S) uint8 stored squares of the chosen images."""
    return Batches(images, torch.device("cpu"))(chosen)[0].numpy()


def names(images: Images, chosen: np.ndarray) -> list[str | None]:
    """The label of each chosen image in words, with its set; None without label. Training never sees it."""
    sets = list(images.seen)
    words = {"fracatlas": {0: "FracAtlas, no fracture", 1: "FracAtlas, fracture"}}
    found = []
    for number, y in zip(images.store[chosen], images.y[chosen], strict=True):
        name = sets[number]
        label = f"knee, KL {y:.0f}" if name == "kneekl" else words.get(name, {}).get(y, f"{name}, {y:.0f}")
        found.append(None if np.isnan(y) else label)
    return found
