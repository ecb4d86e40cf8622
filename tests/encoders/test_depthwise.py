"""The quick depthwise convolutions compute what torch's own do."""

import copy

import pytest
import timm
import torch

from ortholib.encoders import depthwise
from ortholib.encoders.depthwise import Depthwise


@pytest.fixture
def network():
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0", in_chans=1, num_classes=5).to(memory_format=torch.channels_last)


def passed(network, images, mixed: bool):
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        out = network(images)
    network.zero_grad()
    out.float().square().mean().backward()
    return out.detach().float(), [p.grad.clone() for p in network.parameters()]


def distance(a, b) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_one_convolution_equals_torch_s_in_float32(kernel, stride):
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(24, 24, kernel, stride, kernel // 2, groups=24, bias=False)
    quick = depthwise.quicken(torch.nn.Sequential(copy.deepcopy(plain)), torch.bfloat16)
    assert type(quick[0]) is Depthwise
    images = torch.randn(4, 24, 20, 20).contiguous(memory_format=torch.channels_last)
    told = []
    for layer, mixed in ((plain, False), (quick, True)):
        x = images.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            out = layer(x)
        out.float().square().sum().backward()
        told.append((out.detach().float(), x.grad, next(layer.parameters()).grad))
    assert all(distance(b, a) < 0.02 for a, b in zip(*told, strict=True))  # bfloat16 keeps 8 bits


def test_a_network_of_them_is_as_near_to_float32_as_torch_s_own(network):
    network.eval()  # whose batch norms are fixed: else noise of a random network grows from layer to layer
    quick = depthwise.quicken(copy.deepcopy(network), torch.bfloat16)
    assert sum(type(layer) is Depthwise for layer in quick.modules()) == 16
    assert quick.state_dict().keys() == network.state_dict().keys()
    images = torch.randn(4, 1, 64, 64).contiguous(memory_format=torch.channels_last)
    exact, own, ours = passed(network, images, False), passed(network, images, True), passed(quick, images, True)
    assert distance(ours[0], exact[0]) < 2 * distance(own[0], exact[0]) + 1e-3
    errors = [[distance(a, b) for a, b in zip(found[1], exact[1], strict=True)] for found in (own, ours)]
    assert sum(errors[1]) < 1.2 * sum(errors[0])


def test_other_precisions_and_convolutions_stay_as_they_are(network):
    depthwise.quicken(network, torch.float32)
    assert not any(type(layer) is Depthwise for layer in network.modules())
    grouped = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, groups=2), torch.nn.Conv2d(8, 8, 1))
    assert not any(type(layer) is Depthwise for layer in depthwise.quicken(grouped, torch.bfloat16).modules())
