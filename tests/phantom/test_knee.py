"""The knee phantom: the picture shows what the truth says."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from ortholib.phantom import knee


def patients(n: int, seed: int = 0) -> list[knee.Knee]:
    return [k for i in range(n) for k in knee.draw_patient(np.random.default_rng([seed, i])).values()]


def still(one: knee.Knee) -> knee.Knee:
    return replace(one, shift_x=0.0, shift_y=0.0, rotation=0.0, size=1.0, sclerosis=0.0, rim=50.0)


def gap_mm(one: knee.Knee, x_mm: float) -> float:
    """Joint space measured in the line integrals: width of the lucent gap at half depth, at `x_mm`."""
    size = 256
    mm = 102 / size
    integral = knee.project(one, np.random.default_rng(0), size, texture=0.0)
    column = integral[:, round(size / 2 + x_mm / mm)]
    middle = round(size * 0.53)
    near = column[middle - round(13 / mm) : middle + round(6 / mm)]
    low = near.argmin()
    half = (near[low] + np.median(near)) / 2
    return float((near < half).sum() * mm)


@pytest.mark.parametrize("space", [1.5, 3.0, 4.5, 6.0])
def test_measured_joint_space_is_the_true_one(space):
    one = replace(still(patients(1)[0]), side="L", jsw_medial=space, jsw_lateral=space)
    assert gap_mm(one, -knee.COMPARTMENT) == pytest.approx(space, abs=0.8)
    assert gap_mm(one, knee.COMPARTMENT) == pytest.approx(space, abs=0.8)


def test_measured_joint_space_shrinks_with_the_grade():
    drawn = [k for k in patients(200) if k.side == "L"]
    knees = [k for grade in range(5) for k in [k for k in drawn if k.kl == grade][:4]]
    worse = [gap_mm(still(k), -knee.COMPARTMENT if k.medial_disease else knee.COMPARTMENT) for k in knees]
    assert spearmanr(worse, [k.kl for k in knees]).statistic < -0.7
    assert np.mean(worse[-4:]) < 2.5 < 4 < np.mean(worse[:4])


def test_right_knee_is_the_mirrored_left_one():
    left = replace(patients(1)[0], side="L")
    a = knee.project(left, np.random.default_rng(0))
    b = knee.project(replace(left, side="R"), np.random.default_rng(0))
    np.testing.assert_array_equal(a, b[:, ::-1])
    # the fibula, lateral: right half of a left knee
    bottom = knee.project(still(left), np.random.default_rng(0))[-12:]
    assert bottom[:, 96:110].mean() > bottom[:, 18:32].mean() * 1.1


def test_osteophytes_add_bone_at_the_margin():
    bare = replace(still(patients(1)[0]), side="L", osteophytes=(0.0, 0.0, 0.0, 0.0))
    spur = replace(bare, osteophytes=(0.0, 0.0, 6.0, 0.0))
    added = knee.project(spur, np.random.default_rng(0)) - knee.project(bare, np.random.default_rng(0))
    y, x = np.unravel_index(added.argmax(), added.shape)
    assert added.max() > 0.2 and x < 30 and 60 < y < 80


@pytest.mark.parametrize(
    ("osteophyte", "loss", "kl"),
    [(0, 0, 0), (1.2, 0, 1), (0.5, 0.3, 1), (2.5, 0.1, 2), (2.5, 0.5, 3), (0.5, 0.5, 1), (5, 0.8, 4)],
)
def test_grade_rule(osteophyte, loss, kl):
    assert knee.grade(osteophyte, loss) == kl


def test_grades_are_as_frequent_as_in_the_real_set_and_knees_of_a_patient_alike():
    knees = patients(2000)
    grades = np.array([k.kl for k in knees])
    shares = np.bincount(grades, minlength=5) / len(grades)
    np.testing.assert_allclose(shares, [0.39, 0.18, 0.26, 0.13, 0.03], atol=0.03)
    assert 0.3 < np.corrcoef(grades[::2], grades[1::2])[0, 1] < 0.8
    agree = np.mean([k.kl == k.kl_rule for k in knees])
    assert 0.75 < agree < 0.95  # the reader errs, but not wildly


def test_same_seed_same_pixels():
    one = patients(1)[0]
    a, b, c = (knee.render(one, np.random.default_rng(s)) for s in (3, 3, 4))
    assert a.dtype == np.uint8 and a.shape == (knee.SIZE, knee.SIZE)
    np.testing.assert_array_equal(a, b)
    assert (a != c).mean() > 0.3
