"""Pixels of labelled images as batches on the device."""

import numpy as np
import torch

from ortholib.data.labelled import Labelled


class Batches:
    """Serves uint8 (B, S, S) batches of a `Labelled` on a device; pixels live on the GPU where they fit."""

    def __init__(self, data: Labelled, device: torch.device):
        self.device = device
        rows = data.row
        self.row = torch.from_numpy(np.ascontiguousarray(rows))
        self.mirror = torch.from_numpy(data.mirror)
        self.pixels = data.pixels
        self.on_device = None
        if device.type == "cuda" and data.pixels.nbytes <= 0.6 * torch.cuda.mem_get_info(device)[0]:
            self.on_device = torch.from_numpy(np.ascontiguousarray(data.pixels)).to(device)

    def __call__(self, index: np.ndarray) -> torch.Tensor:
        index = torch.from_numpy(index)
        if self.on_device is not None:
            batch = self.on_device[self.row[index].to(self.device)]
        else:
            batch = torch.from_numpy(self.pixels[self.row[index].numpy()])
            if self.device.type == "cuda":
                batch = batch.pin_memory().to(self.device, non_blocking=True)
        mirror = self.mirror[index].to(self.device)
        return torch.where(mirror[:, None, None], batch.flip(-1), batch) if mirror.any() else batch
