"""torch.compile for a pretraining, where `machine.cannot_compile` finds nothing against it."""

from collections.abc import Callable

import torch

from ortholib.dino.augment import views
from ortholib.dino.step import DINO


def compile_parts(model: DINO) -> Callable:
    """Compile what a step spends its time in: the backbones, in place (their blocks, where they have any, so that FSDP2
    can spread these), once a resolution, and the augmentation, `views`, which is returned."""
    for network in (model.student, model.teacher):
        for part in getattr(network.backbone, "blocks", [network.backbone]):
            part.compile(dynamic=False)
    return torch.compile(views, dynamic=False, fullgraph=True)
