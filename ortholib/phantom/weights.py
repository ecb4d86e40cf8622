"""Stand-in weights: tiny random networks in the file formats and with the key names that the study's encoders are
published in, so that on the phantom every loader runs for real. They have learned nothing and prove nothing.

Layout as of `$ORTHOLIB_WEIGHTS`: `<root>/<encoder>/<file>`. Every file but ultralytics' own loads without running code:
safetensors, or `torch.load(..., weights_only=True)`.
"""

import hashlib
import importlib.util
import os
import shutil
from pathlib import Path
from types import MappingProxyType

import numpy as np
import timm
import torch
from torchvision.models import convnext

from ortholib import networks, paths
from ortholib.errors import UsageError
from ortholib.phantom import weights_formats, weights_medical
from ortholib.phantom.weights_formats import StandIn

MARK = "STAND-IN.txt"
NOTICE = """STAND-IN: the numbers in this folder were drawn at random by ortholib.phantom.weights (seed {seed}).
They stand in for {of}
in its published file format and key names, at a fraction of its size. Nothing was trained and nothing was downloaded:
a result reached with them proves that the programs work, and nothing else.
"""

FORMATS = MappingProxyType({
    "torchvision": weights_formats.torchvision, "dino": weights_formats.dino, "timm": weights_formats.timm_hub,
    "dinov3": weights_formats.dinov3, "ultralytics": weights_formats.ultralytics,
    "rad-dino": weights_medical.rad_dino, "open_clip": weights_medical.open_clip, "bert": weights_medical.bert,
})  # fmt: skip


def _vit(width: int, depth: int, heads: int, classes: int = 0) -> dict:
    return {"embed_dim": width, "depth": depth, "num_heads": heads, "num_classes": classes}


# One block a stage. Bottlenecks of 8, ... channels: with 16 the first block would lack the downsample of the real one.
_BOTTLENECKS = networks.TINY
# The first of BasicBlocks has no downsample in the real one either, so it keeps the stem's 64 channels.
_BASIC_BLOCKS = {"layers": (1, 1, 1, 1), "channels": (64, 16, 32, 64), "num_classes": 1000}
_TIMM = ("model.safetensors", "config.json")

STANDINS = MappingProxyType({
    "dino-resnet50": StandIn(
        "facebookresearch/dino dino_resnet50_pretrain", "dino",
        ("dino_resnet50_pretrain.pth", "dino_resnet50_pretrain_full_checkpoint.pth"),
        "timm", "resnet50", _BOTTLENECKS | {"num_classes": 0}, 224,
    ),
    "resnet18": StandIn(
        "torchvision ResNet18_Weights.IMAGENET1K_V1", "torchvision", ("resnet18-f37072fd.pth",),
        "timm", "resnet18", _BASIC_BLOCKS, 224,
    ),
    "resnet50": StandIn(
        "torchvision ResNet50_Weights.IMAGENET1K_V2", "torchvision", ("resnet50-11ad3fa6.pth",),
        "timm", "resnet50", _BOTTLENECKS | {"num_classes": 1000}, 224,
    ),
    "convnext-small-torchvision": StandIn(
        "torchvision ConvNeXt_Small_Weights.IMAGENET1K_V1", "torchvision", ("convnext_small-0c510722.pth",),
        "torchvision", "convnext_small", {"depths": (1, 1, 2, 1), "dims": (16, 24, 32, 48), "num_classes": 1000}, 224,
    ),
    "convnext-small": StandIn(
        "timm/convnext_small.fb_in1k", "timm", _TIMM,
        "timm", "convnext_small", {"depths": (1, 1, 2, 1), "dims": (16, 24, 32, 48), "num_classes": 1000}, 224,
    ),
    "vit-base": StandIn(
        "timm/vit_base_patch16_224.orig_in21k_ft_in1k", "timm", _TIMM,
        "timm", "vit_base_patch16_224", _vit(48, 2, 3, 1000), 224,
    ),
    "dinov2-small": StandIn(
        "timm/vit_small_patch14_dinov2.lvd142m", "timm", _TIMM, "timm", "vit_small_patch14_dinov2", _vit(48, 2, 3), 518,
    ),
    "dinov2-large": StandIn(
        "timm/vit_large_patch14_dinov2.lvd142m", "timm", _TIMM, "timm", "vit_large_patch14_dinov2", _vit(64, 3, 4), 518,
    ),
    "dinov3-small": StandIn(
        "timm/vit_small_patch16_dinov3.lvd1689m", "timm", _TIMM, "timm", "vit_small_patch16_dinov3", _vit(48, 2, 3),
        256,
    ),
    "dinov3-large": StandIn(
        "timm/vit_large_patch16_dinov3.lvd1689m", "timm", _TIMM, "timm", "vit_large_patch16_dinov3", _vit(64, 3, 4),
        256,
    ),
    "rad-dino": StandIn(
        "microsoft/rad-dino", "rad-dino",
        ("backbone_compatible.safetensors", "model.safetensors", "config.json", "preprocessor_config.json"),
        "timm", "vit_base_patch14_dinov2", _vit(64, 2, 4), 518,
    ),
    "biomedclip": StandIn(
        "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224", "open_clip",
        ("open_clip_pytorch_model.bin", "open_clip_config.json", "tokenizer.json", "tokenizer_config.json",
         "special_tokens_map.json", "vocab.txt"),
        # open_clip passes timm a name and no sizes: this is timm's own tiny ViT with the key names of ViT-B/16
        "timm", "test_vit", {"num_classes": 0}, 160,
    ),
    # BiomedCLIP's configuration names this model for the shape of its text tower; it needs no weights of it
    "biomedbert": StandIn(
        "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract", "bert",
        ("config.json", "tokenizer_config.json", "vocab.txt"), "transformers", "bert", weights_medical.BERT, 0,
    ),
    "orthofoundation": StandIn(
        "ytrsk/OrthoFoundation OrthoFoudation-L.pth", "dinov3", ("OrthoFoudation-L.pth",),  # their spelling
        "timm", "vit_large_patch16_dinov3", _vit(64, 3, 4), 256,
    ),
    "yolov8n": StandIn("ultralytics yolov8n.pt", "ultralytics", ("yolov8n.pt",), "ultralytics", "yolov8n", {}, 640),
})  # fmt: skip

LEFT_OUT = MappingProxyType({
    "orthofoundation-msk-5m": "ytrsk/OrthoFoundation_KneeModel OrthoFoundation-MSK-5M.pth: its key names are not known "
    "from any public source (its size suggests a projection head beside the backbone).",
})  # fmt: skip


def build(name: str) -> torch.nn.Module:
    """The tiny network that the weights of stand-in `name` fit, as its library first fills it.

    Raises UsageError for an unknown name, and for one whose network only ultralytics or transformers can build.
    """
    if name not in STANDINS:
        raise UsageError(f"stand-in '{name}' is unknown; expected one of {', '.join(STANDINS)}.")
    standin = STANDINS[name]
    if standin.library == "timm":
        return timm.create_model(standin.architecture, pretrained=False, **standin.arguments)
    if standin.library == "torchvision":
        dims = standin.arguments["dims"]
        blocks = [
            convnext.CNBlockConfig(width, following, depth)
            for width, following, depth in zip(dims, (*dims[1:], None), standin.arguments["depths"], strict=True)
        ]
        return convnext.ConvNeXt(blocks, num_classes=standin.arguments["num_classes"])
    raise UsageError(f"stand-in '{name}' is built by {standin.library} from its own file; load the file with that.")


def write_weights(root: Path, seed: int = 0) -> dict[str, dict]:
    """Write every stand-in as `root/<name>/<file>`, with a STAND-IN.txt in each folder. The same seed gives the same
    numbers, and the same bytes in safetensors and `.pth` files of one version of torch.

    `root` appears whole or not at all. Returns name → `files`, `bytes`, `sha256` (of each file), `format`; for what
    could not be written, `left_out` says why and `files` is empty.
    Raises UsageError where `root` holds files already (they might be real weights) or lies in the user's data.
    """
    root = Path(root).resolve()
    data = paths.data_root()
    if data is not None and root.is_relative_to(data):
        raise UsageError(f"{root} lies in ORTHOLIB_DATA ({data}), which is never written to; choose another folder.")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UsageError(f"{root} exists and is not an empty folder; remove it or choose another one.")
    partial = root.with_name(f"{root.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        record = {name: _write(partial / name, name, seed) for name in STANDINS}
        partial.rename(root)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return record | {name: _left_out("unknown", why) for name, why in LEFT_OUT.items()}


def _write(folder: Path, name: str, seed: int) -> dict:
    standin = STANDINS[name]
    if standin.library == "ultralytics" and importlib.util.find_spec("ultralytics") is None:
        return _left_out(standin.format, "ultralytics (AGPL-3.0) is not installed; it comes with the extra 'detect'.")
    folder.mkdir()
    with torch.device("meta"):  # only names and shapes are asked for
        model = build(name) if standin.library in ("timm", "torchvision") else None
    # each has numbers of its own: a stand-in that is added or changed leaves the others as they were
    rng = np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()[:4]])
    FORMATS[standin.format](folder, standin, model, rng)
    (folder / MARK).write_text(NOTICE.format(seed=seed, of=standin.of))
    content = {file: (folder / file).read_bytes() for file in standin.files}
    return {
        "files": list(standin.files),
        "bytes": sum(map(len, content.values())),
        "sha256": {file: hashlib.sha256(data).hexdigest() for file, data in content.items()},
        "format": standin.format,
    }


def _left_out(layout: str, why: str) -> dict:
    return {"files": [], "bytes": 0, "sha256": {}, "format": layout, "left_out": why}
