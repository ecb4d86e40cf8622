"""The loss of DINO and the centre of its teacher (Caron et al. 2021, arXiv 2104.14294, equations 1 to 4).

V crops of each of B images, the first G of them global and in the teacher's order; K prototypes.
"""

import torch
import torch.distributed as dist

from ortholib.errors import UsageError


def dino_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    centre: torch.Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> torch.Tensor:
    """Equation 3 as a mean, in nats: the cross entropy over the G V - G pairs of a teacher's view and another crop.

    student: (V, B, K) logits. teacher: (G, B, K) logits, which get no gradient. centre: (K,).
    Raises UsageError for shapes that do not fit and temperatures that are not above 0.
    """
    return cross_entropy(student, teacher_probabilities(teacher, centre, teacher_temperature), student_temperature)


def teacher_probabilities(teacher: torch.Tensor, centre: torch.Tensor, temperature: float) -> torch.Tensor:
    """softmax((t - c) / T): (G, B, K) logits and the centre (K,) -> (G, B, K), at least float32, without gradient."""
    if teacher.ndim != 3 or centre.shape != teacher.shape[-1:]:
        raise UsageError(
            f"teacher logits {tuple(teacher.shape)} and centre {tuple(centre.shape)} do not fit; "
            "expected (G, B, K) and (K,)."
        )
    _check_temperature("teacher", temperature)
    return ((_wide(teacher.detach()) - centre) / temperature).softmax(-1)


def cross_entropy(student: torch.Tensor, target: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean over pairs of -sum_k q_k log p_k, p = softmax(s / T), q the teacher's probabilities of another view.

    student: (V, B, K) logits. target: (G, B, K) probabilities. All pairs of one crop share its log-partition, so each
    crop is met once: the targets of a local crop add up to sum_g q_g, those of global crop v to that sum less q_v.
    Equal to the loop over pairs; the gradient by s_v is (n_v p_v - sum of its targets) / (T B (G V - G)), n_v targets.
    """
    views, crops = len(target), len(student)
    if student.ndim != 3 or student.shape[1:] != target.shape[1:]:
        raise UsageError(
            f"student logits {tuple(student.shape)} and teacher {tuple(target.shape)} do not fit; "
            "expected (V, B, K) and (G, B, K)."
        )
    if crops < max(2, views):
        raise UsageError(
            f"{crops} crops for {views} views of the teacher; expected those views first among at least 2 crops."
        )
    _check_temperature("student", temperature)
    z = _wide(student) / temperature
    partition = z.logsumexp(-1)
    each = views * partition.sum(0) - partition[:views].sum(0)
    each = each - (target.sum(0) * z.sum(0)).sum(-1) + (target * z[:views]).sum((0, 2))
    return each.mean() / (views * crops - views)


@torch.no_grad()
def updated_centre(centre: torch.Tensor, teacher: torch.Tensor, momentum: float) -> torch.Tensor:
    """Equation 4: m c + (1 - m) mean of the raw teacher logits (G, B, K) over views, images and ranks -> (K,).

    Call it after the loss, which uses the centre of the steps before.
    """
    mean = _wide(teacher).mean((0, 1))
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(mean)
        mean = mean / dist.get_world_size()
    return centre * momentum + mean * (1 - momentum)


def _wide(logits: torch.Tensor) -> torch.Tensor:
    """At least float32: a softmax over thousands of prototypes needs it."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _check_temperature(whose: str, temperature: float) -> None:
    if not temperature > 0:
        raise UsageError(f"{whose} temperature {temperature} is not above 0; expected such as 0.04 (teacher), 0.1.")
