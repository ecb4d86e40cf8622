"""Augmentation against independent answers: numpy flips, scipy's affine transform, plain arithmetic."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from ortholib.classify.augment import Augmentation, augment, random_draws
from ortholib.encoders.preprocess import MEAN, STD, normalise

NOTHING = Augmentation(rotation=0, scale=0, shift=0, contrast=0, flip=0)


@pytest.fixture
def batch():
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).uniform(0, 255, (6, 40, 40)), (0, 2, 2))
    return torch.from_numpy((smooth - smooth.min()) / np.ptp(smooth) * 255).to(torch.uint8)


def levels(images):
    return (images[:, 0] * STD + MEAN) * 255


def test_no_range_changes_nothing(batch):
    assert torch.allclose(augment(batch, NOTHING, 0, 0), normalise(batch), atol=1e-4)


def test_flip_is_exact(batch):
    flipped = augment(batch, Augmentation(0, 0, 0, 0, flip=1.0), 0, 0)
    assert torch.allclose(flipped, normalise(batch.flip(-1)), atol=1e-4)


def test_rotation_matches_scipy(batch):
    seed, step = 3, 7
    rotated = levels(augment(batch, Augmentation(20, 0, 0, 0, 0), seed, step)).numpy()
    for image, got, draw in zip(batch.numpy(), rotated, random_draws(seed, step, len(batch))[0], strict=True):
        angle = np.deg2rad(float(draw) * 20)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        centre = np.full(2, (40 - 1) / 2)
        expected = ndimage.affine_transform(image.astype(float), turn, centre - turn @ centre, order=1)
        inner = slice(10, 30)
        assert np.abs(got - expected)[inner, inner].max() < 0.01


def test_shift_moves_by_the_stated_fraction():
    image = torch.zeros(64, 101, 101, dtype=torch.uint8)
    image[:, 48:53, 48:53] = 255
    moved = levels(augment(image, Augmentation(0, 0, 0.1, 0, 0), 0, 0)).numpy()
    centres = np.array([ndimage.center_of_mass(m) for m in moved]) - 50
    assert np.abs(centres).max() < 10.2 and np.abs(centres).max() > 8
    assert centres.std(axis=0) == pytest.approx([10 / 3**0.5] * 2, rel=0.2)  # uniform over +-10 px


def test_draws_depend_on_seed_and_step_only(batch):
    ranges = Augmentation(flip=0.5)
    assert torch.equal(augment(batch, ranges, 1, 2), augment(batch, ranges, 1, 2))
    assert not torch.equal(augment(batch, ranges, 1, 2), augment(batch, ranges, 1, 3))
    assert not torch.equal(augment(batch, ranges, 1, 2), augment(batch, ranges, 2, 2))
    first = augment(batch[:1], NOTHING, 1, 2)
    assert first.dtype == torch.float32 and first.shape == (1, 1, 40, 40)


def test_smaller_side_averages_areas(batch):
    small = levels(augment(batch, NOTHING, 0, 0, side=20))
    expected = batch.float().view(6, 20, 2, 20, 2).mean((2, 4))
    assert torch.allclose(small, expected, atol=1e-2)
