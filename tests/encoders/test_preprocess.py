"""What the networks are shown equals what their publishers' own processors give.

Tolerances are in grey levels of 255, before scaling: a tie that is rounded the other way in the first of two passes
can be two levels in the end. transformers rounds only once.
"""

import open_clip
import pytest
import timm
import torch
import transformers
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torchvision import models

from ortholib.encoders import preprocess, publishers, registry
from ortholib.encoders.preprocess import Preparation
from ortholib.errors import OrthoError

LEVELS, MEAN = 2.01, 0.1  # grey levels by which a single pixel may differ, and pixels on average
SIDES = (96, 400)  # enlarged and shrunk


def pictures(images: torch.Tensor, side: int) -> tuple[torch.Tensor, list[Image.Image]]:
    """The images with a side of `side` pixels: as a batch, and as RGB pictures for a publisher's processor."""
    greys = [Image.fromarray(one.numpy()).resize((side, side), Image.Resampling.BICUBIC) for one in images]
    batch = torch.stack([torch.frombuffer(bytearray(one.tobytes()), dtype=torch.uint8) for one in greys])
    return batch.view(-1, side, side), [one.convert("RGB") for one in greys]


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor, how: Preparation) -> None:
    assert ours.shape == theirs.shape and ours.dtype == torch.float32
    apart = (ours - theirs).abs() * torch.tensor(how.std).view(1, 3, 1, 1) * 255
    assert apart.max() <= LEVELS and apart.mean() <= MEAN, (apart.max(), apart.mean())


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", [name for name, one in registry.ENCODERS.items() if one.format == "timm"])
def test_timms_own(images, name, side):
    entry = registry.ENCODERS[name]
    published = timm.get_pretrained_cfg(entry.published.removeprefix("timm/")).to_dict()
    processor = create_transform(**resolve_data_config(pretrained_cfg=published))
    how = publishers.preparation(entry)
    batch, rgb = pictures(images, side)
    assert_equal(preprocess.prepare(batch, how), torch.stack([processor(one) for one in rgb]), how)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", [name for name, one in registry.ENCODERS.items() if one.format == "torchvision"])
def test_torchvisions_own(images, name, side):
    entry = registry.ENCODERS[name]
    processor = models.get_weight(entry.published.removeprefix("torchvision ")).transforms()
    how = publishers.preparation(entry)
    batch, rgb = pictures(images, side)
    assert_equal(preprocess.prepare(batch, how), torch.stack([processor(one) for one in rgb]), how)


@pytest.mark.parametrize("side", [96, 700])
def test_rad_dinos_own_processor(images, phantom_weights, side):
    folder = phantom_weights / "rad-dino"
    processor = transformers.BitImageProcessor.from_pretrained(folder)
    how = publishers.preparation(registry.ENCODERS["rad-dino"], folder)
    assert how == publishers.RAD_DINO  # what a random network without the folder is given
    batch, rgb = pictures(images, side)
    theirs = processor(rgb, return_tensors="pt")["pixel_values"]
    assert_equal(preprocess.prepare(batch, how), theirs, how)


@pytest.mark.parametrize("side", SIDES)
def test_open_clips_own(images, phantom_weights, side):
    how = publishers.preparation(registry.ENCODERS["biomedclip"], phantom_weights / "biomedclip")
    assert how == publishers.CLIP._replace(resize=160, crop=160)  # the stand-in's
    processor = open_clip.image_transform(how.crop, is_train=False, mean=how.mean, std=how.std)
    batch, rgb = pictures(images, side)
    assert_equal(preprocess.prepare(batch, how), torch.stack([processor(one) for one in rgb]), how)


def test_the_lites_see_x_less_127_by_128(images):
    how = publishers.preparation(registry.ENCODERS["efficientnet-lite0"])
    shown = preprocess.prepare(images, how._replace(resize=96, crop=96))
    torch.testing.assert_close(shown[:, 0], (images.float() - 127) / 128)
    assert (how.resize, how.crop) == (256, 224)  # of a 256 square its centre of 224: TensorFlow's padding of 32


def test_squeezenet_sees_greys_of_255_less_caffes_means(images):
    how = publishers.preparation(registry.ENCODERS["squeezenet"])
    shown = preprocess.prepare(images, how._replace(resize=96, crop=96))
    for channel, mean in enumerate((103.939, 116.779, 123.68)):
        torch.testing.assert_close(shown[:, channel], images.float() - mean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("rad-dino", "preprocessor_config.json"),
        ("biomedclip", "open_clip_config.json"),
        ("dinov2-small", "config.json"),
    ],
)
def test_a_damaged_configuration_is_said(tmp_path, name, file):
    (tmp_path / file).write_text('{"size": ')
    with pytest.raises(OrthoError, match=rf"{file} is damaged"):
        publishers.preparation(registry.ENCODERS[name], tmp_path)
    if name != "dinov2-small":
        (tmp_path / file).write_text('{"size": {}}')
        with pytest.raises(OrthoError, match=rf"{file} has no "):
            publishers.preparation(registry.ENCODERS[name], tmp_path)
