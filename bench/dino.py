"""DINO: images a second with everything a training step does, and of the bare step; ours against LightlySSL's parts.

Each contender has a process of its own and does a round when it is told to, so that rounds interleave and what one sets
for its process, such as our `memory.keep`, does not reach the other. The rival follows LightlySSL's ImageNet benchmark
of DINO (MIT): its transform, head, loss and teacher update, every backbone called once a resolution, no clipping.
lightly 1.6 opens no connection when it is imported. On a GPU contenders come one after another: two may not fit.
"""

import contextlib
import copy
import importlib.metadata
import importlib.util
import itertools
import json
import multiprocessing
import os
import pickle
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image, ImageFile

from ortholib import machine as devices
from ortholib import phantom
from ortholib.data import datasets, pixels
from ortholib.data.files import Plane
from ortholib.dino import compiling, flops, memory, pretrain
from ortholib.dino.augment import Crops, crops, views
from ortholib.dino.images import Batches, Images
from ortholib.dino.step import DINO, optimizer_of, step
from ortholib.errors import OrthoError
from ortholib.settings import Pretrain

CPU = Pretrain(("fracatlas:all",), 256, 1, "resnet18", batch=32, locals=6, prototypes=2048, teacher_temperature=0.04)
# crops as lightly ships them, for both; a GPU's are those of the published ResNet-50, for both
CPU = replace(CPU, momentum=0.996, global_scale=(0.4, 1.0), local_scale=(0.05, 0.4))
RESNET = replace(CPU, backbone="resnet50", batch=256, locals=8, prototypes=65_536)
RESNET = replace(RESNET, global_scale=Crops.global_scale, local_scale=Crops.local_scale)
VIT = replace(RESNET, backbone="vit_small_patch16_224", optimizer="adamw", learning_rate=5e-4, weight_decay=0.04)
FILES, ROUNDS = 1024, 3
STEPS = {"cpu": {"ours": 3, "rival": 2}, "cuda": {"ours": 40, "rival": 10}}  # a round, about 8 s each
RIVALS = ("rival", "rival_channels_last")


def prepare(folder: Path) -> dict:
    """Pack up to FILES readable images spread over FracAtlas, real or of the phantom; their files and store."""
    try:
        root, data = datasets.locate("fracatlas", "real"), "FracAtlas"
    except OrthoError:
        root, data = phantom.ensure() / "FracAtlas", "FracAtlas of the phantom, no real radiographs"
    usable = datasets.SETS["fracatlas"].read(root).usable
    chosen = usable.iloc[np.unique(np.linspace(0, len(usable) - 1, FILES).round().astype(int))]
    planes = {row.image_id: Plane(root / row.path) for row in chosen.itertuples()}
    store = pixels.pack(planes, "bench", CPU.size, folder)
    rows = np.flatnonzero(~np.isin(store.image_ids, list(store.failed)))
    files = [planes[i].path for i in store.image_ids[rows]]
    return {"store": store.folder, "rows": rows, "files": files, "data": data}


def ours(settings: Pretrain, task: dict, device: torch.device, dtype: torch.dtype) -> tuple[Callable, Callable]:
    """A step with all that `ortholib.dino.pretrain.train` does in one, and one on crops that are there already."""
    if device.type == "cpu":
        memory.keep()
    model = DINO(pretrain.build(settings, None), settings.prototypes, settings.hidden, settings.bottleneck)
    model = model.to(device, memory_format=torch.channels_last)
    render = views if devices.cannot_compile() else compiling.compile_parts(model)
    optimizer = optimizer_of(model, settings.optimizer)
    recipe = pretrain.recipe(settings)
    store = pixels.load(task["store"])
    rows = np.resize(task["rows"], max(len(task["rows"]), settings.batch))  # again and again where they are few
    nothing = np.zeros(len(rows), int)
    images = Images([store.pixels], [1.0], nothing, rows, store.valid[rows], nothing, nothing, {}, {})
    orders = (images.order(settings.batch, settings.seed, epoch) for epoch in itertools.count())
    stream = Batches(images, device).stream(itertools.chain.from_iterable(orders))
    steps = itertools.count()

    def cropped(now: int) -> list[torch.Tensor]:
        both = crops(*next(stream), recipe, settings.seed, now, render=render)
        return [some.contiguous(memory_format=torch.channels_last) for some in both]

    def move(big: torch.Tensor, small: torch.Tensor) -> dict[str, torch.Tensor]:
        return step(
            model,
            optimizer,
            big,
            small,
            learning_rate=1e-3,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            teacher_temperature=settings.teacher_temperature,
            clip=settings.clip,
            dtype=dtype,
        )

    def whole() -> None:
        now = next(steps)
        seen = move(*cropped(now))
        if now % pretrain.LOG_EVERY == 0:
            [float(value) for value in seen.values()]

    fixed = cropped(next(steps))
    return whole, lambda: move(*fixed)


class Files(torch.utils.data.Dataset):
    """Image files read as RGB with Pillow, truncated ones too, so that none stops a worker."""

    def __init__(self, files: list[Path], transform: Callable):
        self.files, self.transform = files, transform
        ImageFile.LOAD_TRUNCATED_IMAGES = True

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> list[torch.Tensor]:
        with Image.open(self.files[i]) as image:
            return self.transform(image.convert("RGB"))


def rival(
    settings: Pretrain, task: dict, device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> tuple[Callable, Callable]:
    """The same two of LightlySSL's parts with torch's loader, one worker a core."""
    from lightly.loss import DINOLoss
    from lightly.models.modules import DINOProjectionHead
    from lightly.models.utils import deactivate_requires_grad, get_weight_decay_parameters, update_momentum
    from lightly.transforms import DINOTransform

    scales = {"global_crop_scale": settings.global_scale, "local_crop_scale": settings.local_scale}
    files = Files(task["files"], DINOTransform(n_local_views=settings.locals, **scales))
    endless = torch.utils.data.RandomSampler(files, num_samples=10**6)  # workers rest between epochs
    stream = iter(
        torch.utils.data.DataLoader(
            files, settings.batch, sampler=endless, num_workers=os.cpu_count(), pin_memory=device.type == "cuda"
        )
    )
    options = {"dynamic_img_size": True} if settings.backbone.startswith("vit") else {}
    student = timm.create_model(settings.backbone, num_classes=0, **options).to(device, memory_format=layout)
    sizes = (student.num_features, settings.hidden, settings.bottleneck, settings.prototypes)
    head = DINOProjectionHead(*sizes, freeze_last_layer=1).to(device)
    # a weight-normed head cannot be copied by this torch
    teacher, teacher_head = copy.deepcopy(student), DINOProjectionHead(*sizes).to(device)
    teacher_head.load_state_dict(head.state_dict())
    deactivate_requires_grad(teacher)
    deactivate_requires_grad(teacher_head)
    criterion = DINOLoss(settings.prototypes, teacher_temp=settings.teacher_temperature).to(device)
    decayed, rest = get_weight_decay_parameters([student, head])
    kind = {"sgd": lambda p, **k: torch.optim.SGD(p, momentum=0.9, **k), "adamw": torch.optim.AdamW}[settings.optimizer]
    groups = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
    optimizer = kind(groups, lr=1e-3, weight_decay=settings.weight_decay)

    def move(views: list[torch.Tensor]) -> None:
        big, small = (torch.cat(some).contiguous(memory_format=layout) for some in (views[:2], views[2:]))
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            target = teacher_head(teacher(big))
            logits = torch.cat([head(student(big)), head(student(small))])
            loss = criterion(target.chunk(2), logits.chunk(len(views)), epoch=1)
        optimizer.zero_grad()
        loss.backward()
        head.cancel_last_layer_gradients(current_epoch=1)
        optimizer.step()
        update_momentum(student, teacher, m=settings.momentum)
        update_momentum(head, teacher_head, m=settings.momentum)

    def batch() -> list[torch.Tensor]:
        return [view.to(device, non_blocking=True) for view in next(stream)]

    fixed = batch()
    return lambda: move(batch()), lambda: move(fixed)


def work(contender: str, task: dict) -> None:
    """In the contender's process: warm up, answer; then, for each line that comes in, a round and its rates.

    Loader workers stand still outside the timed rounds with data: they would slow the others down, and batches made in
    the meantime would be a present.
    """
    answers, settings = sys.stdout, task["settings"]
    device, dtype = devices.pick(), devices.precision(devices.pick())
    if contender == "ours":
        whole, bare = ours(settings, task, device, dtype)
    else:
        layout = torch.channels_last if contender == "rival_channels_last" else torch.contiguous_format
        whole, bare = rival(settings, task, device, dtype, layout)

    def rate(function: Callable, steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            function()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return steps * settings.batch / (time.perf_counter() - started)

    def workers(told: signal.Signals) -> None:
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, told)

    # a loader that is slower than the step is only at its pace once the batches made in advance are used up
    first = 2 if device.type == "cpu" or contender == "ours" else 2 * os.cpu_count()
    steps = task["steps"][contender.split("_")[0]]
    with contextlib.redirect_stdout(sys.stderr):
        try:
            rate(whole, first)
            workers(signal.SIGSTOP)
            rate(bare, 1 if device.type == "cpu" else 3)
            print("ready", file=answers, flush=True)
            for _ in sys.stdin:
                workers(signal.SIGCONT)
                with_data = rate(whole, steps)
                workers(signal.SIGSTOP)
                print(json.dumps([with_data, rate(bare, steps)]), file=answers, flush=True)
        finally:
            workers(signal.SIGCONT)  # else they could not end


class Contender:
    """The process of one, from here."""

    def __init__(self, name: str, task: Path):
        self.name = name
        # -P: the benches are named like modules, such as coverage
        command = [sys.executable, "-P", __file__, name, str(task)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise OrthoError(f"{self.name} ended with {self.process.wait()}; what it said stands above.")
        return line

    def round(self) -> list[float]:
        with contextlib.suppress(BrokenPipeError):
            print(file=self.process.stdin, flush=True)
        return json.loads(self.answer())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def rates(names: tuple[str, ...], task: Path) -> dict[str, list[float]]:
    """[with data, step only] of each, images per second: medians of ROUNDS rounds in turn."""
    with contextlib.ExitStack() as stack:
        contenders = [stack.enter_context(Contender(name, task)) for name in names]
        for contender in contenders:
            contender.answer()
        rounds = {name: [] for name in names}
        for _ in range(ROUNDS):
            for contender in contenders:
                rounds[contender.name].append(contender.round())
                shown = " and ".join(f"{value:.1f}" for value in rounds[contender.name][-1])
                print(f"{contender.name}: {shown} images/s with data and step only", flush=True)
    return {name: [statistics.median(values) for values in zip(*found, strict=True)] for name, found in rounds.items()}


def measure(settings: Pretrain, task: dict, folder: Path) -> dict:
    """The row of one setting. A rival that does not get through on a GPU costs its own numbers only."""
    device, machine = devices.pick(), devices.describe()
    file = folder / "task.pickle"
    file.write_bytes(pickle.dumps(task | {"settings": settings, "steps": STEPS[device.type]}))
    found, names, said = {}, ("ours",), "not installed"
    if importlib.util.find_spec("lightly"):
        version = importlib.metadata.version("lightly")
        names, said = ("ours", *RIVALS), f"lightly {version}'s own parts, RGB, from the files, {os.cpu_count()} workers"
    for group in [names] if device.type == "cpu" else [(name,) for name in names]:
        try:
            found |= rates(group, file)
        except OrthoError as error:
            if "ours" in group:
                raise
            said += f"; {error}"
    with_data, step_only = found["ours"]
    flops_per_s = flops.per_image(settings, settings.prototypes) * with_data
    peak = devices.peak_tflops(device)
    row = {
        "images_per_s": round(with_data, 2),
        "step_only_images_per_s": round(step_only, 2),
        "data_share": round(with_data / step_only, 3),
        "tflops": round(flops_per_s / 1e12, 3),
        "mfu": round(flops_per_s / 1e12 / peak, 3) if peak else None,
    }
    for name in RIVALS:
        if name in found:
            theirs, theirs_only = found[name]
            row |= {
                f"{name}_images_per_s": round(theirs, 2),
                f"{name}_step_only_images_per_s": round(theirs_only, 2),
                name.replace("rival", "ratio"): round(with_data / theirs, 2),
                name.replace("rival", "ratio_step_only"): round(step_only / theirs_only, 2),
            }
    lacking = devices.cannot_compile()
    return row | {
        "device": machine["gpu"] or machine["cpu"],
        "cores": os.cpu_count(),
        "precision": machine["precision"],
        "settings": {
            **{name: getattr(settings, name) for name in ("backbone", "batch", "prototypes", "optimizer", "size")},
            **{name: getattr(settings, name) for name in ("global_size", "local_size", "locals")},
            **{name: getattr(settings, name) for name in ("global_scale", "local_scale")},
            **{"data": task["data"], "files": len(task["files"]), "compiled": f"no, {lacking}" if lacking else "yes"},
            **{"steps": STEPS[device.type], "rounds": ROUNDS, "rival": said},
            "ours": "one channel, channels_last, from a packed store; on a CPU with memory.keep()",
        },
    }


def run() -> dict:
    """The row of this kind of machine: ResNet-18 on a CPU; ResNet-50 on a GPU, and in it, by its name, ViT-S/16."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = prepare(folder)
        if devices.pick().type == "cpu":
            return measure(CPU, task, folder)
        return measure(RESNET, task, folder) | {VIT.backbone: measure(VIT, task, folder)}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(sys.argv[1], pickle.loads(Path(sys.argv[2]).read_bytes()))
    else:
        print(json.dumps(run(), indent=2))
