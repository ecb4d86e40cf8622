"""DINO pretraining: from unlabelled squares to a backbone.

Resumed equals uninterrupted: the order of the images depends on (seed, epoch) only, their crops on (seed, step) only,
and a checkpoint holds all else. SIGTERM writes one and ends; the next call goes on from there.
"""

import math
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from safetensors.torch import save_file

from ortholib import device as devices
from ortholib import progress
from ortholib.classify.augment import normalise
from ortholib.dino import checkpoint, initial, monitor
from ortholib.dino.augment import Crops, crops
from ortholib.dino.images import Batches, Images, order
from ortholib.dino.schedules import cosine
from ortholib.dino.settings import Pretrain, by_size
from ortholib.dino.step import DINO, optimizer_of, step
from ortholib.errors import OrthoError, UsageError

LOG_EVERY = 10  # steps between two readings of the loss: each reading waits for the device
WATCHED = 1000  # images whose embeddings are looked at after each epoch
NAN_LIMIT = 3  # readings in a row that are not finite
SMALLEST_BF16 = 32  # px; below, a strided convolution meets 1 x 1 maps, whose bf16 gradients are wrong on some CPUs


def build(settings: Pretrain) -> torch.nn.Module:
    """The backbone with one input channel and no classifier, at its initial weights.

    Raises UsageError for a name timm does not know, OrthoError for weights that are absent or do not fit.
    """
    if not timm.is_model(settings.backbone):
        close = ", ".join(timm.list_models(f"*{settings.backbone[:6]}*")[:5]) or "see timm.list_models()"
        raise UsageError(f"backbone '{settings.backbone}' is unknown to timm; close to it: {close}.")
    torch.manual_seed(settings.seed)
    options = {"dynamic_img_size": True} if settings.backbone.startswith("vit") else {}
    backbone = timm.create_model(settings.backbone, pretrained=False, in_chans=1, num_classes=0, **options)
    if settings.initial != "random":
        initial.load(backbone, Path(settings.initial), settings.backbone)
    return backbone


def train(images: Images, settings: Pretrain, folder: Path) -> dict:
    """Pretrain; write `backbone.safetensors` (the teacher's, in timm's names), `history.parquet` (a row an epoch) and,
    while it runs, checkpoints. Returns the record.

    Raises OrthoError for a batch that does not fit the set, crops larger than the squares, a loss that is not finite
    (the last good checkpoint stays). SystemExit 143 after a SIGTERM.
    """
    _check(images, settings)
    device = devices.pick()
    dtype = devices.precision(device)
    if device.type == "cpu" and min(settings.global_size, settings.local_size) < SMALLEST_BF16:
        dtype = torch.float32
    prototypes, temperature, momentum = by_size(settings, len(images))
    model = DINO(build(settings), prototypes, settings.hidden, settings.bottleneck)
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = optimizer_of(model, settings.optimizer)
    steps = len(images) // settings.batch
    plan = _schedules(settings, steps, momentum)
    views = Crops(
        global_size=settings.global_size, local_size=settings.local_size, locals=settings.locals, flip=settings.flip
    )
    batches = Batches(images, device)
    state = _resume(folder, model, optimizer)
    saved, bad = time.perf_counter(), 0
    with _Termination() as termination:
        for epoch in range(state["step"] // steps, settings.epochs):
            rows = order(len(images), settings.batch, settings.seed, epoch)
            begun, first = time.perf_counter(), state["step"] % steps
            todo = range(first, steps)
            for i in progress.bar(
                todo, desc=f"epoch {epoch + 1}/{settings.epochs}", initial=first, total=steps, leave=False
            ):
                now = epoch * steps + i
                big, small = crops(*batches(rows[i]), views, settings.seed, now)
                seen = step(
                    model,
                    optimizer,
                    big.contiguous(memory_format=torch.channels_last),
                    small.contiguous(memory_format=torch.channels_last),
                    learning_rate=plan["learning_rate"][now],
                    weight_decay=plan["weight_decay"][now],
                    momentum=plan["momentum"][now],
                    student_temperature=settings.student_temperature,
                    teacher_temperature=temperature,
                    centre_momentum=settings.centre_momentum if settings.centring else None,
                    freeze_last=epoch < settings.freeze_last,
                    clip=settings.clip,
                    dtype=dtype,
                )
                state["step"] = now + 1
                if i % LOG_EVERY == 0 or i == steps - 1:
                    reading = {name: float(value) for name, value in seen.items()}
                    bad = 0 if math.isfinite(reading["loss"]) else bad + 1
                    if bad >= NAN_LIMIT or (bad and i == steps - 1):
                        raise OrthoError(
                            f"the loss is {reading['loss']} at step {now + 1}; lower learning_rate "
                            f"{settings.learning_rate}. The last good checkpoint stays in {folder}."
                        )
                    state["readings"].append(reading)
                due = time.perf_counter() - saved > 60 * settings.checkpoint_minutes
                if due or termination.asked:
                    _save(folder, state, model, optimizer)
                    saved = time.perf_counter()
                if termination.asked:
                    print(f"told to end, saved at step {now + 1}; the same command goes on from there", flush=True)
                    raise SystemExit(143)  # no error: the fit stays `.partial`
            speed = len(todo) * settings.batch / (time.perf_counter() - begun)
            row = _epoch_row(epoch, state.pop("readings"), speed, plan, state["step"] - 1)
            row |= _watch(model, batches, images, settings, dtype)
            first_choices = row["used"] * min(prototypes, 2 * settings.batch)
            row["alarm"] = monitor.alarm(row["entropy"], prototypes, first_choices, row["spread"])
            state["readings"] = []
            state["history"].append(row)
            print(
                "  ".join(f"{k} {v:.4g}" if isinstance(v, float | int) else str(v) for k, v in row.items()), flush=True
            )
            _save(folder, state, model, optimizer)
    return _finish(images, settings, folder, state, model, dtype, prototypes, temperature, momentum)


def _check(images: Images, settings: Pretrain) -> None:
    if not 2 <= settings.batch <= len(images):
        raise OrthoError(f"batch {settings.batch} does not fit {len(images)} images; expected 2 to {len(images)}.")
    side = images.stores[0].shape[1]
    largest = max(settings.global_size, settings.local_size)
    if largest > side:
        raise UsageError(f"crops of {largest} px are larger than the stored squares of {side} px; raise size.")
    if settings.batch < 64:
        print(f"batch {settings.batch}: below 64 DINO often does not learn; watch the entropy", flush=True)


def _schedules(settings: Pretrain, steps: int, momentum: float) -> dict[str, np.ndarray]:
    total = steps * settings.epochs
    rate = settings.learning_rate * settings.batch / 256
    return {
        "learning_rate": cosine(rate, settings.final_learning_rate, total, round(settings.warmup * total)),
        "weight_decay": cosine(settings.weight_decay, settings.final_weight_decay, total),
        "momentum": cosine(momentum, 1.0, total),
    }


def _resume(folder: Path, model: DINO, optimizer: torch.optim.Optimizer) -> dict:
    state = checkpoint.load(folder)
    if state is None:
        return {"step": 0, "history": [], "readings": []}
    model.load_state_dict(state.pop("model"))
    optimizer.load_state_dict(state.pop("optimizer"))
    print(f"resumed after step {state['step']}", flush=True)
    return state


def _save(folder: Path, state: dict, model: DINO, optimizer: torch.optim.Optimizer) -> None:
    """Write a checkpoint, unless the weights are no numbers any more: then the last good one stays."""
    values = [value for value in model.state_dict().values() if value.is_floating_point()]
    if not torch.stack([value.isfinite().all() for value in values]).all():
        return
    whole = state | {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.save(folder, state["step"], whole)


def _epoch_row(epoch: int, readings: list[dict], speed: float, plan: dict, last: int) -> dict:
    means = {name: float(np.mean([reading[name] for reading in readings])) for name in readings[0]}
    schedules = {name: float(values[last]) for name, values in plan.items()}
    return {"epoch": epoch + 1} | means | schedules | {"images_per_s": speed}


def _watch(model: DINO, batches: Batches, images: Images, settings: Pretrain, dtype: torch.dtype) -> dict:
    """Spread, rank and nearest neighbours of the teacher's embeddings of some training images."""
    chosen = np.random.default_rng([settings.seed, 7]).permutation(len(images))[:WATCHED]
    features = embed(model.teacher_backbone, batches, chosen, settings.global_size, dtype).cpu()
    row = {"spread": monitor.spread(features), "rankme": monitor.rankme(features)}
    for number, name in enumerate(images.seen):
        here = (images.store[chosen] == number) & ~np.isnan(images.y[chosen])
        if here.sum() > 1:
            of = chosen[here]
            row[f"knn_{name}"] = monitor.knn(features[torch.from_numpy(here)], images.y[of], images.group[of])
    return row


def embed(backbone: torch.nn.Module, batches, index: np.ndarray, side: int, dtype: torch.dtype) -> torch.Tensor:
    """Features (n, D) float32 of whole squares resized to `side`, in evaluation mode."""
    training = backbone.training
    backbone.eval()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(index), 64):
            squares = normalise(batches(index[start : start + 64])[0])
            if squares.shape[-1] != side:
                squares = torch.nn.functional.interpolate(squares, size=side, mode="bilinear", antialias=True)
            with torch.autocast(batches.device.type, dtype, enabled=dtype != torch.float32):
                rows.append(backbone(squares.contiguous(memory_format=torch.channels_last)).float())
    backbone.train(training)
    return torch.cat(rows)


def _finish(images, settings, folder, state, model, dtype, prototypes, temperature, momentum) -> dict:
    weights = {name: value.detach().cpu().contiguous() for name, value in model.teacher_backbone.state_dict().items()}
    facts = {"backbone": settings.backbone, "in_chans": "1", "method": "DINO", "epochs": str(settings.epochs)}
    save_file(weights, folder / "backbone.safetensors", facts)
    history = pd.DataFrame(state["history"])
    history.to_parquet(folder / "history.parquet")
    for old in checkpoint.steps(folder):
        checkpoint.delete(folder, old)
    last = state["history"][-1]
    return {
        "steps": state["step"],
        "epochs": settings.epochs,
        "images": len(images),
        "seen": images.seen,
        "prototypes": prototypes,
        "teacher_temperature": temperature,
        "momentum": momentum,
        "images_per_s": float(history["images_per_s"].median()),
        "mfu": None,
        "precision": str(dtype).removeprefix("torch."),
        "last": {name: value for name, value in last.items() if name != "alarm"},
        "alarms": sorted({row["alarm"] for row in state["history"]} - {""}),
    }


class _Termination:
    """Notes SIGTERM instead of dying of it, so that the state can be saved first. In the main thread only."""

    asked = False

    def __enter__(self):
        try:
            self.before = signal.signal(signal.SIGTERM, self._note)
        except ValueError:  # not in the main thread
            self.before = None
        return self

    def __exit__(self, *_):
        if self.before is not None:
            signal.signal(signal.SIGTERM, self.before)

    def _note(self, *_):
        self.asked = True
