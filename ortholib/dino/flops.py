"""How much a pretraining computes for an image, to state which share of the device's peak it reaches (MFU)."""

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from ortholib.dino.step import DINO
from ortholib.settings import Pretrain

BATCH = 2


def per_image(settings: Pretrain, prototypes: int) -> float:
    """Floating-point operations an image, a multiply-add counted as two: the student forwards and backwards on all
    crops, the teacher forwards on the global ones, heads included. Counted on tensors without content."""
    options = {"dynamic_img_size": True} if settings.backbone.startswith("vit") else {}
    with torch.device("meta"):
        backbone = timm.create_model(settings.backbone, in_chans=1, num_classes=0, **options)
        model = DINO(backbone, prototypes, settings.hidden, settings.bottleneck)
        big = torch.empty(2 * BATCH, 1, settings.global_size, settings.global_size)
        small = torch.empty(settings.locals * BATCH, 1, settings.local_size, settings.local_size)
    with FlopCounterMode(display=False) as counter:
        model(big, small)[0].sum().backward()
    return counter.get_total_flops() / BATCH
