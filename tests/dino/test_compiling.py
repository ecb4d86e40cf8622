"""Compiled equals eager, and what keeps a machine from compiling is said."""

import os
import shutil
import sysconfig
from pathlib import Path

import pytest
import small
import torch
from torch import nn

from ortholib import machine
from ortholib.dino import compiling
from ortholib.dino.augment import Crops, crops, views
from ortholib.dino.images import Batches
from ortholib.dino.step import DINO, optimizer_of, step

COMPILER = shutil.which("c++") and (Path(sysconfig.get_path("include")) / "Python.h").is_file()


def network() -> nn.Module:
    """Each kind of layer of a ResNet once or twice: a deeper one would take the compiler minutes."""
    torch.manual_seed(0)
    layers = []
    for before, width in ((1, 16), (16, 24)):
        layers += [nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    made = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    made.num_features = width
    return made


@pytest.mark.skipif(not COMPILER, reason="no C++ compiler or no Python headers")
def test_compiled_steps_equal_eager_ones():
    torch._dynamo.reset()  # of what other tests compiled
    images, ends = small.shapes(16), []
    batches, recipe = Batches(images, torch.device("cpu")), Crops(global_size=32, local_size=16, locals=2)
    for compiled in (False, True):
        model = DINO(network(), 32, 64, 32)
        render = compiling.compile_parts(model) if compiled else views
        optimizer = optimizer_of(model, "sgd")
        for now in range(2):
            big, local = crops(*batches(images.order(16, 0, now)[0]), recipe, 0, now, render=render)
            values = {"learning_rate": 0.002, "weight_decay": 1e-4, "momentum": 0.99, "teacher_temperature": 0.04}
            seen = step(model, optimizer, big, local, **values)
        ends.append((model.state_dict(), seen))
    (eager, plain), (model, seen) = ends
    assert seen["loss"].item() == pytest.approx(plain["loss"].item(), rel=1e-4)
    assert eager.keys() == model.keys()  # names as without compiling: checkpoints fit both
    for name, value in eager.items():
        torch.testing.assert_close(model[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_what_keeps_from_compiling_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.cannot_compile() == "no GPU"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: None)
    assert machine.cannot_compile() == "no Triton"
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert machine.cannot_compile() == "no C compiler"
    monkeypatch.setattr(machine.shutil, "which", lambda name: name)
    monkeypatch.setattr(machine.sysconfig, "get_path", lambda name: os.devnull)
    assert machine.cannot_compile() == "no Python headers"
