"""Fits: made once, under a key that follows everything they are made of; a killed one goes on."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import madeup
import pandas as pd
import pytest
from safetensors.torch import load_file

from ortholib.classify import finetune, transfer
from ortholib.data import tasks
from ortholib.dino import corpus, pretrain
from ortholib.errors import OrthoError
from ortholib.settings import Finetune, Pretrain, Transfer
from ortholib.study import fits

MADE = {"steps": 6, "images_per_s": 1.0, "mfu": None}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(tasks, "prepare", lambda *asked: madeup.labelled())
    return madeup.project(tmp_path, monkeypatch)


@pytest.fixture
def trained(home, monkeypatch) -> list[tuple[Finetune, Path | None]]:
    """Settings and initial weights of the trainings that were really started; the trainer only leaves a file."""
    calls = []

    def train(data, asked, folder, weights):
        calls.append((asked, weights))
        (folder / "history.parquet").write_bytes(b"")
        return dict(MADE)

    monkeypatch.setattr(finetune, "train", train)
    return calls


def test_made_once(home, trained):
    first = fits.ensure(madeup.SETTINGS, "phantom")
    again = fits.ensure(madeup.SETTINGS, "phantom")
    assert len(trained) == 1 and again == first
    assert first.folder == home / "runs" / "phantom" / "fits" / first.key
    record = first.record
    assert record["status"] == "done" and record["edition"] == "phantom" and record["resumed"] is False
    assert record["settings"]["backbone"] == "resnet10t" and record["data"] == {"version": "v1"}
    assert record["initial"] == {"source": "random"} and record["recipe"] == "finetune/1"
    assert record["wall_seconds"] >= 0 and record["peak_memory_gib"] > 0 and record["started"].endswith("Z")
    assert {"commit", "dirty", "code", "versions", "hardware"} == set(record["made_by"])
    fits.ensure(madeup.SETTINGS, "real")  # an edition shares nothing with another
    assert len(trained) == 2


def test_key_follows_recipe_settings_data_and_initial_weights(home, trained, monkeypatch):
    weights = home / "w.safetensors"
    weights.write_bytes(b"one")
    asked = replace(madeup.SETTINGS, initial=str(weights))
    keys = [fits.ensure(asked, "phantom").key]
    for field, value in (("seed", 1), ("epochs", 4), ("rotation", 0.0), ("class_weights", "balanced")):
        keys.append(fits.ensure(replace(asked, **{field: value}), "phantom").key)
    weights.write_bytes(b"two")
    keys.append(fits.ensure(asked, "phantom").key)
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "prepare", lambda *_: replace(madeup.labelled(), identity={"pixels": "other"}))
        keys.append(fits.ensure(asked, "phantom").key)
    with monkeypatch.context() as patch:
        patch.setattr(Finetune, "recipe", "finetune/2")
        keys.append(fits.ensure(asked, "phantom").key)
    assert len(set(keys)) == len(keys) == len(trained)
    weights.write_bytes(b"one")
    assert fits.ensure(asked, "phantom").key == keys[0] and len(trained) == len(keys)


def test_initial_weights_count_by_content_not_by_folder(home, trained):
    keys = set()
    for folder in ("one", "two"):
        weights = home / folder / "w.safetensors"
        weights.parent.mkdir()
        weights.write_bytes(b"same")
        keys.add(fits.ensure(replace(madeup.SETTINGS, initial=str(weights)), "real").key)
    assert len(keys) == len(trained) == 1


def test_a_promoted_fit_is_used_where_this_machine_has_none(home, trained):
    made = fits.ensure(madeup.SETTINGS, "real")
    promoted = fits.stored(home / "results", "real", made.key)
    promoted.parent.mkdir(parents=True)
    made.folder.rename(promoted)
    assert fits.ensure(madeup.SETTINGS, "real") == fits.Fit(made.key, promoted, made.record) and len(trained) == 1
    fits.ensure(madeup.SETTINGS, "phantom")  # never for another edition
    assert len(trained) == 2


def test_data_are_prepared_as_asked(home, trained, monkeypatch):
    asked = []
    monkeypatch.setattr(tasks, "prepare", lambda *words: asked.append(words) or madeup.labelled())
    fits.ensure(replace(madeup.SETTINGS, fraction=0.25), "real")
    assert asked == [("blobs", "disc", "official", 32, "real", 0.25)]


@pytest.fixture
def chain(home, trained, monkeypatch) -> dict[str, list]:
    """Trainers that only leave a file: what each was asked, by kind."""
    asked = {"pretrain": [], "transfer": [], "finetune": trained, "data": []}

    def pretrained(data, settings, folder, weights):
        asked["pretrain"].append(settings)
        (folder / "backbone.safetensors").write_bytes(f"weights of seed {settings.seed}".encode())
        return dict(MADE)

    monkeypatch.setattr(corpus, "prepare", lambda *words: asked["data"].append(words) or madeup.labelled())
    monkeypatch.setattr(pretrain, "train", pretrained)
    monkeypatch.setattr(transfer, "train", lambda *words: asked["transfer"].append(words[-1]) or {})
    return asked


def test_a_fit_makes_first_what_it_starts_from(chain):
    start = Pretrain(("blobs:official",), 32, 1)
    made = fits.ensure(replace(madeup.SETTINGS, initial=start), "real")
    weights = fits.ensure(start, "real").backbone
    assert len(chain["pretrain"]) == 1 and chain["finetune"][0] == (replace(madeup.SETTINGS, initial=start), weights)
    assert fits.ensure(replace(madeup.SETTINGS, initial=str(weights)), "real") == made  # the same weights, the same fit
    fits.ensure(replace(madeup.SETTINGS, initial=replace(start, seed=1)), "real")
    assert len(chain["pretrain"]) == len(chain["finetune"]) == 2


def test_a_transfer_is_known_by_its_training_where_its_weights_are_gone(home, chain):
    asked = Transfer(madeup.SETTINGS, dataset="kneekl", task="oa", split="official")
    made = fits.ensure(asked, "real")
    trained = fits.ensure(madeup.SETTINGS, "real")
    assert made.record["initial"] == {"source": "random", "fit": trained.key}
    assert chain["transfer"] == [trained.folder / "weights.safetensors"]
    for fit in (made, trained):  # as promoted: without weights
        promoted = fits.stored(home / "results", "real", fit.key)
        promoted.parent.mkdir(parents=True, exist_ok=True)
        fit.folder.rename(promoted)
    assert fits.ensure(asked, "real").key == made.key and len(chain["transfer"]) == len(chain["finetune"]) == 1


def test_published_weights_are_named_as_the_ledger_does(home, trained, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_WEIGHTS", str(home / "weights"))
    asked = replace(madeup.SETTINGS, initial="dino-resnet50")
    with pytest.raises(OrthoError, match="Download DINO's ResNet-50"):
        fits.ensure(asked, "real")
    file = home / "weights" / "dino-resnet50" / "dino_resnet50_pretrain.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    record = fits.ensure(asked, "real").record
    assert record["initial"]["source"] == record["settings"]["initial"] == "dino-resnet50"
    assert trained[0][1] == file


def test_many_fits_read_their_data_once(home, trained, monkeypatch):
    read = []
    monkeypatch.setattr(tasks, "prepare", lambda *words: read.append(words) or madeup.labelled())
    made = fits.ensure_all([replace(madeup.SETTINGS, seed=seed) for seed in range(3)], "real")
    assert len(read) == 1 and len({fit.key for fit in made}) == len(trained) == 3
    fits.ensure_all([madeup.SETTINGS], "real")
    assert len(read) == 2  # the next call reads again: the data may have changed


def test_interrupted_goes_on_from_what_is_there(home, monkeypatch):
    seen = []

    def train(data, asked, folder, weights):
        seen.append(sorted(file.name for file in folder.iterdir()))
        (folder / "checkpoint.pt").write_bytes(b"")
        if len(seen) == 1:
            raise KeyboardInterrupt
        return dict(MADE)

    monkeypatch.setattr(finetune, "train", train)
    with pytest.raises(KeyboardInterrupt):
        fits.ensure(madeup.SETTINGS, "phantom")
    folders = [f for f in (home / "runs" / "phantom" / "fits").iterdir() if f.is_dir()]
    assert [f.suffix for f in folders] == [".partial"]
    made = fits.ensure(madeup.SETTINGS, "phantom")
    assert seen == [[], ["checkpoint.pt"]] and made.record["resumed"] is True
    assert not folders[0].exists()


@pytest.mark.parametrize(
    ("raised", "kept"),
    [
        (OrthoError("the loss is nan in epoch 1"), "OrthoError: the loss is nan in epoch 1"),
        (RuntimeError("out of memory"), "RuntimeError: out of memory"),
    ],
)
def test_failure_is_kept_with_its_reason_and_can_be_tried_again(home, trained, monkeypatch, raised, kept):
    def fail(*_):
        raise raised

    with monkeypatch.context() as patch:
        patch.setattr(finetune, "train", fail)
        with pytest.raises(OrthoError, match=str(raised)):
            fits.ensure(madeup.SETTINGS, "phantom")
    (failed,) = (home / "runs" / "phantom" / "fits").glob("*.failed")
    assert (failed / "error.txt").read_text() == f"{kept}\n" and not (failed / "run.json").exists()
    assert not list(failed.parent.glob("*.partial"))
    assert fits.ensure(madeup.SETTINGS, "phantom").key == failed.stem and len(trained) == 1


KILLED = """
import os
import madeup
from ortholib.data import tasks
from ortholib.study import fits
from ortholib.classify import finetune
tasks.prepare = lambda *asked: madeup.labelled()
save, epochs = finetune._save, []
def save_then_die(*arguments):
    save(*arguments)
    epochs.append(1)
    if len(epochs) == 2:
        os.kill(os.getpid(), 9)
finetune._save = save_then_die
fits.ensure(madeup.SETTINGS, "phantom")
"""


def test_killed_training_resumes_to_the_same_weights(home, monkeypatch):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    died = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    (partial,) = (home / "runs" / "phantom" / "fits").glob("*.partial")
    assert (partial / "checkpoint.pt").is_file()
    resumed = fits.ensure(madeup.SETTINGS, "phantom")
    assert resumed.key == partial.stem and resumed.record["resumed"] is True and not partial.exists()
    monkeypatch.setenv("ORTHOLIB_RUNS", str(home / "elsewhere"))
    (home / "elsewhere").mkdir()
    (home / "runs" / "salt").rename(home / "elsewhere" / "salt")  # the blobs' ids carry this machine's private salt
    whole = fits.ensure(madeup.SETTINGS, "phantom")
    assert whole.key == resumed.key and whole.record["resumed"] is False
    one, other = (load_file(fit.folder / "weights.safetensors") for fit in (whole, resumed))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
    pd.testing.assert_frame_equal(whole.predictions, resumed.predictions)
    assert whole.history["epoch"].tolist() == resumed.history["epoch"].tolist() == [1, 2, 3]
    assert json.dumps(resumed.record["counts"]) == '{"train": 32, "val": 8, "test": 8}'
