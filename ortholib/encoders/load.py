"""Networks of one input channel at the weights they start from: random ones, an own backbone's, or published ones."""

from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from timm.models import efficientnet, register_model

from ortholib import wording
from ortholib.errors import OrthoError, UsageError

WRAPPED = ("teacher", "state_dict", "model")  # what a training's checkpoint keeps a network under
PREFIXES = ("module.", "backbone.")

# ResNet-50 with one block a stage and an eighth of its channels: the phantom's stand-in weights are of this shape
TINY = {"layers": (1, 1, 1, 1), "channels": (8, 16, 32, 64)}


@register_model
def resnet50_tiny(pretrained: bool = False, **options) -> torch.nn.Module:
    """`TINY`, under a name of its own."""
    return timm.create_model("resnet50", pretrained=pretrained, **TINY, **options)


@register_model
def tf_efficientnet_lite_tiny(pretrained: bool = False, depth: float = 1.0, **options) -> torch.nn.Module:
    """EfficientNet-Lite with an eighth of its channels: the layers and names of number 0 with `depth` 1, of number 1
    with 1.1, of number 2 with 1.2."""
    blocks = ("ds_r1_k3_s1_e1_c16", "ir_r2_k3_s2_e6_c24", "ir_r2_k5_s2_e6_c40", "ir_r3_k3_s2_e6_c80",
              "ir_r3_k5_s1_e6_c112", "ir_r4_k5_s2_e6_c192", "ir_r1_k3_s1_e6_c320")  # fmt: skip
    shape = {
        "block_args": efficientnet.decode_arch_def([[one] for one in blocks], depth, fix_first_last=True),
        "num_features": 64, "stem_size": 8, "fix_stem": True, "act_layer": torch.nn.ReLU6, "pad_type": "same",
        "round_chs_fn": partial(efficientnet.round_channels, multiplier=1 / 8),
        "norm_layer": partial(torch.nn.BatchNorm2d, eps=1e-3),
    }  # fmt: skip
    options = {name: value for name, value in options.items() if name not in ("pretrained_cfg_overlay",)}
    return efficientnet._create_effnet("tf_efficientnet_lite0", pretrained, **shape | options)


def build(name: str, weights: Path | None, seed: int, classes: int = 0, drop_path: float = 0.0) -> torch.nn.Module:
    """The network timm knows by `name`, with one input channel and `classes` outputs (0: its features), at its initial
    weights: those of a file (see `load`), or random ones. seed: of everything that no file gives.

    Raises UsageError for a name timm does not know, OrthoError for weights that are absent or do not fit.
    """
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name[:6]}*")[:5]) or "see timm.list_models()"
        raise UsageError(f"backbone '{name}' is unknown to timm; close to it: {close}.")
    torch.manual_seed(seed)
    options = {"dynamic_img_size": True} if name.startswith("vit") else {}
    options |= {"drop_path_rate": drop_path} if drop_path else {}
    # pretrained=False: timm never looks for a network
    network = timm.create_model(name, pretrained=False, in_chans=1, num_classes=classes, **options)
    if weights is not None:
        load(network, weights, name)
    return network


def load(network: torch.nn.Module, path: Path, name: str) -> None:
    """Fill a one-channel network, all but its classifier, from `.safetensors`, or from `.pth` in torchvision's, timm's
    or DINO's names; heads and classifiers in the file are left aside.

    A stem of three channels is summed to one: on a grey image repeated three times, with one mean and one standard
    deviation for all, both give the same. Raises OrthoError for a file that is absent, is no weights, or does not fit:
    never a silent random start.
    """
    if not path.is_file():
        raise OrthoError(
            f"{path}: initial weights not found; expected safetensors in timm's names, or a .pth file in those "
            "of torchvision, timm or DINO (see ortholib.encoders.registry). Bring the file, or start from random."
        )
    classifier = f"{network.default_cfg['classifier']}."
    wanted = {key: value for key, value in network.state_dict().items() if not key.startswith(classifier)}
    state = read(path)
    if "_conv_stem.weight" in state:
        state = in_order(state, network)
    found = {key: value for key, value in state.items() if key in wanted or not _is_head(key)}
    for key, value in found.items():
        needed = wanted.get(key)
        if needed is not None and value.ndim == 4 and (value.shape[1], needed.shape[1]) == (3, 1):
            found[key] = value.sum(1, keepdim=True)
    fill(network, wanted, found, path, name)


def fill(network: torch.nn.Module, wanted: dict, found: dict, path: Path, name: str) -> None:
    """Give a network the tensors `found`, which have to be those `wanted`. path, name: for the error, an OrthoError."""
    absent = [key for key in wanted if key not in found and not key.endswith("num_batches_tracked")]
    unknown = [key for key in found if key not in wanted]
    other = [key for key in found if key in wanted and found[key].shape != wanted[key].shape]
    if absent or unknown or other:
        example = ", ".join([*absent, *unknown, *other][:2])
        raise OrthoError(
            f"{path} does not fit {name}: {len(absent)} weights missing, {len(unknown)} unknown, {len(other)} misshapen"
            f" (such as {example}). Name the backbone that the file was made for."
        )
    network.load_state_dict(found, strict=False)


def read(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file of weights by their names, freed of what a training wraps them in. Raises OrthoError for
    a file that is truncated, is no weights, or would run code."""
    try:
        found = state = _content(path)
        for key in WRAPPED:
            state = state[key] if isinstance(state.get(key), dict) else state
        for prefix in PREFIXES:
            state = {key.removeprefix(prefix): value for key, value in state.items()}
        state = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    except Exception as error:  # safetensors, pickle and zip each raise their own
        why = wording.one_line(error)
        if objects := _objects(path):
            why = (
                f"besides weights it needs {objects}, and loading that can run code. Where you trust its source, save "
                "the network alone: torch.save(torch.load(FILE, weights_only=False)['teacher'], 'weights.pth')"
            )
        raise OrthoError(f"{path} holds no weights that can be read safely: {why}") from error
    if not state and "student" in found:
        raise OrthoError(
            f"{path} holds only the student of a DINO training (its keys: {', '.join(found)}); expected the teacher, "
            "by which DINO is evaluated. Bring the full checkpoint, or the published backbone."
        )
    return state


def _content(path: Path) -> dict:
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}
    return torch.load(path, "cpu", weights_only=True)


def in_order(state: dict[str, torch.Tensor], network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """EfficientNet in the names of TensorFlow's port (`_conv_stem.weight`): its tensors come in timm's order, the
    classifier last, which a network of features alone does not have."""

    def body(keys, head):
        return [key for key in keys if not key.startswith(head) and not key.endswith("num_batches_tracked")]

    ours, theirs = body(network.state_dict(), "classifier."), body(state, "_fc.")
    if len(ours) != len(theirs):
        return state
    head = {key.replace("_fc.", "classifier."): value for key, value in state.items() if key.startswith("_fc.")}
    return dict(zip(ours, (state[key] for key in theirs), strict=True)) | head


def _objects(path: Path) -> str:
    """The Python objects that a pickle needs and that are no weights; "" for none, or for what is no pickle."""
    try:
        return ", ".join(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)))
    except Exception:  # the file is no zip of torch.save, or damaged
        return ""


def _is_head(key: str) -> bool:
    return key.split(".")[0] in ("fc", "head", "classifier")
