"""The schedules against their formulas, one value at a time."""

import math

import pytest

from ortholib.dino.schedules import cosine
from ortholib.errors import UsageError


@pytest.mark.parametrize(
    ("base", "final", "epochs", "per_epoch", "warmup", "start"),
    [(0.03, 1e-6, 100, 13, 10, 0.0), (0.996, 1.0, 7, 5, 0, 0.0), (1e-4, 1e-4, 3, 4, 0, 0.0), (0.5, 0.1, 4, 3, 2, 0.2)],
)
def test_cosine_is_the_formula_of_each_iteration(base, final, epochs, per_epoch, warmup, start):
    values = cosine(base, final, epochs * per_epoch, warmup * per_epoch, start)
    expected = []
    warm, whole = warmup * per_epoch, epochs * per_epoch
    for i in range(warm):
        expected.append(start + (base - start) * i / (warm - 1))
    for i in range(whole - warm):
        expected.append(final + 0.5 * (base - final) * (1 + math.cos(math.pi * i / (whole - warm))))
    assert values.shape == (whole,)
    assert values == pytest.approx(expected, rel=1e-13, abs=1e-17)


def test_edges_and_what_does_not_fit():
    assert cosine(1.0, 0.0, 3, 3).tolist() == [0.0, 0.5, 1.0]
    assert cosine(1.0, 0.0, 1).tolist() == [1.0]
    with pytest.raises(UsageError, match="a warm-up of 4 steps does not fit 3 steps; expected 0 to 3"):
        cosine(1.0, 0.0, 3, 4)
