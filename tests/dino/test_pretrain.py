"""The trainer: resumed equals uninterrupted, it says when it is dead, and plain timm loads what it leaves."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small
import timm
import torch
from safetensors.torch import load_file

from ortholib.dino import checkpoint, pretrain
from ortholib.errors import OrthoError, UsageError

DIE = """
save, count = pretrain.checkpoint.save, []
def save_then_die(*arguments):
    save(*arguments)
    count.append(1)
    if len(count) == 6:
        __import__("os").kill(__import__("os").getpid(), 9)
pretrain.checkpoint.save = save_then_die
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, pretrain.train(small.shapes(), small.SETTINGS, folder, None)


def assert_same(folder, whole) -> None:
    one, other = (load_file(f / "backbone.safetensors") for f in (folder, whole[0]))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
    frames = [pd.read_parquet(f / "history.parquet").drop(columns="images_per_s") for f in (folder, whole[0])]
    pd.testing.assert_frame_equal(*frames)


def test_killed_at_any_step_it_goes_on_to_the_same_weights(tmp_path, whole):
    died = subprocess.run([sys.executable, "-c", small.script(DIE), tmp_path], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert checkpoint.steps(tmp_path)  # in the middle of an epoch
    newest = max(tmp_path.glob("*.pt"))
    newest.write_bytes(newest.read_bytes()[:-5])  # and the newest one is damaged: the one before serves
    pretrain.train(small.shapes(), small.SETTINGS, tmp_path, None)
    assert_same(tmp_path, whole)
    assert not checkpoint.steps(tmp_path)


def test_told_to_end_it_saves_and_goes_on_to_the_same_weights(tmp_path, whole):
    slow = "crops = pretrain.crops\npretrain.crops = lambda *a: __import__('time').sleep(0.2) or crops(*a)"
    process = subprocess.Popen([sys.executable, "-c", small.script(slow), tmp_path], stdout=subprocess.PIPE, text=True)
    while not checkpoint.steps(tmp_path):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    said, _ = process.communicate()
    assert process.returncode == 143 and "told to end, saved at step" in said
    pretrain.train(small.shapes(), small.SETTINGS, tmp_path, None)
    assert_same(tmp_path, whole)


def test_what_it_leaves(whole):
    folder, record = whole
    left = ["backbone.md", "backbone.safetensors", "history.parquet"]
    assert sorted(file.name for file in folder.iterdir()) == left
    backbone = timm.create_model(
        "resnet10t", in_chans=1, num_classes=0, checkpoint_path=folder / "backbone.safetensors"
    )
    assert backbone.eval()(torch.zeros(1, 1, 32, 32)).isfinite().all()
    again = pretrain.build(small.SETTINGS, folder / "backbone.safetensors")
    assert all(value.equal(backbone.state_dict()[name]) for name, value in again.state_dict().items())
    history = pd.read_parquet(folder / "history.parquet")
    assert history["epoch"].tolist() == [1, 2, 3] and record["steps"] == 12 and record["seen"]["shapes"]["images"] == 64
    assert {"loss", "entropy", "kl", "used", "spread", "rankme", "knn_shapes", "learning_rate"} <= set(history)
    assert (record["prototypes"], record["teacher_temperature"], record["momentum"]) == (32, 0.02, 0.99)


def test_it_spreads_the_images_and_without_centring_it_rings(tmp_path):
    settings = replace(small.SETTINGS, backbone="test_resnet", epochs=5, optimizer="adamw", learning_rate=8e-3)
    settings = replace(settings, prototypes=64, teacher_temperature=0.04, checkpoint_minutes=60.0)
    images, records = small.shapes(128), {}
    for centring, momentum in ((True, 0.99), (False, 0.9)):
        folder = tmp_path / str(centring)
        folder.mkdir()
        changed = replace(settings, centring=centring, momentum=momentum, epochs=5 if centring else 8)
        records[centring] = pretrain.train(images, changed, folder, None)
    features = pretrain.embed(
        pretrain.build(settings, None), pretrain.Batches(images, torch.device("cpu")), np.arange(128), 32, torch.float32
    )
    healthy = records[True]
    assert not healthy["alarms"] and healthy["last"]["spread"] > 2 * pretrain.monitor.spread(features)
    assert healthy["last"]["knn_shapes"] > 0.9
    assert any("one prototype" in alarm for alarm in records[False]["alarms"])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"batch": 1}, OrthoError, "batch 1 does not fit 64 images; expected 2 to 64"),
        ({"batch": 65}, OrthoError, "batch 65 does not fit 64 images"),
        ({"global_size": 33}, UsageError, "crops of 33 px are larger than the stored squares of 32 px"),
        ({"prototypes": 1}, UsageError, "prototypes|out_dim|K"),
        ({"backbone": "resnet5O"}, UsageError, "backbone 'resnet5O' is unknown to timm; close to it: .*resnet5"),
        ({"optimizer": "adam"}, UsageError, "'adam' is unknown; expected sgd or adamw"),
    ],
)
def test_bad_input_is_named(tmp_path, change, error, words):
    with pytest.raises(error, match=words):
        pretrain.train(small.shapes(), replace(small.SETTINGS, **change), tmp_path, None)
    with pytest.raises(OrthoError, match=r"absent\.safetensors: initial weights not found"):
        pretrain.train(small.shapes(), small.SETTINGS, tmp_path, Path("absent.safetensors"))
    assert not list(tmp_path.iterdir())


def test_a_run_is_not_gone_on_with_by_other_settings_or_images(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "delete", lambda *_: None)
    pretrain.train(small.shapes(), replace(small.SETTINGS, epochs=1), tmp_path, None)
    kept = sorted(tmp_path.iterdir())
    with pytest.raises(OrthoError, match=r"another run: epochs 1, now 3; learning_rate 0\.5, now 0\.1\. .* or delete"):
        pretrain.train(small.shapes(), replace(small.SETTINGS, learning_rate=0.1), tmp_path, None)
    with pytest.raises(OrthoError, match=r"another run: data \{'shapes': 64\}, now \{'shapes': 80\}"):
        pretrain.train(small.shapes(80), replace(small.SETTINGS, epochs=1), tmp_path, None)
    assert sorted(tmp_path.iterdir()) == kept


def test_a_loss_that_is_no_number_stops_it_and_the_last_good_state_stays(tmp_path):
    with pytest.raises(OrthoError, match=r"the loss is (nan|inf) at step \d+; lower learning_rate 1e\+30"):
        pretrain.train(small.shapes(), replace(small.SETTINGS, learning_rate=1e30, warmup=0.0), tmp_path, None)
    kept = checkpoint.load(tmp_path)
    assert kept is None or all(value.isfinite().all() for value in kept["model"].values())
