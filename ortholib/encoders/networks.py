"""The networks of the published encoders as they are published, three input channels and head included: how each is
built, what its tensors are called in the file, and where its embedding is taken."""

from collections import OrderedDict
from collections.abc import Mapping

import timm
import torch
from torch import nn
from torchvision import models
from torchvision.models import convnext

from ortholib.encoders import load
from ortholib.encoders.published import Encoder
from ortholib.errors import OrthoError

Tensors = dict[str, torch.Tensor]

CONVNEXT_S = {"depths": (3, 3, 27, 3), "dims": (96, 192, 384, 768)}


class ConvNeXt(convnext.ConvNeXt):
    """torchvision's, whose names are not those of timm. num_features: dimension of its embedding."""

    def __init__(self, depths: tuple[int, ...], dims: tuple[int, ...], num_classes: int = 1000):
        ends = (*dims, None)
        super().__init__(
            [convnext.CNBlockConfig(*ends[i : i + 2], depth) for i, depth in enumerate(depths)], num_classes=num_classes
        )
        self.num_features = dims[-1]

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, D): mean of the last maps, and the classifier's layer norm."""
        return self.classifier[:2](self.avgpool(self.features(x)))


class SqueezeNet(nn.Module):
    """The features of torchvision's SqueezeNet 1.1, which pads its first convolution as little as Caffe's does."""

    num_features = 512

    def __init__(self):
        super().__init__()
        self.features = models.squeezenet1_1(num_classes=1).features

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, 512): mean of the last maps."""
        return self.features(x).mean((2, 3))


class Projected(nn.Module):
    """CLIP's image tower: a network of timm, its embedding projected to `num_features`, under open_clip's names."""

    def __init__(self, network: str, num_features: int, **arguments):
        super().__init__()
        self.trunk = timm.create_model(network, pretrained=False, **arguments)
        self.head = nn.Sequential(OrderedDict(proj=nn.Linear(self.trunk.num_features, num_features, bias=False)))
        self.num_features = num_features

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, num_features)."""
        return self.head(self.trunk(x))


def build(of: Encoder, network: str, arguments: dict) -> nn.Module:
    """The network of an encoder at its library's first weights. network, arguments: timm's name and options of it."""
    if of.format == "squeezenet":
        return SqueezeNet()
    if (of.format, of.network) == ("torchvision", "convnext_small"):
        return ConvNeXt(**CONVNEXT_S | arguments)
    if of.format == "open_clip":
        return Projected(network, **{"num_features": of.dimension, "num_classes": 0} | arguments)
    options = {"num_classes": of.classes}
    if network.startswith("vit_") and of.embedding.startswith("class token"):
        options["global_pool"] = "token"  # timm's default for DINOv3 is the mean of the patches
    made = timm.create_model(network, pretrained=False, **options | arguments)
    if not of.rotary:
        made.rope = None
    return made


def embed(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> (B, D): what stands before the classifier."""
    own = getattr(network, "embed", None)
    return own(x).flatten(1) if own else network.forward_head(network.forward_features(x), pre_logits=True)


def fill(network: nn.Module, of: Encoder, path) -> None:
    """Load the published file. Raises OrthoError where it is damaged or was made for another network."""
    wanted, found = network.state_dict(), load.read(path)
    if of.format == "lite":
        found = load.in_order(found, network)
    elif of.format == "rad-dino":
        found.pop("mask_token", None)
    elif of.format == "open_clip":
        found = {k.removeprefix("visual."): v for k, v in found.items() if k.startswith("visual.")}
    elif of.format == "dinov3":
        found = _dinov3(found, network, path)
    load.fill(network, wanted, found, path, of.title)


def _dinov3(state: Mapping[str, torch.Tensor], network: nn.Module, path) -> Tensors:
    """Tensors in the names of Meta's DINOv3 under timm's; the periods of the rotary positions go into their buffer.

    timm has no bias of q, k, v: those of the release are zero, and others are refused.
    """
    for name, bias in state.items():
        if name.endswith("qkv.bias") and (bias * state.get(f"{name}_mask", torch.ones(()))).any():
            raise OrthoError(f"{path}: {name} is not zero; expected the release, whose biases of q, k and v are zero.")
    if network.rope is not None and "rope_embed.periods" in state:
        network.rope.periods.copy_(state["rope_embed.periods"])
    dropped = ("mask_token", "qkv.bias", "bias_mask", "periods")
    names = {"storage_tokens": "reg_token", "ls1.gamma": "gamma_1", "ls2.gamma": "gamma_2"}
    kept = {}
    for name, value in state.items():
        if not name.endswith(dropped):
            for theirs, ours in names.items():
                name = name.replace(theirs, ours)
            kept[name] = value
    return kept


def randomise(network: nn.Module) -> None:
    """What a random network needs beyond its library's first weights: layer scales, from which DINO and ConvNeXt train
    at nearly zero, are 1. Else its blocks would do nothing, and a class token would see nothing of the image."""
    for name, value in network.named_parameters():
        if any(part in name for part in ("gamma", "layer_scale")):
            nn.init.ones_(value)
