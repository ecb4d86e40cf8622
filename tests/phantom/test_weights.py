"""Stand-in weights: published names and files, strict loading, features that depend on the image."""

import hashlib
import importlib.util
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file

from ortholib.encoders import networks
from ortholib.encoders.encoder import STAND_IN
from ortholib.encoders.registry import ENCODERS
from ortholib.errors import UsageError
from ortholib.phantom import weights
from ortholib.phantom.weights import ELSEWHERE, LEFT_OUT, MARK, STANDINS, build, write_weights

NETWORKS = [name for name, standin in STANDINS.items() if standin.of.format not in ELSEWHERE]
HUB = [name for name, standin in STANDINS.items() if standin.of.format == "timm"]
BLOCK = re.compile(
    r"(layer\d|blocks(?=\.\d+\.\D)|blocks\.\d+|stages\.\d\.blocks|features\.\d|features(?=\.\d+\.\D))\.\d+\."
)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("weights") / "a"


@pytest.fixture(scope="module", autouse=True)
def record(root) -> dict:
    return write_weights(root, 0)


def tensors(file: Path) -> dict:
    if file.suffix == ".npz":
        return {key: torch.from_numpy(value) for key, value in np.load(file).items()}
    return load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)


def state(root: Path, name: str) -> dict[str, torch.Tensor]:
    """The tensors of a stand-in under the names of its architecture, as a loader has to rename them."""
    of = ENCODERS[name]
    loaded = tensors(root / name / of.file)
    if of.format == "lite":
        loaded = dict(zip(build(name).state_dict(), loaded.values(), strict=True))
    if of.format == "rad-dino":
        loaded.pop("mask_token")
    if of.format == "open_clip":
        trunk = "visual.trunk."
        loaded = {k.removeprefix(trunk): v for k, v in loaded.items() if k.startswith(trunk)}
    if of.format == "dinov3":
        unused = ("mask_token", "qkv.bias", "bias_mask", "periods")
        renamed = {"backbone.": "", "storage_tokens": "reg_token", "ls1.gamma": "gamma_1", "ls2.gamma": "gamma_2"}
        loaded = {k: v for k, v in loaded.items() if not k.endswith(unused)}
        for old, new in renamed.items():
            loaded = {k.replace(old, new): v for k, v in loaded.items()}
    return loaded


def published(name: str) -> dict[str, torch.Tensor]:
    """State dict, without values, of the real architecture that a stand-in stands in for."""
    of = ENCODERS[name]
    with torch.device("meta"):
        if of.format in ("torchvision", "dino", "squeezenet"):
            model = getattr(torchvision.models, of.network)()
        else:
            model = timm.create_model(of.network, num_classes=of.classes)
    if of.format == "dino":
        model.fc = torch.nn.Identity()
    if of.format == "squeezenet":
        model.classifier = torch.nn.Identity()
    return model.state_dict()


def test_every_encoder_can_be_had_and_has_a_stand_in():
    assert list(STANDINS) == [name for name, one in ENCODERS.items() if not one.beside] and {
        one.format for one in ENCODERS.values()
    } == set(weights.FORMATS)
    for one in ENCODERS.values():
        assert one.title and one.licence and one.files and one.address.startswith("https://")


def test_record_and_files_agree(record, root):
    assert set(record) == {*STANDINS, *LEFT_OUT}
    assert {p.name for p in root.iterdir()} == {n for n in STANDINS if record[n]["files"]}
    for name in STANDINS:
        if not record[name]["files"]:
            assert name == "yolov8n" and "ultralytics" in record[name]["left_out"]
            continue
        assert record[name]["files"] == list(ENCODERS[name].files)
        assert {p.name for p in (root / name).iterdir()} == {*record[name]["files"], MARK, STAND_IN}
        content = {file: (root / name / file).read_bytes() for file in record[name]["files"]}
        assert record[name]["bytes"] == sum(map(len, content.values())) <= 10e6
        assert record[name]["sha256"] == {file: hashlib.sha256(data).hexdigest() for file, data in content.items()}
        notice = (root / name / MARK).read_text()
        assert "random" in notice and ENCODERS[name].published in notice
    assert sum(record[name]["bytes"] for name in STANDINS) <= 30e6
    assert all(record[name]["left_out"] and not record[name]["files"] for name in LEFT_OUT)


@pytest.mark.parametrize("name", NETWORKS)
def test_loads_strictly_into_its_declared_architecture(root, name):
    loaded = build(name).load_state_dict(state(root, name), strict=True)
    assert not loaded.missing_keys and not loaded.unexpected_keys


@pytest.mark.parametrize("name", NETWORKS)
def test_names_are_those_of_the_real_architecture(root, name):
    ours, real = state(root, name), published(name)
    blocks = {found.group() for found in map(BLOCK.match, ours) if found}
    assert blocks
    kept = {key for key in real if not (found := BLOCK.match(key)) or found.group() in blocks}
    assert set(ours) == kept
    assert all(ours[key].ndim == real[key].ndim for key in ours)
    assert all(ours[key].dtype == real[key].dtype for key in ours)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_finite_and_depend_on_the_image(root, name):
    model = build(name).eval()
    model.load_state_dict(state(root, name))
    side = STANDINS[name].size
    squares = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))  # the mean of fine noise is one grey
    images = torch.nn.functional.interpolate(squares, side).expand(-1, 3, -1, -1)
    with torch.inference_mode():
        a, b = networks.embed(model, images)
    assert torch.isfinite(a).all() and a.std() > 0.1
    assert (a - b).norm() > 0.02 * a.norm()


def test_same_seed_same_bytes_other_seed_other_numbers(record, root, tmp_path):
    again, other = write_weights(tmp_path / "b", 0), write_weights(tmp_path / "c", 1)
    for name in set(STANDINS) - {"yolov8n"}:
        assert again[name] == record[name]
        if name != "biomedbert":  # holds no numbers
            file = ENCODERS[name].file
            assert other[name]["sha256"][file] != record[name]["sha256"][file]
    first, second = (tensors(r / "dinov2-small/model.safetensors") for r in (root, tmp_path / "c"))
    assert all(not torch.equal(first[key], second[key]) for key in first)


def test_only_ultralytics_needs_a_pickle(root):
    for file in (p for p in root.rglob("*.*") if p.suffix in (".pth", ".bin", ".safetensors", ".npz")):
        assert tensors(file)
    for file in root.rglob("*.pt"):
        assert file.name == "yolov8n.pt"
        with pytest.raises(pickle.UnpicklingError, match="weights_only"):
            torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", HUB)
def test_timm_builds_the_hub_folder_by_itself(root, name):
    model = timm.create_model(f"local-dir:{root / name}", pretrained=True)
    expected = state(root, name)
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert model.pretrained_cfg["input_size"][-1] == STANDINS[name].size


def test_dino_full_checkpoint_wraps_both_networks(root):
    backbone = state(root, "dino-resnet50")
    whole = tensors(root / "dino-resnet50/dino_resnet50_pretrain_full_checkpoint.pth")
    assert not any(key.startswith("fc.") for key in backbone)
    for role in ("student", "teacher"):
        prefix = "module.backbone."
        inner = {k.removeprefix(prefix): v for k, v in whole[role].items() if k.startswith(prefix)}
        assert set(inner) == set(backbone)
        assert {k for k in whole[role] if not k.startswith(prefix)} == {
            *(f"module.head.mlp.{i}.{leaf}" for i in (0, 2, 4) for leaf in ("weight", "bias")),
            "module.head.last_layer.weight_g", "module.head.last_layer.weight_v",
        }  # fmt: skip
        same = all(torch.equal(inner[key], backbone[key]) for key in backbone)
        assert same == (role == "teacher")


def test_rad_dino_is_one_network_under_two_names(root):
    folder = root / "rad-dino"
    theirs, native = tensors(folder / "model.safetensors"), tensors(folder / "backbone_compatible.safetensors")
    config = json.loads((folder / "config.json").read_text())
    width, grid = config["hidden_size"], config["image_size"] // config["patch_size"]
    shapes = {
        "embeddings.cls_token": (1, 1, width), "embeddings.mask_token": (1, width),
        "embeddings.position_embeddings": (1, 1 + grid**2, width),
        "embeddings.patch_embeddings.projection.weight": (width, 3, config["patch_size"], config["patch_size"]),
        "embeddings.patch_embeddings.projection.bias": (width,),
        "layernorm.weight": (width,), "layernorm.bias": (width,),
    }  # fmt: skip
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        for name in ("attention.attention.query", "attention.attention.key", "attention.attention.value",
                     "attention.output.dense"):  # fmt: skip
            shapes |= {f"{layer}.{name}.weight": (width, width), f"{layer}.{name}.bias": (width,)}
        inner = width * config["mlp_ratio"]
        shapes |= {f"{layer}.mlp.fc1.weight": (inner, width), f"{layer}.mlp.fc1.bias": (inner,)}
        shapes |= {f"{layer}.mlp.fc2.weight": (width, inner), f"{layer}.mlp.fc2.bias": (width,)}
        shapes |= {f"{layer}.norm{n}.{leaf}": (width,) for n in (1, 2) for leaf in ("weight", "bias")}
        shapes |= {f"{layer}.layer_scale{n}.lambda1": (width,) for n in (1, 2)}
        split = [theirs[f"{layer}.attention.attention.{role}.weight"] for role in ("query", "key", "value")]
        torch.testing.assert_close(torch.cat(split), native[f"blocks.{i}.attn.qkv.weight"], rtol=0, atol=0)
    assert {key: tuple(value.shape) for key, value in theirs.items()} == shapes
    assert sum(v.numel() for v in theirs.values()) == sum(v.numel() for v in native.values())
    torch.testing.assert_close(theirs["embeddings.position_embeddings"], native["pos_embed"], rtol=0, atol=0)
    assert config["architectures"] == ["Dinov2Model"] and config["stage_names"][-1:] == config["out_features"]
    preprocessing = json.loads((folder / "preprocessor_config.json").read_text())
    assert preprocessing["crop_size"] == {"height": 518, "width": 518}
    assert preprocessing["image_mean"] == [0.5307] * 3 and preprocessing["image_std"] == [0.2583] * 3


def test_biomedclip_has_both_towers_and_the_configuration_fits(root):
    loaded = tensors(root / "biomedclip/open_clip_pytorch_model.bin")
    config = json.loads((root / "biomedclip/open_clip_config.json").read_text())["model_cfg"]
    bert = json.loads((root / "biomedbert/config.json").read_text())
    words = (root / "biomedclip/vocab.txt").read_text().split()
    width, inner, common = bert["hidden_size"], bert["intermediate_size"], config["embed_dim"]
    hidden = (width + common) // 2  # open_clip's own rule for "mlp"
    text = {"embeddings.word_embeddings.weight": (bert["vocab_size"], width), "embeddings.position_ids": (1, 512),
            "embeddings.position_embeddings.weight": (512, width), "embeddings.LayerNorm.weight": (width,),
            "embeddings.token_type_embeddings.weight": (2, width), "embeddings.LayerNorm.bias": (width,)}  # fmt: skip
    for i in range(bert["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        for name, shape in {
            "attention.self.query": (width, width), "attention.self.key": (width, width),
            "attention.self.value": (width, width), "attention.output.dense": (width, width),
            "intermediate.dense": (inner, width), "output.dense": (width, inner),
        }.items():  # fmt: skip
            text |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            text |= {f"{layer}.{name}.{leaf}": (width,) for leaf in ("weight", "bias")}
    others = {
        "logit_scale": (), "visual.head.proj.weight": (common, build("biomedclip").num_features),
        "text.proj.0.weight": (hidden, width), "text.proj.2.weight": (common, hidden),
    }  # fmt: skip
    expected = others | {f"text.transformer.{key}": shape for key, shape in text.items()}
    rest = {key: tuple(value.shape) for key, value in loaded.items() if not key.startswith("visual.trunk.")}
    assert rest == expected
    assert config["vision_cfg"]["timm_model_name"] == STANDINS["biomedclip"].network
    assert config["text_cfg"]["hf_pooler_type"] == "cls_last_hidden_state_pooler"
    assert words[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] and len(words) == bert["vocab_size"]
    tokenizer = json.loads((root / "biomedclip/tokenizer.json").read_text())
    assert tokenizer["model"]["vocab"] == {word: i for i, word in enumerate(words)}


def test_orthofoundation_has_what_the_release_has(root):
    loaded = tensors(root / "orthofoundation/OrthoFoudation-L.pth")
    blocks = STANDINS["orthofoundation"].arguments["depth"]
    assert len(loaded) == 15 * blocks + 8  # the release: 24 blocks, 368 tensors
    assert all(key.startswith("backbone.") for key in loaded)
    assert not any(value.any() for key, value in loaded.items() if key.endswith(("qkv.bias", "bias_mask")))
    computed = build("orthofoundation").rope.periods
    periods = loaded["backbone.rope_embed.periods"]
    torch.testing.assert_close(periods, computed.bfloat16().float(), rtol=0, atol=0)
    assert not torch.equal(periods, computed)


@pytest.mark.skipif(importlib.util.find_spec("ultralytics") is None, reason="ultralytics is an optional extra")
def test_yolo_loads_with_the_names_of_yolov8n(root):
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    model = YOLO(root / "yolov8n/yolov8n.pt")
    assert model.task == "detect" and len(model.names) == 80
    ours = model.model.state_dict()
    assert list(ours) == list(DetectionModel("yolov8n.yaml", verbose=False).state_dict())
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        a, b = model.model.eval()(images)[0]
    assert torch.isfinite(a).all()
    assert (a[:4] - b[:4]).abs().mean() > 0.1  # boxes in pixels


def test_yolo_is_left_out_without_ultralytics(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "STANDINS", {"yolov8n": STANDINS["yolov8n"]})
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    record = write_weights(tmp_path / "w")
    assert record["yolov8n"]["files"] == [] and "ultralytics" in record["yolov8n"]["left_out"]


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(weights, "FORMATS", weights.FORMATS | {"dino": broken})
    with pytest.raises(OSError, match="disk full"):
        write_weights(tmp_path / "w")
    assert not any(tmp_path.iterdir())


def test_refuses_a_folder_with_files_and_the_users_data(tmp_path, monkeypatch):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "resnet18-f37072fd.pth").write_text("real weights")
    with pytest.raises(UsageError, match="not an empty folder"):
        write_weights(tmp_path / "w")
    assert (tmp_path / "w" / "resnet18-f37072fd.pth").read_text() == "real weights"
    monkeypatch.setenv("ORTHOLIB_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="never written to"):
        write_weights(tmp_path / "other")


@pytest.mark.parametrize(("name", "message"), [("resnet19", "unknown.*resnet18"), ("yolov8n", "ultralytics")])
def test_build_says_what_it_cannot_build(name, message):
    with pytest.raises(UsageError, match=message):
        build(name)
