"""Where in an image a network of convolutions sees what it answers: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391).

A map says which places the answer hangs on, coarsely: not that they show a disease, and not that the answer is right.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from ortholib.errors import UsageError


def gradcam(
    network: torch.nn.Module, images: torch.Tensor, target: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Maps (B, H, W), each from 0 to 1 at its highest, of normalised images (B, C, H, W) by a timm network.

    target: from the outputs (B, k) the numbers (B,) to be explained. The last feature maps are weighted by their mean
    gradients and summed; what speaks against the target is cut off (a map without anything for it is 0), and the rest
    is enlarged bilinearly. Where the head is the maps' mean and a linear layer, and the target an output, this is the
    class activation map of Zhou et al. 2016. Raises UsageError for a network without maps, such as a ViT.
    """
    with torch.no_grad():
        maps = network.forward_features(images)
    if maps.ndim != 4 or maps.shape[-1] == network.num_features != maps.shape[1]:
        raise UsageError(
            f"heat maps are for networks of convolutions, and {type(network).__name__} gives features of "
            f"shape {tuple(maps.shape)} instead of maps; score without them."
        )
    with torch.enable_grad():
        maps = maps.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(target(network.forward_head(maps)).sum(), maps)
    heat = (gradient.mean((2, 3), keepdim=True) * maps.detach()).sum(1, keepdim=True).relu()
    heat = F.interpolate(heat, images.shape[2:], mode="bilinear", align_corners=False).squeeze(1)
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(torch.finfo(heat.dtype).tiny)
