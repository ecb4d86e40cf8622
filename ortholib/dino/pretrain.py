"""DINO pretraining: from unlabelled squares to a backbone.

Resumed equals uninterrupted, and several processes equal one: the order of the images depends on (seed, epoch) only,
their crops on (seed, step, place in the batch) only, and a checkpoint holds all else. SIGTERM writes one and ends; the
next call goes on from there.
"""

import json
import math
import signal
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ortholib import machine as devices
from ortholib import progress
from ortholib.dino import checkpoint, compiling, export, flops, log, memory, monitor, parallel
from ortholib.dino.augment import Crops, crops, views
from ortholib.dino.images import Batches, Images
from ortholib.dino.schedules import cosine
from ortholib.dino.step import DINO, optimizer_of, step
from ortholib.encoders import load
from ortholib.encoders.preprocess import normalise
from ortholib.errors import OrthoError, UsageError
from ortholib.settings import Pretrain, by_size

LOG_EVERY = 10  # steps between two readings of the loss: each reading waits for the device
WATCHED = 1000  # images whose embeddings are looked at after each epoch
NAN_LIMIT = 3  # readings in a row that are not finite
SMALLEST_BF16 = 32  # px; below, a strided convolution meets 1 x 1 maps, whose bf16 gradients are wrong on some CPUs
CROPS = ("global_size", "local_size", "locals", "global_scale", "local_scale", "flip", "rotation")  # of the settings


def build(settings: Pretrain, weights: Path | None) -> torch.nn.Module:
    """The backbone without classifier, at its initial weights; errors as `encoders.load.build`."""
    return load.build(settings.backbone, weights, settings.seed)


def recipe(settings: Pretrain) -> Crops:
    """How its crops are drawn."""
    return Crops(**{name: getattr(settings, name) for name in CROPS})


def train(images: Images, settings: Pretrain, folder: Path, weights: Path | None) -> dict:
    """Pretrain; write `backbone.safetensors` (the teacher's, in timm's names), its card `backbone.md`,
    `history.parquet` (a row an epoch) and, while it runs, checkpoints. Returns the record.

    weights: the file that `settings.initial` means, None for random numbers.

    Started by torchrun, the processes share each batch, and the first one writes.
    Raises OrthoError for a batch that does not fit the set or the device (and says which would), crops larger than the
    squares, a checkpoint of another run in the folder, a loss that is not finite (the last good checkpoint stays).
    SystemExit 143 after a SIGTERM.
    """
    with parallel.group():
        return _train(images, settings, folder, weights)


def _train(images: Images, settings: Pretrain, folder: Path, weights: Path | None) -> dict:
    steps = _check(images, settings)
    device = devices.pick()
    dtype = devices.precision(device)
    if device.type == "cpu":
        memory.keep()
        if min(settings.global_size, settings.local_size) < SMALLEST_BF16:
            dtype = torch.float32
    prototypes, temperature, momentum = by_size(settings, len(images))
    model = DINO(build(settings, weights), prototypes, settings.hidden, settings.bottleneck)
    model = model.to(device, memory_format=torch.channels_last)
    lacking = devices.cannot_compile()
    render = views if lacking else compiling.compile_parts(model)
    if lacking and device.type == "cuda" and parallel.first():
        print(f"not compiled: {lacking}; a step takes longer so", flush=True)
    parallel.join(model, dtype)
    optimizer = optimizer_of(model, settings.optimizer)
    plan = _schedules(settings, steps, momentum)
    crop = recipe(settings)
    batches = Batches(images, device)
    state = _resume(folder, images, settings, model, optimizer)
    cost = flops.per_image(settings, prototypes)
    peak = devices.peak_tflops(device)
    peak = peak and peak * 1e12 * parallel.part()[1]

    def move(batch: tuple[torch.Tensor, torch.Tensor], now: int) -> dict[str, torch.Tensor]:
        big, small = crops(*batch, crop, settings.seed, now, parallel.part(), render)
        return step(
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
            freeze_last=now < settings.freeze_last * steps,
            clip=settings.clip,
            dtype=dtype,
        )

    saved, bad, started, done = time.perf_counter(), 0, time.perf_counter(), 0
    with _Termination() as termination:
        for epoch in range(state["step"] // steps, settings.epochs):
            first = state["step"] % steps
            rows = [parallel.mine(row) for row in images.order(settings.batch, settings.seed, epoch)[first:]]
            begun = time.perf_counter()
            name = f"epoch {epoch + 1}/{settings.epochs}"
            bar = progress.bar(batches.stream(rows), desc=name, initial=first, total=steps, leave=False)
            for i, batch in enumerate(bar, first):
                now = epoch * steps + i
                seen = _moved(move, batch, now, settings)
                state["step"], done = now + 1, done + 1
                if i % LOG_EVERY == 0 or i == steps - 1:
                    reading = parallel.mean({name: float(value) for name, value in seen.items()})
                    bad = 0 if math.isfinite(reading["loss"]) else bad + 1
                    if bad >= NAN_LIMIT or (bad and i == steps - 1):
                        raise OrthoError(
                            f"the loss is {reading['loss']} at step {now + 1}; lower learning_rate "
                            f"{settings.learning_rate}. The last good checkpoint stays in {folder}."
                        )
                    state["readings"].append(reading)
                    bar.set_postfix(loss=f"{reading['loss']:.3f}", entropy=f"{reading['entropy']:.3f}")
                due = time.perf_counter() - saved > 60 * settings.checkpoint_minutes
                asked_to_end, due = parallel.agreed(termination.asked, due)
                if due or asked_to_end:
                    _save(folder, state, model, optimizer)
                    saved = time.perf_counter()
                if asked_to_end:
                    print(f"told to end, saved at step {now + 1}; the same command goes on from there", flush=True)
                    raise SystemExit(143)  # no error: the fit stays `.partial`
            now = time.perf_counter()
            speed = len(rows) * settings.batch / (now - begun)
            left = (now - started) / done * (settings.epochs * steps - state["step"])
            row = log.row(epoch, state["readings"], plan, state["step"] - 1)
            row |= {"images_per_s": speed, "mfu": speed * cost / peak if peak else math.nan}
            row |= _watch(model, batches, images, settings, dtype)
            first_choices = row["used"] * min(prototypes, 2 * settings.batch // parallel.part()[1])
            row["alarm"] = monitor.alarm(row["entropy"], prototypes, first_choices, row["spread"])
            state["readings"] = []
            state["history"].append(row)
            if parallel.first():
                print(log.line(row, settings.epochs, left), flush=True)
            _save(folder, state, model, optimizer)
            saved = time.perf_counter()
    record = {
        "steps": state["step"],
        "epochs": settings.epochs,
        "images": len(images),
        "seen": images.seen,
        "processes": parallel.part()[1],
        "compiled": not lacking,
        "prototypes": prototypes,
        "teacher_temperature": temperature,
        "momentum": momentum,
        "gflop_per_image": cost / 1e9,
        "precision": str(dtype).removeprefix("torch."),
    }
    return record | _finish(settings, folder, state, model, record)


def _check(images: Images, settings: Pretrain) -> int:
    """Steps of an epoch."""
    shown = len(images.order(1, settings.seed, 0))
    if not 2 <= settings.batch <= shown:
        raise OrthoError(f"batch {settings.batch} does not fit {shown} images; expected 2 to {shown}.")
    side = images.stores[0].shape[1]
    largest = max(settings.global_size, settings.local_size)
    if largest > side:
        raise UsageError(f"crops of {largest} px are larger than the stored squares of {side} px; raise size.")
    if settings.batch < 64 and parallel.first():
        print(f"batch {settings.batch}: below 64 DINO often does not learn; watch the entropy", flush=True)
    return shown // settings.batch


def _moved(move, batch: tuple[torch.Tensor, torch.Tensor], now: int, settings: Pretrain) -> dict[str, torch.Tensor]:
    """One step. Raises OrthoError where the device's memory runs out, with the batch that fits."""
    try:
        return move(batch, now)
    except torch.OutOfMemoryError:
        pass  # what the step had made is let go of only after this block
    size = len(batch[0])
    advice = "lower it"
    if parallel.part()[1] == 1:
        fits = memory.fitting(lambda n: move((batch[0][:n], batch[1][:n]), now), size)
        advice = f"{fits} fits" if fits else "not even 2 images fit: lower the size of the crops or the backbone's"
    raise OrthoError(
        f"batch {settings.batch} of {settings.backbone}, 2 x {settings.global_size} and {settings.locals} x "
        f"{settings.local_size} px, does not fit the memory of {devices.describe()['gpu'] or 'this machine'}; {advice}."
    )


def _schedules(settings: Pretrain, steps: int, momentum: float) -> dict[str, np.ndarray]:
    total = steps * settings.epochs
    rate = settings.learning_rate * settings.batch / 256
    return {
        "learning_rate": cosine(rate, settings.final_learning_rate, total, round(settings.warmup * total)),
        "weight_decay": cosine(settings.weight_decay, settings.final_weight_decay, total),
        "momentum": cosine(momentum, 1.0, total),
    }


def _resume(folder: Path, images: Images, settings: Pretrain, model: DINO, optimizer) -> dict:
    made_of = {"settings": asdict(settings) | {"sets": list(settings.sets)}, "data": images.identity}
    made_of = json.loads(json.dumps(made_of))
    state = parallel.told(checkpoint.load(folder) if parallel.first() else None)
    if state is None:
        return {"step": 0, "history": [], "readings": [], "made_of": made_of}
    if state["made_of"] != made_of:
        before, now = ({**of["settings"], "data": of["data"]} for of in (state["made_of"], made_of))
        differs = [f"{name} {before.get(name)!r}, now {now[name]!r}" for name in now if before.get(name) != now[name]]
        raise OrthoError(
            f"{folder} holds the checkpoint of another run: {'; '.join(differs)[:300]}. Go on with what it was begun "
            "with, or delete the folder to start again."
        )
    parallel.load(model, optimizer, state.pop("model"), state.pop("optimizer"))
    if parallel.first():
        print(f"resumed after step {state['step']}", flush=True)
    return state


def _save(folder: Path, state: dict, model: DINO, optimizer: torch.optim.Optimizer) -> None:
    """Write a checkpoint, unless the weights are no numbers any more: then the last good one stays."""
    made = {"model": parallel.whole(model.state_dict()), "optimizer": parallel.whole(optimizer.state_dict())}
    if parallel.first():
        values = [value for value in made["model"].values() if value.is_floating_point()]
        if torch.stack([value.isfinite().all() for value in values]).all():
            checkpoint.save(folder, state["step"], state | made)


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
    # not compiled: another mode and other batch sizes would each be compiled anew
    with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
        for start in range(0, len(index), 64):
            squares = normalise(batches(index[start : start + 64])[0])
            if squares.shape[-1] != side:
                squares = torch.nn.functional.interpolate(squares, size=side, mode="bilinear", antialias=True)
            with torch.autocast(batches.device.type, dtype, enabled=dtype != torch.float32):
                rows.append(backbone(squares.contiguous(memory_format=torch.channels_last)).float())
    backbone.train(training)
    return torch.cat(rows)


def _finish(settings: Pretrain, folder: Path, state: dict, model: DINO, record: dict) -> dict:
    """Write what the fit keeps; the facts that the history tells."""
    weights = parallel.whole(model.teacher_backbone.state_dict())
    history = pd.DataFrame(state["history"])
    last = {name: value for name, value in state["history"][-1].items() if name != "alarm"}
    told = {
        "images_per_s": float(history["images_per_s"].median()),
        "mfu": None if history["mfu"].isna().any() else float(history["mfu"].median()),
        "last": last | {"mfu": None if math.isnan(last["mfu"]) else last["mfu"]},
        "alarms": sorted({row["alarm"] for row in state["history"]} - {""}),
    }
    if parallel.first():
        export.write(weights, settings, folder)
        (folder / "backbone.md").write_text(export.card(settings, record | told))
        history.to_parquet(folder / "history.parquet")
        for old in checkpoint.steps(folder):
            checkpoint.delete(folder, old)
    return told


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
