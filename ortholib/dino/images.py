"""What a pretraining sees: unlabelled squares of several sets, served as batches in a stateless order."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from ortholib import datasets, split, tasks
from ortholib.datasets.base import image_values
from ortholib.dino.settings import Pretrain
from ortholib.errors import OrthoError

SHARE = 0.6  # of the device's free memory that the squares may take


@dataclass(frozen=True)
class Images:
    """n training images of several stores with squares of one size.

    stores: (N, S, S) uint8 each. store, row: (n,) where an image lies. valid: (n, 4) the image inside its square.
    y, group: (n,) main label of its set (NaN where not asked) and unit that no split cuts; they only serve to watch the
    training. seen: set -> split, version and images, for the record. identity: hashes of what is trained on.
    """

    stores: list[np.ndarray]
    store: np.ndarray
    row: np.ndarray
    valid: np.ndarray
    y: np.ndarray
    group: np.ndarray
    seen: dict
    identity: dict

    def __len__(self) -> int:
        return len(self.row)


def prepare(settings: Pretrain, edition: str) -> Images:
    """Read, split and pack the sets. Evaluation parts stay out unless a set is asked for as `name:all`.

    Raises OrthoError where a set has no training part.
    """
    stores, columns, seen, hashes = [], [], {}, []
    for number, (name, how) in enumerate(settings.parts()):
        image_set = datasets.load(name, edition)
        store = tasks.pack(image_set, settings.size)
        label = datasets.main_label(image_set)
        if how == "all":
            ids = image_set.usable["image_id"].to_numpy(str)
        else:
            parts = split.make(image_set, how, label).images
            ids = parts.loc[parts["part"] == "train", "image_id"].to_numpy(str)
        ids = ids[~np.isin(ids, list(store.failed))]
        if not len(ids):
            raise OrthoError(f"{image_set.root}: no readable image in the training part of {name}:{how}.")
        row = store.rows(ids)
        group = image_set.images.set_index("image_id")["group"]
        y = image_values(image_set, label).reindex(ids) if label else np.full(len(ids), np.nan)
        columns.append((np.full(len(ids), number), row, store.valid[row], y, group.loc[ids].to_numpy(str)))
        stores.append(store.pixels)
        seen[name] = {"split": how, "version": image_set.version, "images": len(ids)}
        hashes.append([store.hash, hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]])
    joined = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return Images(stores, *joined, seen, {"stores": hashes, "sets": list(settings.sets)})


def order(n: int, batch: int, seed: int, epoch: int) -> np.ndarray:
    """(steps, batch) image numbers of an epoch: a permutation of (seed, epoch), without a short last batch."""
    steps = n // batch
    return np.random.default_rng([seed, epoch]).permutation(n)[: steps * batch].reshape(steps, batch)


class Batches:
    """Serves (uint8 (B, S, S), valid (B, 4)) on a device: the squares live there where they fit, else they are read
    from the memory maps; the batches are the same."""

    def __init__(self, images: Images, device: torch.device):
        self.images, self.device, self.resident = images, device, None
        needed = len(images) * images.stores[0][0].nbytes
        if device.type == "cuda" and needed <= SHARE * torch.cuda.mem_get_info(device)[0]:
            self.resident = torch.from_numpy(self._gather(np.arange(len(images)))).to(device)
        self.valid = torch.from_numpy(images.valid.astype(np.int64)).to(device)

    def __call__(self, index: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.from_numpy(index).to(self.device)
        if self.resident is not None:
            return self.resident[chosen], self.valid[chosen]
        batch = torch.from_numpy(self._gather(index))
        if self.device.type == "cuda":
            batch = batch.pin_memory().to(self.device, non_blocking=True)
        return batch, self.valid[chosen]

    def _gather(self, index: np.ndarray) -> np.ndarray:
        side = self.images.stores[0].shape[1]
        out = np.empty((len(index), side, side), np.uint8)
        for number, squares in enumerate(self.images.stores):
            here = np.flatnonzero(self.images.store[index] == number)
            out[here] = squares[self.images.row[index[here]]]
        return out
