"""Stand-in weights, written once for the tests of this folder."""

from pathlib import Path

import pytest
import torch

from ortholib.phantom import weights


@pytest.fixture(scope="session")
def standins(tmp_path_factory) -> Path:
    """The folder of a phantom that holds only weights; read only."""
    root = tmp_path_factory.mktemp("standins")
    weights.write_weights(root / "weights")
    return root


@pytest.fixture
def phantom_weights(standins, monkeypatch) -> Path:
    """The edition phantom has these weights."""
    monkeypatch.setenv("ORTHOLIB_PHANTOM", str(standins))
    return standins / "weights"


@pytest.fixture
def images() -> torch.Tensor:
    """uint8 (3, 96, 96): soft shapes on a dark ground with fine noise and hard edges, as a radiograph has."""
    draw = torch.Generator().manual_seed(0)
    soft = torch.nn.functional.interpolate(torch.rand(3, 1, 6, 6, generator=draw), 96, mode="bilinear")[:, 0] * 200
    noisy = soft + 12 * torch.randn(3, 96, 96, generator=draw)
    noisy[:, 20:60, 30:50] += 90
    noisy[:, :, :8] = 0
    return noisy.clamp(0, 255).to(torch.uint8)
