"""The publishers' own preprocessing: read from their files where those are here, else from their libraries."""

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path

import timm
from timm.data import resolve_data_config
from torchvision import models

from ortholib.encoders.preprocess import LITE, Preparation
from ortholib.encoders.published import Encoder
from ortholib.errors import OrthoError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# evaluation of facebookresearch/dino: eval_linear.py
DINO = Preparation(256, 224, IMAGENET_MEAN, IMAGENET_STD)
# Caffe's: blue, green, red from 0 to 255 less these means; on a grey image the order is only that of the means
CAFFE = Preparation(256, 227, (103.939 / 255, 116.779 / 255, 123.68 / 255), (1 / 255,) * 3, "bilinear")
# as in their folders, for a random network without them
RAD_DINO = Preparation(518, 518, (0.5307,) * 3, (0.2583,) * 3)
CLIP = Preparation(224, 224, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
PILLOW = {2: "bilinear", 3: "bicubic"}  # numbers of its filters


def preparation(of: Encoder, folder: Path | None = None) -> Preparation:
    """The preprocessing of an encoder. folder: that of its files, whose configurations come first.

    Raises OrthoError for a configuration that is damaged or asks for what `Preparation` cannot say.
    """
    read = {
        "torchvision": _torchvision, "timm": _timm, "lite": _lite, "dinov3": _timm, "rad-dino": _rad_dino,
        "open_clip": _open_clip, "dino": lambda *_: DINO, "squeezenet": lambda *_: CAFFE,
    }  # fmt: skip
    return read[of.format](of, folder)


def _torchvision(of: Encoder, folder: Path | None) -> Preparation:
    its = models.get_weight(of.published.removeprefix("torchvision ")).transforms()
    return Preparation(its.resize_size[0], its.crop_size[0], tuple(its.mean), tuple(its.std), its.interpolation.value)


def _timm(of: Encoder, folder: Path | None) -> Preparation:
    name = of.published.removeprefix("timm/") if of.published.startswith("timm/") else of.network
    published = _configuration(folder, "config.json").get("pretrained_cfg") or timm.get_pretrained_cfg(name).to_dict()
    asked = resolve_data_config(pretrained_cfg=published)
    if asked["crop_mode"] != "center":
        raise OrthoError(f"{folder}: crop_mode is {asked['crop_mode']}; expected center, the only one that is known.")
    side = asked["input_size"][-1]
    resize = math.floor(side / asked["crop_pct"])
    return Preparation(resize, side, tuple(asked["mean"]), tuple(asked["std"]), asked["interpolation"])


def _lite(of: Encoder, folder: Path | None) -> Preparation:
    return _timm(of, None)._replace(mean=(LITE.mean,) * 3, std=(LITE.std,) * 3)


def _rad_dino(of: Encoder, folder: Path | None) -> Preparation:
    its = _configuration(folder, "preprocessor_config.json")
    if not its:
        return RAD_DINO
    with _fields(folder / "preprocessor_config.json"):
        size, crop = its["size"]["shortest_edge"], its["crop_size"]["height"]
        return Preparation(size, crop, tuple(its["image_mean"]), tuple(its["image_std"]), PILLOW[its["resample"]])


def _open_clip(of: Encoder, folder: Path | None) -> Preparation:
    its = _configuration(folder, "open_clip_config.json")
    if not its:
        return CLIP
    with _fields(folder / "open_clip_config.json"):
        size, more = its["model_cfg"]["vision_cfg"]["image_size"], its["preprocess_cfg"]
        return CLIP._replace(resize=size, crop=size, mean=tuple(more["mean"]), std=tuple(more["std"]))


@contextlib.contextmanager
def _fields(file: Path) -> Iterator[None]:
    """A configuration in which a field is missing is said to be one."""
    try:
        yield
    except (KeyError, TypeError) as error:
        raise OrthoError(f"{file} has no {error} as its publisher's has; bring the file again.") from error


def _configuration(folder: Path | None, name: str) -> dict:
    """A JSON file of the folder; {} where it is not there."""
    if folder is None or not (folder / name).is_file():
        return {}
    try:
        return dict(json.loads((folder / name).read_text()))
    except ValueError as error:
        raise OrthoError(f"{folder / name} is damaged ({error}); expected JSON. Bring the file again.") from error
