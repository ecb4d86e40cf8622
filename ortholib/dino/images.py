"""What a pretraining sees: unlabelled squares of several sets, served as batches in a stateless order."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

AHEAD = 1  # batches that are read before they are asked for
SHARE = 0.6  # of the device's free memory that the squares may take


@dataclass(frozen=True)
class Images:
    """n training images of several stores with squares of one size.

    stores: (N, S, S) uint8 each. weights: how often an epoch shows each image of a store.
    store, row: (n,) where an image lies, store by store. valid: (n, 4) the image inside its square.
    y, group: (n,) main label of its set (NaN where not asked) and unit that no split cuts; they only serve to watch the
    training. seen: set -> split, version and images, for the record. identity: hashes of what is trained on.
    """

    stores: list[np.ndarray]
    weights: list[float]
    store: np.ndarray
    row: np.ndarray
    valid: np.ndarray
    y: np.ndarray
    group: np.ndarray
    seen: dict
    identity: dict

    def __len__(self) -> int:
        return len(self.row)

    def order(self, batch: int, seed: int, epoch: int) -> np.ndarray:
        """(steps, batch) image numbers of an epoch: a permutation of (seed, epoch), without a short last batch."""
        rng = np.random.default_rng([seed, epoch])
        shown, first = [], 0
        for n, weight in zip(np.bincount(self.store), self.weights, strict=True):
            times, rest = divmod(round(weight * n), n)
            shown += [np.tile(np.arange(first, first + n), times), first + rng.permutation(n)[:rest]]
            first += n
        shown = rng.permutation(np.concatenate(shown))
        steps = len(shown) // batch
        return shown[: steps * batch].reshape(steps, batch)


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
        return self._on_device(index, self._read(index))

    def stream(self, rows: Iterable[np.ndarray]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batch after batch; the next one is read while one is in use."""
        with ThreadPoolExecutor(1) as pool:
            waiting = deque()
            for index in rows:
                waiting.append((index, pool.submit(self._read, index)))
                if len(waiting) > AHEAD:
                    index, read = waiting.popleft()
                    yield self._on_device(index, read.result())
            for index, read in waiting:
                yield self._on_device(index, read.result())

    def _read(self, index: np.ndarray) -> torch.Tensor | None:
        """From the memory maps, pinned where it goes to a GPU; None where the squares live there."""
        if self.resident is not None:
            return None
        batch = torch.from_numpy(self._gather(index))
        return batch.pin_memory() if self.device.type == "cuda" else batch

    def _on_device(self, index: np.ndarray, read: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.from_numpy(index)
        if self.device.type == "cuda":  # from pinned memory: the copy does not wait for the GPU
            chosen = chosen.pin_memory().to(self.device, non_blocking=True)
        batch = self.resident[chosen] if read is None else read.to(self.device, non_blocking=True)
        return batch, self.valid[chosen]

    def _gather(self, index: np.ndarray) -> np.ndarray:
        side = self.images.stores[0].shape[1]
        out = np.empty((len(index), side, side), np.uint8)
        for number, squares in enumerate(self.images.stores):
            here = np.flatnonzero(self.images.store[index] == number)
            out[here] = squares[self.images.row[index[here]]]
        return out
