"""The loss and its gradient against the formula written pair by pair, and the centre."""

import math

import pytest
import torch

from ortholib.dino.loss import cross_entropy, dino_loss, teacher_probabilities, updated_centre
from ortholib.errors import UsageError


def pair_by_pair(student, teacher, centre, student_temperature, teacher_temperature):
    """Equation 3 as it reads: every view of the teacher against every other crop, one pair at a time."""
    total, pairs = 0.0, 0
    for g in range(len(teacher)):
        q = torch.softmax((teacher[g] - centre) / teacher_temperature, dim=-1)
        for v in range(len(student)):
            if v != g:
                total = total - (q * torch.log_softmax(student[v] / student_temperature, dim=-1)).sum(-1).mean()
                pairs += 1
    return total / pairs


def logits(views, batch, prototypes, seed):
    return torch.empty(views, batch, prototypes, dtype=torch.float64).uniform_(
        -1, 1, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("locals_", [0, 6, 8])
@pytest.mark.parametrize("prototypes", [2, 37, 1024])
@pytest.mark.parametrize("temperatures", [(0.1, 0.02), (0.1, 0.04), (0.1, 0.07), (1.0, 1.0)])
def test_loss_and_gradient_equal_the_formula(locals_, prototypes, temperatures):
    teacher, centre = logits(2, 5, prototypes, 1), logits(1, 1, prototypes, 2).flatten()
    mine = logits(2 + locals_, 5, prototypes, 3).requires_grad_()
    theirs = mine.detach().clone().requires_grad_()
    loss = dino_loss(mine, teacher, centre, *temperatures)
    expected = pair_by_pair(theirs, teacher, centre, *temperatures)
    loss.backward()
    expected.backward()
    assert abs(loss - expected).item() <= 1e-12
    assert (mine.grad - theirs.grad).abs().max().item() <= 1e-12


def test_loss_gradient_and_centre_equal_those_of_lightly():
    from lightly.loss import DINOLoss  # takes seconds

    # lightly holds the teacher's temperature and its centre in float32: a power of two, and the buffer widened
    crops, batch, prototypes, temperatures = 8, 5, 37, (0.1, 2**-5)
    theirs = DINOLoss(prototypes, teacher_temp=temperatures[1], student_temp=temperatures[0]).double()
    centre = torch.zeros(prototypes, dtype=torch.float64)
    for seed in range(3):
        student, teacher = logits(crops, batch, prototypes, seed), logits(2, batch, prototypes, 20 + seed)
        mine, other = (student.clone().requires_grad_() for _ in range(2))
        loss = dino_loss(mine, teacher, centre, *temperatures)
        centre = updated_centre(centre, teacher, 0.9)
        expected = theirs(list(teacher), list(other))
        loss.backward()
        expected.backward()
        assert abs(loss - expected).item() <= 1e-12
        assert (mine.grad - other.grad).abs().max().item() <= 1e-12
        assert (centre - theirs.center.flatten()).abs().max().item() <= 1e-15


def test_gradient_has_its_closed_form():
    views, crops, batch, prototypes, temperature = 2, 6, 4, 50, 0.1
    student = logits(crops, batch, prototypes, 4).requires_grad_()
    q = teacher_probabilities(logits(views, batch, prototypes, 5), torch.zeros(prototypes).double(), 0.04)
    cross_entropy(student, q, temperature).backward()
    p = (student.detach() / temperature).softmax(-1)
    expected = views * p - q.sum(0)
    expected[:views] = (views - 1) * p[:views] - (q.sum(0) - q)
    expected /= temperature * batch * (views * crops - views)
    assert (student.grad - expected).abs().max().item() <= 1e-15


def test_teacher_gets_no_gradient_and_the_global_crops_come_first():
    student, teacher = logits(3, 4, 8, 6), logits(2, 4, 8, 7).requires_grad_()
    centre = torch.zeros(8, dtype=torch.float64)
    assert not dino_loss(student, teacher, centre, 0.1, 0.04).requires_grad
    swapped = dino_loss(student[[1, 0, 2]], teacher.flip(0), centre, 0.1, 0.04)
    assert swapped.item() == pytest.approx(dino_loss(student, teacher, centre, 0.1, 0.04).item(), abs=1e-12)
    assert abs(swapped - dino_loss(student[[2, 0, 1]], teacher, centre, 0.1, 0.04)) > 1e-3


def test_a_teacher_without_a_choice_costs_ln_k():
    loss = dino_loss(torch.zeros(10, 3, 4096), torch.zeros(2, 3, 4096), torch.zeros(4096), 0.1, 0.04)
    assert loss.item() == pytest.approx(math.log(4096), rel=1e-6)


def test_low_precision_logits_are_widened_first():
    student, teacher, centre = logits(4, 3, 512, 8).bfloat16(), logits(2, 3, 512, 9).bfloat16(), torch.zeros(512)
    loss = dino_loss(student, teacher, centre, 0.1, 0.04)
    expected = pair_by_pair(student.double(), teacher.double(), centre.double(), 0.1, 0.04)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_centre_after_three_steps():
    centre, expected = torch.zeros(16, dtype=torch.float64), torch.zeros(1, 16, dtype=torch.float64)
    for seed in range(3):
        teacher = logits(2, 5, 16, 10 + seed)
        centre = updated_centre(centre, teacher, 0.9)
        rows = teacher.reshape(10, 16)
        expected = expected * 0.9 + rows.sum(0, keepdim=True) / 10 * (1 - 0.9)
    assert (centre - expected[0]).abs().max().item() <= 1e-15


def test_what_does_not_fit_is_named():
    zeros = torch.zeros
    with pytest.raises(UsageError, match=r"1 crops for 2 views of the teacher; expected"):
        dino_loss(zeros(1, 3, 8), zeros(2, 3, 8), zeros(8), 0.1, 0.04)
    with pytest.raises(UsageError, match=r"1 crops for 1 views"):
        dino_loss(zeros(1, 3, 8), zeros(1, 3, 8), zeros(8), 0.1, 0.04)
    with pytest.raises(UsageError, match=r"student logits \(4, 2, 8\) and teacher \(2, 3, 8\) do not fit"):
        dino_loss(zeros(4, 2, 8), zeros(2, 3, 8), zeros(8), 0.1, 0.04)
    with pytest.raises(UsageError, match=r"teacher logits \(2, 3, 8\) and centre \(1, 8\) do not fit"):
        dino_loss(zeros(4, 3, 8), zeros(2, 3, 8), zeros(1, 8), 0.1, 0.04)
    with pytest.raises(UsageError, match=r"teacher temperature 0 is not above 0"):
        dino_loss(zeros(4, 3, 8), zeros(2, 3, 8), zeros(8), 0.1, 0)
