"""Supervised training of a timm backbone on one-channel radiographs.

The best epoch is chosen on the validation part alone. Resumed equals uninterrupted: the order of the
images depends on (seed, epoch) only, their augmentation on (seed, step) only.
"""

import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.optim import param_groups_layer_decay
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from ortholib import machine as devices
from ortholib import progress
from ortholib.classify import heads
from ortholib.classify import model as usable
from ortholib.classify.augment import Augmentation, augment
from ortholib.data.labelled import Labelled, predictions
from ortholib.encoders import depthwise, load, registry
from ortholib.encoders.batches import Batches
from ortholib.encoders.preprocess import IMAGENET, Grey, normalise
from ortholib.errors import OrthoError, UsageError
from ortholib.metrics.scores import selection_metric, youden_threshold
from ortholib.settings import Finetune


def train(data: Labelled, settings: Finetune, folder: Path, weights: Path | None) -> dict:
    """Train, keep the best epoch's averaged weights, and write what a chapter needs into `folder`.

    weights: the file that `settings.initial` means, None for random numbers.
    Writes `weights.safetensors`, `history.parquet` (one row an epoch), `predictions.parquet` (validation and
    test, ids hashed), for two classes `courses.parquet` (a row a validation image, its score after each epoch) and,
    while it runs, `checkpoint.pt`: a call on the same folder goes on from there.
    Returns the record: steps, images/s, TFLOP/s, MFU, chosen epoch, validation metric, threshold.
    Raises OrthoError for an empty training part, a batch larger than it, or a loss that is not finite.
    """
    device, dtype = devices.pick(), devices.precision(devices.pick())
    training = np.flatnonzero(data.part == "train")
    steps_per_epoch = len(training) // settings.batch
    if settings.batch < 2 or steps_per_epoch == 0:
        raise OrthoError(
            f"batch {settings.batch} does not fit {len(training)} training images; expected 2 to {len(training)}."
        )
    devices.keep_memory()
    model = load.build(settings.backbone, weights, settings.seed, len(data.classes), settings.drop_path)
    model = heads.put(model, settings.head, len(data.classes), settings.zero_head)
    model = depthwise.quicken(model.to(device, memory_format=torch.channels_last), dtype)
    grey = registry.grey(settings.initial)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
    optimizer = torch.optim.AdamW(_groups(model, settings), lr=settings.learning_rate, fused=True)
    weight = _class_weights(data, settings).to(device)
    ranges = Augmentation(settings.rotation, settings.scale, settings.shift, settings.contrast, settings.flip)
    batches = Batches(data, device)
    state = _load(folder, model, average, optimizer)
    if not devices.cannot_compile():
        model.compile(dynamic=False)
    total = settings.epochs * steps_per_epoch
    for epoch in range(state["epoch"], settings.epochs):
        if epoch - state["best_epoch"] > settings.patience:
            break
        order = np.random.default_rng([settings.seed, epoch]).permutation(training)
        side = training_side(settings, epoch)
        started = time.perf_counter()
        losses, right = torch.zeros((), device=device), torch.zeros((), device=device)  # read once an epoch
        model.train()
        steps = progress.bar(range(steps_per_epoch), desc=f"epoch {epoch + 1}/{settings.epochs}", leave=False)
        for i in steps:
            step = epoch * steps_per_epoch + i
            index = order[i * settings.batch : (i + 1) * settings.batch]
            images = augment(batches(index), ranges, settings.seed, step, side, grey)
            images = images.contiguous(memory_format=torch.channels_last)
            target = torch.from_numpy(data.y[index]).to(device)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = model(images)
            loss = F.cross_entropy(logits.float(), target, weight, label_smoothing=settings.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            _set_rate(optimizer, settings, step, total)
            optimizer.step()
            average.update_parameters(model)
            losses += loss.detach()
            right += (logits.argmax(1) == target).sum()
        train_loss = float(losses) / steps_per_epoch
        seconds = time.perf_counter() - started
        if not math.isfinite(train_loss):
            raise OrthoError(
                f"the loss is {train_loss} in epoch {epoch + 1}; lower learning_rate {settings.learning_rate}."
            )
        if settings.recalibrate:
            _recalibrate(average.module, batches, order[: settings.recalibrate * settings.batch], dtype, grey)
        validation = np.flatnonzero(data.part == "val")
        probability = predict(average.module, batches, validation, dtype, grey)
        metric = selection_metric(data.y[validation], probability, data.kind)
        row = {
            "epoch": epoch + 1,
            "train_loss": train_loss,
            "train_accuracy": float(right) / (steps_per_epoch * settings.batch),  # of the images as augmented
            "val_loss": float(-np.log(probability[np.arange(len(validation)), data.y[validation]] + 1e-12).mean()),
            "val_accuracy": float((probability.argmax(1) == data.y[validation]).mean()),
            "val_metric": metric,
            "side": side,
            "learning_rate": optimizer.param_groups[0]["lr"],
            "images_per_s": steps_per_epoch * settings.batch / seconds,
            "seconds": time.perf_counter() - started,  # validation included
        }
        state["history"].append(row)
        state["courses"].append(torch.from_numpy(probability[:, -1]))
        state["epoch"] = epoch + 1
        if not state["best"] or metric > state["best_metric"]:
            best = {k: v.detach().cpu().contiguous().clone() for k, v in average.module.state_dict().items()}
            state |= {"best": best, "best_metric": metric, "best_epoch": epoch}
        _save(folder, state, model, average, optimizer)
        print("  ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)
    return _finish(data, settings, folder, state, average.module, batches, dtype, grey)


def predict(
    model: torch.nn.Module, batches: Batches, index: np.ndarray, dtype: torch.dtype, grey: Grey = IMAGENET
) -> np.ndarray:
    """Class probabilities (n, k) float64 of the images `index`, in evaluation mode."""
    model.eval()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(index), 64):
            images = normalise(batches(index[start : start + 64]), grey).contiguous(memory_format=torch.channels_last)
            with torch.autocast(batches.device.type, dtype, enabled=dtype != torch.float32):
                logits = model(images)
            rows.append(logits.double().softmax(1).cpu().numpy())
    return np.concatenate(rows)


def training_side(settings: Finetune, epoch: int) -> int:
    """Side in pixels of the training images in an epoch: from `start` x size up to `finish` x size, in steps of 32."""
    grown = min(
        settings.finish, settings.start + (settings.finish - settings.start) * epoch / (2 / 3 * settings.epochs)
    )
    return settings.size if grown == 1 else min(settings.size, max(32, 32 * round(grown * settings.size / 32)))


def _groups(model: torch.nn.Module, settings: Finetune) -> list[dict]:
    """The optimizer's groups: without weight decay what has one dimension, by layers where their rates differ."""
    if settings.layer_decay != 1:
        return param_groups_layer_decay(model, settings.weight_decay, layer_decay=settings.layer_decay)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]


def _recalibrate(model: torch.nn.Module, batches: Batches, index: np.ndarray, dtype: torch.dtype, grey: Grey) -> None:
    """Batch norms of an averaged network take the statistics of these images at full size."""
    shown = (normalise(batches(part), grey) for part in np.array_split(index, -(-len(index) // 64)))
    with torch.no_grad(), torch.autocast(batches.device.type, dtype, enabled=dtype != torch.float32):
        update_bn((images.contiguous(memory_format=torch.channels_last) for images in shown), model)


def _class_weights(data: Labelled, settings: Finetune) -> torch.Tensor:
    if settings.class_weights not in ("none", "balanced"):
        raise UsageError(f"class_weights '{settings.class_weights}' is unknown; expected none or balanced.")
    classes = len(data.classes)
    if settings.class_weights == "none":
        return torch.ones(classes)
    counts = np.bincount(data.y[data.part == "train"], minlength=classes)
    return torch.tensor(counts.sum() / (classes * np.maximum(counts, 1)), dtype=torch.float32)


def _set_rate(optimizer: torch.optim.Optimizer, settings: Finetune, step: int, total: int) -> None:
    """Linear warm-up over the first `warmup` of all steps, then cosine to zero."""
    warm = max(1, round(settings.warmup * total))
    if step < warm:
        factor = (step + 1) / warm
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * factor * group.get("lr_scale", 1.0)


def _load(folder: Path, model, average, optimizer) -> dict:
    path = folder / "checkpoint.pt"
    if not path.is_file():
        return {"epoch": 0, "history": [], "courses": [], "best": {}, "best_metric": -math.inf, "best_epoch": 0}
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state.pop("model"))
    average.load_state_dict(state.pop("average"))
    optimizer.load_state_dict(state.pop("optimizer"))
    torch.set_rng_state(state.pop("random"))  # which says what branches are dropped
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state.pop("random_cuda"))
    print(f"resumed after epoch {state['epoch']}", flush=True)
    return state


def _save(folder: Path, state: dict, model, average, optimizer) -> None:
    partial = folder / "checkpoint.pt.partial"
    whole = state | {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    torch.save(whole, partial)
    partial.replace(folder / "checkpoint.pt")


def _finish(data, settings, folder, state, model, batches, dtype, grey) -> dict:
    model.load_state_dict(state["best"])
    save_file(state["best"], folder / "weights.safetensors", usable.head(usable.trained(data, settings, grey)))
    history = pd.DataFrame(state["history"])
    history.to_parquet(folder / "history.parquet")
    scored = np.flatnonzero(np.isin(data.part, ["val", "test"]))
    probability = predict(model, batches, scored, dtype, grey)
    frame = predictions(data, settings, scored, probability)
    frame.to_parquet(folder / "predictions.parquet")
    threshold = None
    if data.kind == "binary":
        validation = frame[frame["part"] == "val"]
        threshold = youden_threshold(validation["y_true"], validation["score_1"])
        courses = {f"epoch_{i}": scores.float().numpy() for i, scores in enumerate(state["courses"], 1)}
        validation[["unit_id", "group", "y_true"]].assign(**courses).to_parquet(folder / "courses.parquet", index=False)
    speed = float(history["images_per_s"].median())
    tflops = speed * 3 * _forward_flops(model, data.pixels.shape[1:], batches.device) / 1e12
    peak = devices.peak_tflops(batches.device)
    (folder / "checkpoint.pt").unlink()
    return {
        "steps": len(history) * (int((data.part == "train").sum()) // settings.batch),
        "epochs": len(history),
        "best_epoch": state["best_epoch"] + 1,
        "val_metric": state["best_metric"],
        "threshold": threshold,
        "images_per_s": speed,
        "tflops": tflops,
        "mfu": tflops / peak if peak else None,
        "parameters": sum(p.numel() for p in model.parameters()),
        "precision": str(dtype).removeprefix("torch."),
        "counts": {part: int((data.part == part).sum()) for part in ("train", "val", "test")},
    }


def _forward_flops(model: torch.nn.Module, shape: tuple[int, int], device: torch.device) -> int:
    """Floating-point operations of one forward pass of one image (a backward pass costs about twice that)."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.eval()(torch.zeros(1, 1, *shape, device=device))
    return counter.get_total_flops()
