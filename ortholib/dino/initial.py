"""Weights that a pretraining starts from: an own backbone, a timm or torchvision file, or the published DINO one."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from ortholib.errors import OrthoError

WHERE = "https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth"
WRAPPED = ("teacher", "state_dict", "model")  # what a training's checkpoint keeps a network under
PREFIXES = ("module.", "backbone.")


def load(backbone: torch.nn.Module, path: Path, name: str) -> None:
    """Fill a one-channel backbone without classifier from `.safetensors`, or from `.pth` in torchvision's, timm's or
    DINO's names; heads and classifiers in the file are left aside.

    A stem of three channels is summed to one: on a grey image repeated three times, with one mean and one standard
    deviation for all, both give the same. Raises OrthoError for a file that is absent, is no weights, or does not fit:
    never a silent random start.
    """
    if not path.is_file():
        raise OrthoError(
            f"{path}: initial weights not found; expected safetensors in timm's names, or a .pth file such as the "
            f"published DINO ResNet-50 ({WHERE}). Bring the file, or start from random."
        )
    wanted = backbone.state_dict()
    found = {key: value for key, value in _state(path).items() if key in wanted or not _is_head(key)}
    for key, value in found.items():
        needed = wanted.get(key)
        if needed is not None and value.ndim == 4 and (value.shape[1], needed.shape[1]) == (3, 1):
            found[key] = value.sum(1, keepdim=True)
    absent = [key for key in wanted if key not in found and not key.endswith("num_batches_tracked")]
    unknown = [key for key in found if key not in wanted]
    other = [key for key in found if key in wanted and found[key].shape != wanted[key].shape]
    if absent or unknown or other:
        example = ", ".join([*absent, *unknown, *other][:2])
        raise OrthoError(
            f"{path} does not fit {name}: {len(absent)} weights missing, {len(unknown)} unknown, {len(other)} misshapen"
            f" (such as {example}). Name the backbone that the file was made for."
        )
    backbone.load_state_dict(found, strict=False)


def _state(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        for key in WRAPPED:
            state = state[key] if isinstance(state.get(key), dict) else state
        for prefix in PREFIXES:
            state = {key.removeprefix(prefix): value for key, value in state.items()}
        return {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    except Exception as error:  # safetensors, pickle and zip each raise their own
        raise OrthoError(f"{path} holds no weights that can be read safely: {str(error)[:80]}") from error


def _is_head(key: str) -> bool:
    return key.split(".")[0] in ("fc", "head", "classifier")
