"""Published weights that a training may start from: what they are, and where their files lie on this machine."""

from pathlib import Path
from typing import NamedTuple

from ortholib import paths
from ortholib.errors import OrthoError


class Encoder(NamedTuple):
    """title: what the weights are. network: timm's name of it. file: below `$ORTHOLIB_WEIGHTS/<name>/`. address: of
    that file. licence: of the weights."""

    title: str
    network: str
    file: str
    address: str
    licence: str


ENCODERS = {
    "resnet50": Encoder(
        "torchvision's ResNet-50, ImageNet with labels (IMAGENET1K_V2)",
        "resnet50",
        "resnet50-11ad3fa6.pth",
        "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
        "BSD-3-Clause",
    ),
    "dino-resnet50": Encoder(
        "DINO's ResNet-50, ImageNet without labels (Caron et al. 2021)",
        "resnet50",
        "dino_resnet50_pretrain.pth",
        "https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth",
        "Apache-2.0",
    ),
}


def find(name: str, edition: str) -> Path:
    """File of the weights `name`: the phantom's stand-in, else below `$ORTHOLIB_WEIGHTS`. Raises OrthoError with the
    way to them where they are absent."""
    file = paths.weights_root(edition) / name / ENCODERS[name].file
    if not file.is_file():
        raise OrthoError(f"{file} is not there. {way(name)}")
    return file


def absent(name: str) -> bool:
    """Whether the weights `name` have to be brought first."""
    return not (paths.weights_root() / name / ENCODERS[name].file).is_file()


def way(name: str) -> str:
    """What to do to have the weights `name`."""
    card = ENCODERS[name]
    return f"Download {card.title} ({card.address}, {card.licence}) to $ORTHOLIB_WEIGHTS/{name}/{card.file}."
