"""Ordinal heads: probabilities, their likelihoods against the formulas of the papers, where they go in a network."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refused import refused

from ortholib.classify import heads
from ortholib.encoders import load
from ortholib.errors import UsageError

K = 5


@pytest.fixture
def features():
    return torch.randn(64, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def made(name: str):
    torch.manual_seed(1)
    return heads.HEADS[name](12, K).double()


@pytest.mark.parametrize("name", heads.HEADS)
def test_a_head_gives_the_logarithms_of_probabilities(name, features):
    log_probability = made(name)(features)
    assert log_probability.shape == (64, K)
    np.testing.assert_allclose(log_probability.exp().sum(1).detach(), 1, rtol=1e-5)
    torch.testing.assert_close(log_probability.softmax(1), log_probability.exp(), rtol=1e-5, atol=1e-7)


def test_continuation_is_the_loss_of_corn(features):
    """CORN (arXiv 2111.08851, equation 6): the k-th question is asked of the images that reached grade k."""
    head, y = made("continuation"), torch.arange(64) % K
    z = F.linear(features, head.weight, head.bias)
    loss = 0.0
    for k in range(K - 1):
        asked = y >= k
        loss += F.binary_cross_entropy_with_logits(z[asked, k], (y[asked] > k).double(), reduction="sum")
    torch.testing.assert_close(F.cross_entropy(head(features), y, reduction="sum").double(), loss, rtol=1e-5, atol=0)


def test_cumulative_is_the_proportional_odds_model(features):
    """P(grade > k) = sigmoid(score - threshold k), with thresholds in order (McCullagh 1980)."""
    head = made("cumulative")
    thresholds = torch.cat([head.first, F.softplus(head.steps)]).cumsum(0)
    above = torch.sigmoid(head.score(features) - thresholds)
    ones, zeros = torch.ones(64, 1), torch.zeros(64, 1)
    expected = torch.cat([ones, above], 1) - torch.cat([above, zeros], 1)
    np.testing.assert_allclose(head(features).exp().detach(), expected.detach(), rtol=1e-4, atol=1e-6)
    assert (thresholds.diff() > 0).all()
    far = head(features * 1e3)  # no overflow, whatever the score
    assert torch.isfinite(far).all() and torch.isfinite(torch.autograd.grad(far.sum(), head.steps)[0]).all()


@pytest.mark.parametrize("head", ["softmax", *heads.HEADS])
@pytest.mark.parametrize("network", ["resnet10t", "tf_efficientnet_lite0", "convnext_atto"])
def test_a_network_gets_its_head_where_its_classifier_was(network, head):
    built = heads.put(load.build(network, None, 0, K), head, K, zero=True).eval()
    images = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        given = built(images).softmax(1)
    assert given.shape == (2, K)
    torch.testing.assert_close(given[0], given[1])  # its weights are zero: every image is given the same


def test_heads_that_cannot_be_are_refused():
    network = load.build("resnet10t", None, 0, 2)
    refused("expected softmax, or of 3 grades and more one of", heads.put, network, "cumulative", 2, error=UsageError)
    refused("head 'coral' on 5 classes", heads.put, network, "coral", 5, error=UsageError)
