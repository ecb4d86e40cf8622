"""Encoders opened for use: from squares of grey pixels to embeddings, as their publishers take them."""

import json
from dataclasses import dataclass
from pathlib import Path

import pooch
import torch
from torch import nn

from ortholib.encoders import load, networks, preprocess, publishers, registry
from ortholib.encoders.preprocess import Grey, Preparation
from ortholib.errors import OrthoError, UsageError

STAND_IN = "stand-in.json"  # beside weights that stand in for the published ones: network and arguments of theirs


@dataclass(frozen=True)
class Encoder:
    """A network in evaluation mode with its preprocessing: a publisher's `Preparation`, or the one-channel `Grey` of an
    own network. dimension: D of its embeddings. sha256: of its file, "" for random weights. stand_in: whether the
    weights only stand in for the published ones."""

    name: str
    network: nn.Module
    preparation: Preparation | Grey
    dimension: int
    sha256: str
    stand_in: bool

    def to(self, device: str | torch.device) -> "Encoder":
        """The same encoder, its network on `device`."""
        self.network.to(device)
        return self

    def prepare(self, batch: torch.Tensor) -> torch.Tensor:
        """uint8 (B, S, S) -> what the network is shown, float32 on the device of the batch."""
        how = self.preparation
        return preprocess.prepare(batch, how) if isinstance(how, Preparation) else preprocess.normalise(batch, how)

    @torch.inference_mode()
    def embed(self, batch: torch.Tensor) -> torch.Tensor:
        """uint8 (B, S, S) on the network's device -> float32 (B, D)."""
        return networks.embed(self.network, self.prepare(batch)).float()


def open(name: str, edition: str = "real", seed: int = 0, random: bool = False) -> Encoder:
    """The encoder `name` of the registry. random: the same network and preprocessing at random weights of `seed`, for
    which no file has to be here.

    Raises UsageError for a name that is no image encoder; OrthoError where its file is absent, truncated, not the
    published one, or made for another network.
    """
    entry = registry.describe(name)
    if not entry.dimension:
        known = ", ".join(other for other, one in registry.ENCODERS.items() if one.dimension)
        raise UsageError(f"'{name}' ({entry.title}) makes no embeddings of images; expected one of {known}.")
    return at(name, _file_if_here(name, edition) if random else registry.find(name, edition), seed, random)


def at(name: str, file: Path | None, seed: int = 0, random: bool = False) -> Encoder:
    """The same from a file that was found."""
    entry, shape = registry.describe(name), _stand_in(file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = networks.build(entry, shape.get("network", entry.network), shape.get("arguments", {}))
        if random:
            networks.randomise(network)
    digest = ""
    if not random:
        digest = pooch.file_hash(str(file)) if shape else registry.verify(name, file)
        networks.fill(network, entry, file)
    how = publishers.preparation(entry, file.parent if file else None)
    return Encoder(name, network.eval(), how, network.num_features, digest, bool(shape))


def own(path: Path, network: str, name: str = "own-dino") -> Encoder:
    """The encoder of an own pretraining: a one-channel network of timm's, at the weights of a file (see `load.load`).
    It is shown whole squares, as its pretraining was. Errors as `load.build`."""
    built = load.build(network, path, 0)
    return Encoder(name, built.eval(), preprocess.IMAGENET, built.num_features, pooch.file_hash(str(path)), False)


def _file_if_here(name: str, edition: str) -> Path | None:
    try:
        return registry.find(name, edition)
    except OrthoError:
        return None


def _stand_in(file: Path | None) -> dict:
    """Network and arguments of a stand-in; {} for real weights and for none."""
    note = file.with_name(STAND_IN) if file else None
    return json.loads(note.read_text()) if note and note.is_file() else {}
