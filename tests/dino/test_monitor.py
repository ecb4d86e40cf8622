"""Monitors of a pretraining: known clouds of points give known numbers, and a dead one rings."""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from ortholib.dino import monitor


def cloud(n: int = 2000, d: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_spread_of_a_sphere_and_of_a_point():
    assert monitor.spread(cloud()) == pytest.approx(1, abs=0.02)
    assert monitor.spread(torch.ones(50, 8)) == pytest.approx(0, abs=1e-12)


def test_rank():
    assert monitor.rankme(torch.eye(12)) == pytest.approx(12, rel=1e-3)
    assert monitor.rankme(cloud(d=4) @ cloud(4, 20)) < 4.001
    assert monitor.rankme(torch.ones(30, 6)) == pytest.approx(1, abs=1e-3)


def test_neighbours_agree_with_scikit_learn():
    features = cloud(300, 6) + 2 * torch.nn.functional.one_hot(torch.arange(300) % 3, 6)
    y = np.arange(300) % 3
    unit = torch.nn.functional.normalize(features, dim=1).numpy()
    right = []
    for i in range(300):
        others = np.arange(300) != i
        vote = KNeighborsClassifier(20, weights=lambda d: np.exp((1 - d**2 / 2) / 0.07)).fit(unit[others], y[others])
        right.append(vote.predict(unit[i : i + 1])[0] == y[i])
    expected = np.mean([np.mean(np.array(right)[y == c]) for c in range(3)])
    assert monitor.knn(features, y, np.arange(300)) == pytest.approx(expected)


def test_neighbours_of_the_same_patient_do_not_vote():
    features = cloud(100, 32).repeat_interleave(2, 0)  # pairs of copies; labels are noise that each pair shares
    y = np.random.default_rng(0).integers(0, 2, 100).repeat(2)
    assert monitor.knn(features, y, np.arange(200)) > 0.9
    assert monitor.knn(features, y, np.arange(100).repeat(2)) < 0.65
    assert math.isnan(monitor.knn(features, np.zeros(200), np.arange(200)))
    assert monitor.knn(cloud(5), np.array([0, 1, 0, 1, 0]), np.arange(5)) >= 0  # fewer images than neighbours


def test_alarm():
    assert monitor.alarm(3.0, 1024, 40, 0.7) == ""
    assert "no choice" in monitor.alarm(math.log(1024) * 0.999, 1024, 40, 0.7)
    assert "one prototype" in monitor.alarm(0.001, 1024, 1, 0.7)
    assert monitor.alarm(0.001, 1024, 40, 0.7) == ""  # sharp, but not the same for all
    assert "one point" in monitor.alarm(3.0, 1024, 40, 0.001)
