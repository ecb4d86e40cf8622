"""One pretraining on many processes, started by torchrun: DistributedDataParallel, or FSDP2 for large networks.

The batch of the settings is that of all processes together; each takes its part of it. Several processes are to end
where one with the whole batch ends, so batch normalisation takes its statistics over all of them, as the published code
does, and gradients are means.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import timm.layers
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.nn.functional import all_reduce
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from ortholib.dino.step import DINO
from ortholib.errors import OrthoError, UsageError

SHARDED_FROM = 250_000_000  # parameters of a student that is spread over the processes; ViT-L has 304 million


@contextmanager
def group() -> Iterator[None]:
    """Join the processes that torchrun started, for the time of the block; nothing where there is one alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def part() -> tuple[int, int]:
    """(this process, number of processes): (0, 1) alone."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def first() -> bool:
    """Whether this process is the one that prints and writes."""
    return part()[0] == 0


def mine(index):
    """This process's part of a batch's rows (B, ...). Raises UsageError where it cannot be dealt out evenly."""
    place, parts = part()
    if len(index) % parts:
        raise UsageError(f"batch {len(index)} cannot be dealt out to {parts} processes; expected a multiple of them.")
    size = len(index) // parts
    return index[place * size : (place + 1) * size]


def agreed(*asked: bool) -> list[bool]:
    """What at least one process asks for. All must call it; it does not wait for the GPU."""
    if part()[1] == 1:
        return list(asked)
    votes = torch.tensor(asked, dtype=torch.int32)
    dist.all_reduce(votes, dist.ReduceOp.MAX)
    return votes.bool().tolist()


def mean(readings: dict[str, float]) -> dict[str, float]:
    """Each reading's mean over the processes."""
    if part()[1] == 1:
        return readings
    values = torch.tensor(list(readings.values()), dtype=torch.float64)
    dist.all_reduce(values)
    return dict(zip(readings, (values / part()[1]).tolist(), strict=True))


def told(value):
    """The first process's value, on every process."""
    box = [value]
    if part()[1] > 1:
        dist.broadcast_object_list(box, 0)
    return box[0]


def join(model: DINO, dtype: torch.dtype) -> None:
    """Make the student's gradients and all batch statistics those of the whole batch, in place; nothing for one alone.

    From SHARDED_FROM parameters on, student and teacher are spread over the processes, block by block (FSDP2, on
    transformers), and computed in `dtype`. Make the optimizer afterwards.
    Raises OrthoError for a large network without blocks.
    """
    if part()[1] == 1:
        return
    model.student, model.teacher = synchronised(model.student), synchronised(model.teacher)
    if sum(p.numel() for p in model.student.parameters()) < SHARDED_FROM:
        model.student = DistributedDataParallel(model.student, broadcast_buffers=False)
        return
    precision = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for network in (model.student, model.teacher):
        blocks = getattr(network.backbone, "blocks", None)
        if blocks is None:
            raise OrthoError(
                f"{type(network.backbone).__name__} is too large for one device and has no blocks to be spread by; "
                "expected a transformer, or a smaller network."
            )
        for block in blocks:
            fully_shard(block, mp_policy=precision)
        # spread again after each forward: the teacher has no backward that would do it
        for module in (network.backbone, network):
            fully_shard(module, mp_policy=precision, reshard_after_forward=True)


def synchronised(network: nn.Module) -> nn.Module:
    """The network with batch statistics over all processes: torch's own layer on GPUs, `Synchronised` on CPUs."""
    if torch.cuda.is_available():
        return timm.layers.convert_sync_batchnorm(network)
    for name, child in network.named_children():
        if type(child) is nn.BatchNorm2d:
            layer = Synchronised(child.num_features, child.eps, child.momentum)
            layer.load_state_dict(child.state_dict())
            for own, given in zip(layer.parameters(), child.parameters(), strict=True):
                own.requires_grad_(given.requires_grad)
            setattr(network, name, layer)
        elif isinstance(child, nn.modules.batchnorm._BatchNorm):
            raise OrthoError(f"{type(child).__name__} has no form for several CPU processes; use one, or GPUs.")
        else:
            synchronised(child)
    return network


class Synchronised(nn.BatchNorm2d):
    """Batch normalisation (N, C, H, W) with the statistics of all processes; torch has it for GPUs only.

    Every process holds equally many pixels.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        parts, wide = part()[1], x.float()
        mean = all_reduce(wide.mean((0, 2, 3))) / parts
        centred = wide - mean[:, None, None]
        variance = all_reduce((centred**2).mean((0, 2, 3))) / parts
        with torch.no_grad():
            n = parts * x.numel() / x.shape[1]
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (n / (n - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def whole(state):
    """A state with every spread tensor put together, and the names that one process alone gives them.

    All processes must call it.
    """
    if isinstance(state, DTensor):
        return state.full_tensor().cpu()
    if isinstance(state, dict):
        return {_plain(name): whole(value) for name, value in state.items()}
    return [whole(value) for value in state] if isinstance(state, list) else state


def load(model: DINO, optimizer: torch.optim.Optimizer, model_state: dict, optimizer_state: dict) -> None:
    """Put states as `whole` gives them into a model and its optimizer, spread as these are."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(_spread(model_state[_plain(name)], value))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, values in optimizer_state["state"].items():
        like = parameters[number]
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == like.shape:
                values[name] = _spread(value, like)
    optimizer.load_state_dict(optimizer_state)


def _plain(name):
    """A parameter's name without what DistributedDataParallel puts into it."""
    return name.replace("student.module.", "student.") if isinstance(name, str) else name


def _spread(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
