"""The published layouts: which files a folder holds, and what the tensors in them are called.

The names that timm and torchvision do not know were read off the publishers' folders and code, named at each function;
`weights_medical` has the two medical models.
"""

import contextlib
import json
import sys
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from ortholib.encoders.registry import Encoder
from ortholib.phantom.weights_numbers import draw

PT = {"format": "pt"}  # a safetensors header without it is refused by transformers


class StandIn(NamedTuple):
    """An encoder's stand-in. network: what is built in its place, made tiny by `arguments`. size: side in pixels of its
    images. `weights.build` makes the network that its first file fits, up to the names of its format."""

    of: Encoder
    network: str
    arguments: dict
    size: int


def torchvision(folder: Path, standin: StandIn, model: nn.Module, rng: np.random.Generator) -> None:
    """`<network>-<hash>.pth`: the state dict with its classifier. The hash is the published file's, not this one's."""
    torch.save(OrderedDict(draw(model.state_dict(), rng)), folder / standin.of.files[0])


def dino(folder: Path, standin: StandIn, model: nn.Module, rng: np.random.Generator) -> None:
    """`dino_resnet50_pretrain.pth` (torchvision's names without `fc`) and the full checkpoint of `main_dino.py`.

    In the full one both networks are wrapped: `module.backbone.*`, `module.head.*`; the teacher's backbone is the first
    file. Real ones also hold `args`, an argparse.Namespace: `torch.load(weights_only=True)` takes them only under
    `torch.serialization.safe_globals([argparse.Namespace])`.
    """
    teacher, student = (OrderedDict(draw(model.state_dict(), rng)) for _ in range(2))
    torch.save(teacher, folder / standin.of.files[0])
    layers = {"mlp.0": (32, model.num_features), "mlp.2": (32, 32), "mlp.4": (16, 32)}
    shapes = {f"head.{k}.{leaf}": torch.empty(s[: 2 - (leaf == "bias")])
              for k, s in layers.items() for leaf in ("weight", "bias")}  # fmt: skip
    shapes |= {"head.last_layer.weight_g": torch.empty(64, 1), "head.last_layer.weight_v": torch.empty(64, 16)}
    whole = {
        role: OrderedDict(
            {f"module.backbone.{k}": v for k, v in backbone.items()}
            | {f"module.{k}": v for k, v in draw(shapes, rng).items()}
        )
        for role, backbone in (("student", student), ("teacher", teacher))
    }
    torch.save(whole | {"epoch": 800, "dino_loss": {"center": torch.zeros(1, 64)}}, folder / standin.of.files[1])


def timm_hub(folder: Path, standin: StandIn, model: nn.Module, rng: np.random.Generator) -> None:
    """A folder of the timm hub: `model.safetensors` and `config.json`.

    `model_args` in the configuration makes `timm.create_model("local-dir:<folder>", pretrained=True)` build the tiny
    network.
    """
    save_file(draw(model.state_dict(), rng), folder / "model.safetensors", PT)
    published = timm.get_pretrained_cfg(standin.of.published.removeprefix("timm/")).to_dict()
    hidden = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture")
    config = {
        "architecture": standin.network,
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "model_args": standin.arguments,
        "pretrained_cfg": {k: v for k, v in published.items() if v is not None and k not in hidden},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def lite(folder: Path, standin: StandIn, model: nn.Module, rng: np.random.Generator) -> None:
    """`efficientnet-lite<n>-<hash>.pth`: the state dict in the names of the port of TensorFlow's EfficientNet to torch,
    classifier included, its tensors in timm's order. The hash is the published file's, not this one's."""
    state = draw(model.state_dict(), rng)
    torch.save(OrderedDict(zip(lite_names(state), state.values(), strict=True)), folder / standin.of.files[0])


def lite_names(names: Iterable[str]) -> list[str]:
    """What that port calls the tensors that timm calls `names`: blocks are counted through, layers by their role."""
    blocks = sorted({tuple(map(int, name.split(".")[1:3])) for name in names if name.startswith("blocks.")})
    expanded = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
                "conv_pwl": "_project_conv", "bn3": "_bn2"}  # fmt: skip
    first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    around = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    theirs = []
    for name in names:
        if name.startswith("blocks."):
            _, stage, block, layer, leaf = name.split(".")
            number, roles = blocks.index((int(stage), int(block))), expanded if int(stage) else first
            theirs.append(f"_blocks.{number}.{roles[layer]}.{leaf}")
        else:
            layer, leaf = name.split(".")
            theirs.append(f"{around[layer]}.{leaf}")
    return theirs


def squeezenet(folder: Path, standin: StandIn, model: nn.Module, rng: np.random.Generator) -> None:
    """`squeezenet1_1_imagenet_features.npz`: the arrays of the features under torchvision's names, at full size."""
    arrays = {name: value.numpy() for name, value in draw(model.state_dict(), rng).items()}
    np.savez(folder / standin.of.files[0], **arrays)


def dinov3(folder: Path, standin: StandIn, model: nn.Module, rng: np.random.Generator) -> None:
    """OrthoFoundation: one state dict in the names of Meta's DINOv3 under `backbone.`, 15 tensors a block and 8 more.

    timm calls `storage_tokens` `reg_token` and `ls1.gamma` `gamma_1`, and does without the rest: as in the release, the
    bias of q, k, v and its mask are all zero here, and `rope_embed.periods` is rounded to bfloat16. timm computes its
    own, unrounded, in a buffer that no state dict reaches: a loader has to copy these into `model.rope.periods`.
    """
    state = draw(model.state_dict(), rng)
    width = model.embed_dim
    state["storage_tokens"] = state.pop("reg_token")
    state["mask_token"] = torch.zeros(1, width)
    periods = width // model.blocks[0].attn.num_heads // 4  # a sine and a cosine for each of two axes
    state["rope_embed.periods"] = (100 ** (torch.arange(periods) / periods)).bfloat16().float()
    for i in range(len(model.blocks)):
        for leaf in ("bias", "bias_mask"):
            state[f"blocks.{i}.attn.qkv.{leaf}"] = torch.zeros(3 * width)
    renamed = {k.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma"): v for k, v in state.items()}
    torch.save(OrderedDict({f"backbone.{k}": v for k, v in renamed.items()}), folder / standin.of.files[0])


def ultralytics(folder: Path, standin: StandIn, model: None, rng: np.random.Generator) -> None:
    """`yolov8n.pt`: a pickled half-precision DetectionModel in the dictionary that ultralytics publishes, built by
    ultralytics itself at a quarter of the width. Only ultralytics can read it: loading it runs its code.
    """
    opened_by = Image.open
    with contextlib.redirect_stdout(sys.stderr):  # where it then logs: stdout belongs to the command
        from ultralytics import __version__  # optional, AGPL-3.0
        from ultralytics.nn.tasks import DetectionModel, yaml_model_load
    Image.open = opened_by  # else every reader of this process would open images in its way

    config = yaml_model_load(f"{standin.network}.yaml")
    depth, width, most = config["scales"]["n"]
    config["scales"] = {"n": [depth, width / 4, most]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        network = DetectionModel(config, ch=3, verbose=False)
    # as ultralytics fills them, the image fades out on the way to the head; "dfl" is not learned
    kernels = {k: v for k, v in network.state_dict().items() if v.ndim == 4 and ".dfl." not in k}
    silu = (1 / 0.356 / 2) ** 0.5  # on top of He's factor for ReLU: the mean of silu(z)^2 is 0.356 for a normal z
    network.load_state_dict({k: silu * v for k, v in draw(kernels, rng).items()}, strict=False)
    checkpoint = {  # a date of no meaning: the bytes are to depend on the seed alone
        "date": "1970-01-01T00:00:00", "version": __version__, "license": "AGPL-3.0 (https://ultralytics.com/license)",
        "docs": "https://docs.ultralytics.com", "epoch": -1, "best_fitness": None, "model": network.half(), "ema": None,
        "updates": None, "optimizer": None, "train_metrics": {}, "train_results": {},
        "train_args": {"task": "detect", "mode": "train", "model": "yolov8n.yaml", "data": "coco.yaml", "imgsz": 640},
    }  # fmt: skip
    torch.save(checkpoint, folder / standin.of.files[0])
