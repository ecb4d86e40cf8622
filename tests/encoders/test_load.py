"""Starting weights: every published form loads into the one-channel backbone; nothing starts at random unasked."""

import argparse

import pytest
import timm
import torch
from safetensors.torch import save_file

from ortholib.encoders import load, registry
from ortholib.errors import OrthoError
from ortholib.phantom import weights


def backbone(channels: int = 1, seed: int = 0, classes: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return timm.create_model("resnet10t", in_chans=channels, num_classes=classes).eval()


@pytest.fixture(scope="module")
def coloured() -> torch.nn.Module:
    return backbone(3, seed=1, classes=7)


@pytest.mark.parametrize("form", ["torchvision", "DINO", "training", "safetensors"])
def test_every_form_gives_the_features_of_the_three_channel_network(tmp_path, coloured, form):
    state = coloured.state_dict()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(state, path)
    elif form == "torchvision":
        torch.save(state, path)
    elif form == "DINO":  # the backbone alone
        torch.save({name: value for name, value in state.items() if not name.startswith("fc.")}, path)
    else:
        teacher = {f"module.backbone.{name}": value for name, value in state.items()}
        torch.save({"teacher": teacher | {"module.head.mlp.0.weight": torch.zeros(2, 2)}, "epoch": 100}, path)
    model = backbone()
    load.load(model, path, "resnet10t")
    images = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        features = coloured.forward_head(coloured.forward_features(images.repeat(1, 3, 1, 1)), pre_logits=True)
        torch.testing.assert_close(model(images), features, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused(tmp_path, coloured):
    with pytest.raises(OrthoError, match=r"absent\.pth: initial weights not found.*encoders.registry.*or start"):
        load.load(backbone(), tmp_path / "absent.pth", "resnet10t")
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    with pytest.raises(OrthoError, match="holds no weights that can be read safely"):
        load.load(backbone(), tmp_path / "broken.pth", "resnet10t")
    state = coloured.state_dict()
    del state["layer1.0.conv1.weight"]
    torch.save(state | {"extra.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(OrthoError, match=r"does not fit resnet10t: 1 weights missing, 1 unknown, 0 misshapen"):
        load.load(backbone(), tmp_path / "other.pth", "resnet10t")


class Code:
    def __reduce__(self):
        return (print, ("run",))


def test_code_is_not_loaded(tmp_path, capsys):
    torch.save({"conv1.weight": Code()}, tmp_path / "code.pth")
    with pytest.raises(OrthoError, match="holds no weights that can be read safely"):
        load.load(backbone(), tmp_path / "code.pth", "resnet10t")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("zipped", [True, False])
def test_a_full_dino_checkpoint_says_what_it_needs(tmp_path, coloured, zipped):
    """The published full checkpoints keep the arguments of their training."""
    teacher = {f"backbone.{name}": value for name, value in coloured.state_dict().items()}
    full = {"teacher": teacher, "args": argparse.Namespace(arch="resnet50"), "epoch": 100}
    torch.save(full, tmp_path / "full.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(OrthoError, match=r"full\.pth holds no weights that can be read safely: .*argparse\.Namespace"):
        load.load(backbone(), tmp_path / "full.pth", "resnet10t")
    torch.save(full["teacher"], tmp_path / "teacher.pth")  # as the message says
    load.load(backbone(), tmp_path / "teacher.pth", "resnet10t")


def test_a_checkpoint_of_the_student_alone_is_said(tmp_path, coloured):
    torch.save({"student": coloured.state_dict(), "epoch": 3}, tmp_path / "student.pth")
    with pytest.raises(OrthoError, match=r"holds only the student of a DINO training \(its keys: student, epoch\)"):
        load.load(backbone(), tmp_path / "student.pth", "resnet10t")


def test_a_classifier_is_never_taken_from_the_file(tmp_path, coloured):
    torch.save(coloured.state_dict(), tmp_path / "w.pth")
    networks_own = load.build("resnet10t", None, 3, 2)
    loaded = load.build("resnet10t", tmp_path / "w.pth", 3, 2)
    assert torch.equal(loaded.fc.weight, networks_own.fc.weight)
    assert torch.equal(loaded.layer1[0].conv1.weight, coloured.layer1[0].conv1.weight)


def test_every_published_network_loads_its_stand_in(monkeypatch, tmp_path):
    """The phantom's files have the names of the published ones, and fit the tiny network under its own name."""
    weights.write_weights(tmp_path / "weights")
    monkeypatch.setenv("ORTHOLIB_WEIGHTS", str(tmp_path / "weights"))
    for name, tiny in (
        ("resnet50", "resnet50_tiny"), ("dino-resnet50", "resnet50_tiny"),
        ("efficientnet-lite0", "tf_efficientnet_lite_tiny"), ("efficientnet-lite0-timm", "tf_efficientnet_lite_tiny"),
    ):  # fmt: skip
        network, random = load.build(tiny, registry.find(name, "real"), 0), load.build(tiny, None, 0)
        last = [key for key, value in network.state_dict().items() if value.ndim == 4][-1]
        assert not torch.equal(network.state_dict()[last], random.state_dict()[last])
    monkeypatch.setenv("ORTHOLIB_WEIGHTS", str(tmp_path / "elsewhere"))
    assert registry.absent("resnet50")
    with pytest.raises(OrthoError, match=r"resnet50-11ad3fa6\.pth is not there\. Download torchvision's ResNet-50"):
        registry.find("resnet50", "real")
