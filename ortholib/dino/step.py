"""One step of DINO (Caron et al. 2021, arXiv 2104.14294, algorithm 1): student, teacher, and how both move.

Crops come view by view: all images' first crop, then all images' second, and so on. Nothing here waits for the device.
"""

import copy

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from ortholib.dino.head import Head
from ortholib.dino.loss import cross_entropy, teacher_probabilities, updated_centre
from ortholib.errors import UsageError

VIEWS = 2  # global crops of an image, the ones the teacher sees


class Network(nn.Module):
    """Backbone and head; one call does all crops, as DistributedDataParallel wants."""

    def __init__(self, backbone: nn.Module, head: Head):
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, big: torch.Tensor, small: torch.Tensor | None = None) -> torch.Tensor:
        """(N, C, S, S) and (M, C, s, s) -> (N + M, K) logits. The backbone is called once a resolution, so batch
        normalisation takes its statistics of each apart; the head once for all."""
        groups = [big] if small is None or len(small) == 0 else [big, small]
        if len(groups) == 2 and big.shape[1:] == small.shape[1:]:
            groups = [torch.cat(groups)]
        return self.head(torch.cat([self.backbone(crops) for crops in groups]))


class DINO(nn.Module):
    """A student, its teacher and the teacher's centre (K,).

    backbone: a timm model made with `num_classes=0`. The teacher starts as a copy and gets no gradient. Both stay in
    training mode: the teacher normalises by the statistics of its own batch, and only its own batches feed its running
    ones. `student` may be replaced by itself in `DistributedDataParallel` or `torch.compile`, the optimizer made after;
    every rank then keeps its own teacher, equal on all but for running statistics.
    Raises UsageError for a backbone with a classifier and for less than two prototypes.
    """

    def __init__(self, backbone: nn.Module, prototypes: int, hidden: int = 2048, bottleneck: int = 256):
        super().__init__()
        classes = getattr(backbone, "num_classes", 0)
        if classes:
            raise UsageError(f"the backbone has a classifier of {classes} classes; make it with num_classes=0.")
        width = getattr(backbone, "head_hidden_size", None) or backbone.num_features
        self.student = Network(backbone, Head(width, prototypes, hidden, bottleneck))
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(prototypes))

    @property
    def teacher_backbone(self) -> nn.Module:
        """What pretraining is for."""
        return _bare(self.teacher).backbone

    def forward(self, big: torch.Tensor, small: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Global crops (2 B, C, S, S) and local ones (L B, C, s, s) or None -> the logits of the student (2 + L, B, K)
        and, of the global crops alone, of the teacher (2, B, K).

        Raises UsageError for crops that are not whole views of one batch.
        """
        batch = len(big) // VIEWS
        if big.ndim != 4 or batch == 0 or len(big) != VIEWS * batch:
            raise UsageError(f"global crops {tuple(big.shape)} do not fit; expected (2 B, C, S, S), view by view.")
        if small is not None and (small.ndim != 4 or len(small) % batch or small.shape[1] != big.shape[1]):
            raise UsageError(
                f"local crops {tuple(small.shape)} do not fit global crops {tuple(big.shape)}; "
                f"expected (L x {batch}, {big.shape[1]}, s, s), view by view."
            )
        with torch.no_grad():
            teacher = self.teacher(big)
        student = self.student(big, small)
        return student.unflatten(0, (-1, batch)), teacher.unflatten(0, (VIEWS, batch))


def parameter_groups(module: nn.Module) -> list[dict]:
    """Group 0: matrices, kernels and prototypes, which decay. Group 1: biases and all that is one-dimensional."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    plain = [p.ndim <= 1 or name.endswith(".bias") for name, p in named]
    decayed = [p for (_, p), bare in zip(named, plain, strict=True) if not bare]
    rest = [p for (_, p), bare in zip(named, plain, strict=True) if bare]
    return [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]


def optimizer_of(model: DINO, kind: str) -> torch.optim.Optimizer:
    """The student's optimizer, `sgd` (momentum 0.9) or `adamw`; `step` sets its rate and weight decay."""
    groups = parameter_groups(model.student)
    if kind == "sgd":
        # not fused: torch's fused SGD fails once tensors frozen at first begin to have a momentum (2.15)
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9, foreach=True)
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, fused=True)
    raise UsageError(f"optimizer '{kind}' is unknown; expected sgd or adamw.")


def step(
    model: DINO,
    optimizer: torch.optim.Optimizer,
    big: torch.Tensor,
    small: torch.Tensor | None,
    *,
    learning_rate: float,
    weight_decay: float,
    momentum: float,
    teacher_temperature: float,
    student_temperature: float = 0.1,
    centre_momentum: float | None = 0.9,
    freeze_last: bool = False,
    clip: float = 3.0,
    dtype: torch.dtype = torch.float32,
) -> dict[str, torch.Tensor]:
    """Move student, teacher and centre by one step; crops as in `DINO.forward`, which runs in `dtype`.

    momentum: of the teacher. centre_momentum: None leaves the centre where it is. freeze_last: the prototypes get no
    gradient, so no decay either. clip: largest norm of one tensor's gradient, 0 for none.

    Returns scalars that stay on the device: `loss` and `entropy` (of the teacher's probabilities, mean over views) in
    nats; `kl`, the teacher's divergence from the student, mean over the pairs of the loss; `used`, different
    prototypes that come first for a view, as a share of as many as there could be, min(K, 2 B); `centre_norm`; and
    `gradient_norm`, over all tensors, before clipping.
    """
    with torch.autocast(big.device.type, dtype, enabled=dtype.itemsize < 4):
        student, teacher = model(big, small)
    target = teacher_probabilities(teacher, model.centre, teacher_temperature)
    loss = cross_entropy(student, target, student_temperature)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    with torch.no_grad():
        if centre_momentum is not None:
            model.centre.copy_(updated_centre(model.centre, teacher, centre_momentum))
        if freeze_last:
            _bare(model.student).head.prototypes.grad = None
        gradient_norm = _clip([p.grad for p in model.student.parameters() if p.grad is not None], clip)
        for group in optimizer.param_groups:
            group["lr"] = float(learning_rate)
        optimizer.param_groups[0]["weight_decay"] = float(weight_decay)
        optimizer.step()
        torch._foreach_lerp_(_held(model.teacher.parameters()), _held(model.student.parameters()), 1 - float(momentum))
        entropy = torch.special.entr(target).sum(-1).mean()
        seen = {"loss": loss.detach(), "entropy": entropy, "kl": loss.detach() - entropy, "used": _used(target)}
        return seen | {"centre_norm": model.centre.norm(), "gradient_norm": gradient_norm}


def _clip(gradients: list[torch.Tensor], limit: float) -> torch.Tensor:
    """Scale each tensor whose norm is above `limit` down to it, and return the norm of all before that."""
    held = _held(gradients)
    norms = torch.stack(torch._foreach_norm(held))
    if isinstance(gradients[0], DTensor):  # each process holds a part of every tensor
        squares = norms.square()
        dist.all_reduce(squares)
        norms = squares.sqrt()
    if limit:
        factors = (limit / (norms + 1e-6)).clamp(max=1)
        torch._foreach_mul_(held, list(factors.unbind()))
    return norms.norm()


def _held(tensors) -> list[torch.Tensor]:
    """What this process holds of each tensor: all of it, unless FSDP2 spread it over the processes."""
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]


def _used(target: torch.Tensor) -> torch.Tensor:
    """Share of prototypes that are some view's first choice, of as many as (G, B, K) probabilities could choose."""
    prototypes = target.shape[-1]
    chosen = target.new_zeros(prototypes).index_fill_(0, target.argmax(-1).flatten(), 1)
    return chosen.sum() / min(prototypes, target[..., 0].numel())


def _bare(network: nn.Module) -> Network:
    """The network inside what DistributedDataParallel or torch.compile put around it."""
    for wrapper in ("module", "_orig_mod", "module"):
        network = getattr(network, wrapper, network)
    return network
