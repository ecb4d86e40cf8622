"""Grad-CAM is the class activation map where the head is a mean and a linear layer, and refuses what has no maps."""

import timm
import torch
import torch.nn.functional as F
from refused import refused

from ortholib.encoders import explain
from ortholib.errors import UsageError


def network(name: str = "resnet10t") -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, in_chans=1, num_classes=3).eval()


def test_is_the_class_activation_map_of_a_mean_and_a_linear_layer():
    net, images = network(), torch.randn(4, 1, 64, 96)
    with torch.no_grad():
        maps = net.forward_features(images)
    found = 0
    for k in range(3):
        heat = explain.gradcam(net, images, lambda logits, k=k: logits[:, k])
        wanted = torch.einsum("c,bchw->bhw", net.fc.weight[k].detach(), maps).relu()[:, None]
        wanted = F.interpolate(wanted, (64, 96), mode="bilinear", align_corners=False)[:, 0]
        peaks = wanted.amax((1, 2))
        torch.testing.assert_close(heat, wanted / peaks.clamp_min(1e-12)[:, None, None], atol=1e-5, rtol=0)
        assert heat.shape == (4, 64, 96) and torch.equal(heat.amax((1, 2)), (peaks > 0).float())
        found += int((peaks > 0).sum())
    assert found >= 4  # no class has only maps that are 0


def test_a_map_without_anything_for_the_target_is_zero():
    net = network()
    with torch.no_grad():
        net.fc.weight[0] = -1.0  # features are behind a ReLU, so every place speaks against it
    assert not explain.gradcam(net, torch.randn(2, 1, 64, 64), lambda logits: logits[:, 0]).any()


def test_weights_get_no_gradient_and_the_network_stays_as_it_was():
    net, images = network(), torch.randn(2, 1, 64, 64)
    before = net(images).detach()
    explain.gradcam(net, images, lambda logits: logits[:, 0])
    assert all(weight.grad is None for weight in net.parameters()) and torch.equal(net(images).detach(), before)


def test_networks_without_maps_are_refused():
    for name in ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"):
        net = network(name)
        refused("networks of convolutions", explain.gradcam, net, torch.randn(1, 1, 224, 224), sum, error=UsageError)
