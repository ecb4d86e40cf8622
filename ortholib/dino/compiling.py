"""torch.compile for a pretraining: on GPUs, and only where a compiler, Python's headers and Triton are found."""

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path

import torch

from ortholib.dino.augment import views
from ortholib.dino.step import DINO


def lacking() -> str:
    """What keeps this machine from compiling, or "".

    On CPUs the compiled step was slower (9.1 against 14.3 images/s) after 96 s of compiling.
    """
    if not torch.cuda.is_available():
        return "no GPU"
    if importlib.util.find_spec("triton") is None:
        return "no Triton"
    if not any(map(shutil.which, filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")))):
        return "no C compiler"
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return "" if headers.is_file() else "no Python headers"


def compile_parts(model: DINO) -> Callable:
    """Compile what a step spends its time in: the backbones, in place (their blocks, where they have any, so that FSDP2
    can spread these), once a resolution, and the augmentation, `views`, which is returned."""
    for network in (model.student, model.teacher):
        for part in getattr(network.backbone, "blocks", [network.backbone]):
            part.compile(dynamic=False)
    return torch.compile(views, dynamic=False, fullgraph=True)
