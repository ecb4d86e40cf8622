"""A trained network scores what its trainer scored, and a file that is not quite one is refused with the reason."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import madeup
import numpy as np
import pandas as pd
import pytest
import torch
from refused import refused
from safetensors.torch import load_file, save_file

from ortholib.classify import model
from ortholib.errors import UsageError
from ortholib.metrics import calibration
from ortholib.study import fits


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    return madeup.project(tmp_path / "project", monkeypatch)


@pytest.fixture
def fitted(home, tmp_path, monkeypatch) -> fits.Fit:
    return madeup.knee_fit(madeup.knees(tmp_path / "knees", "oa"), monkeypatch)


def shown(data, part: str) -> np.ndarray:
    """Squares of a part as a network is to see them."""
    squares = np.where(data.mirror[:, None, None], data.pixels[:, :, ::-1], data.pixels)
    return squares[data.part == part]


def scores(frame: pd.DataFrame, part: str = "test") -> np.ndarray:
    return frame.loc[frame["part"] == part].filter(like="score_").to_numpy()


@pytest.mark.parametrize("head", ["softmax", "continuation", "cumulative"])
def test_scores_are_the_trainers_own(home, tmp_path, monkeypatch, head):
    data = madeup.knees(tmp_path / "knees")
    fit = madeup.knee_fit(data, monkeypatch, head=head)
    for place in (fit.folder, fit.folder / "weights.safetensors"):
        network = model.read(place)
        found = network.scores(shown(data, "test"))
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, scores(fit.predictions), atol=1e-6)
    facts = network.facts
    assert (facts.recipe, facts.backbone, facts.size, facts.head) == ("finetune/1", "resnet10t", 32, head)
    assert facts.classes == tuple(f"KL {k}" for k in range(5)) and facts.sides and facts.threshold is None
    expected = scores(fit.predictions) @ np.arange(5)
    assert (facts.called(found) == np.floor(expected + 0.5)).all()
    validation = fit.predictions[fit.predictions["part"] == "val"]
    assert facts.temperature == calibration.temperature(validation["y_true"], scores(fit.predictions, "val"))


def test_of_two_classes_the_threshold_of_the_fit_calls(fitted):
    network = model.read(fitted.folder)
    assert network.facts.threshold == fitted.record["threshold"]
    proba = np.array([[1 - t, t] for t in (network.facts.threshold - 1e-9, network.facts.threshold)])
    assert network.facts.called(proba).tolist() == [0, 1]
    alone = replace(network.facts, threshold=None)
    assert alone.called(proba) is None and "nothing is called" in alone.rule


def test_a_fit_from_before_the_head_held_the_facts_is_read_with_its_record(fitted):
    file = fitted.folder / "weights.safetensors"
    now = model.read(fitted.folder).facts
    state = {name: value.clone() for name, value in load_file(file).items()}  # of the file that is written over
    save_file(state, file, {"backbone": "resnet10t", "in_chans": "1"})
    assert model.read(fitted.folder).facts == now
    (fitted.folder / "run.json").unlink()
    refused("recipe none; expected a trained classifier", model.read, file)


def test_rounded_weights_give_almost_the_same_scores(fitted, tmp_path):
    whole = model.read(fitted.folder)
    state = model.rounded(whole.network.state_dict())
    kinds = {value.dtype for value in state.values() if value.ndim > 1}
    assert kinds == {torch.bfloat16} and state["bn1.running_var"].dtype == torch.float32
    save_file(state, tmp_path / "model.safetensors", model.head(whole.facts))
    small = model.read(tmp_path)
    assert small.facts == whole.facts and next(small.network.parameters()).dtype == torch.float32
    batch = np.random.default_rng(0).integers(0, 256, (16, 32, 32), np.uint8)
    gap = np.abs(small.scores(batch) - whole.scores(batch)).max()
    assert 0 < gap < 0.01  # 8 bits of a kernel's numbers are kept: 0.4 % of each


def test_heat_is_of_the_log_odds_of_the_class(home, tmp_path, monkeypatch):
    data = madeup.knees(tmp_path / "knees")
    network = model.read(madeup.knee_fit(data, monkeypatch).folder)
    batch, classes = shown(data, "test"), np.arange(20) % 5
    heat = network.heat(batch, classes)
    with torch.no_grad():
        maps, weight = network.network.forward_features(network._shown(batch)), network.network.fc.weight
    p = network.scores(batch)
    for i, k in enumerate(classes):  # of a linear head: its weights, less those of the others by their shares
        others = np.where(np.arange(5) == k, 0, p[i]) / (1 - p[i, k])
        direction = weight[k] - torch.from_numpy(others).float() @ weight
        wanted = torch.einsum("c,chw->hw", direction, maps[i]).relu()
        wanted = torch.nn.functional.interpolate(wanted[None, None], (32, 32), mode="bilinear")[0, 0]
        np.testing.assert_allclose(heat[i], wanted / wanted.max().clamp_min(1e-12), atol=1e-3)


def test_other_squares_are_refused(fitted):
    network = model.read(fitted.folder)
    for batch in (np.zeros((1, 16, 16), np.uint8), np.zeros((1, 32, 32), np.float32)):
        refused(r"expected uint8 squares \(B, 32, 32\)", network.scores, batch, error=UsageError)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": "finetune/9"}, "recipe finetune/9, and this code knows finetune up to 1.*Update ortholib"),
        ({"recipe": "probe/1"}, "recipe probe/1; expected a trained classifier"),
        ({"size": "32"}, "'size' in its head: expected a valid integer"),
        ({"pool": "max"}, "'pool' in its head"),
        ({"kind": "ternary"}, "its head makes no sense"),
        ({"grey": (0.4, 0.0)}, "its head makes no sense"),
        ({"temperature": 0.0}, "its head makes no sense"),
        ({"classes": ("a", "b", "c"), "kind": "ordinal"}, "does not fit resnet10t with 3 classes"),
        ({"backbone": "resnet18"}, "does not fit resnet18"),
        ({"backbone": "resnot"}, "unknown to timm"),
        ({"head": "cumulative"}, "head 'cumulative' on 2 classes"),
    ],
)
def test_a_head_that_this_code_cannot_follow_is_refused(fitted, tmp_path, change, words):
    file = fitted.folder / "weights.safetensors"
    facts = asdict(model.read(fitted.folder).facts) | change
    told = {"backbone": "resnet10t", "in_chans": "1", "ortholib": json.dumps(facts)}
    save_file(load_file(file), tmp_path / "model.safetensors", told)
    refused(words, model.read, tmp_path)


def test_damaged_files_and_other_things_are_refused(fitted, tmp_path):
    file = fitted.folder / "weights.safetensors"
    whole, facts = file.read_bytes(), model.read(fitted.folder).facts
    state = {name: value.clone() for name, value in load_file(file).items()}  # of the file that is written over
    file.write_bytes(whole[: len(whole) // 2])
    refused("no readable safetensors file", model.read, file)
    file.write_bytes(b"")
    refused("no readable safetensors file", model.read, file)
    told = model.head(facts)
    save_file(state, file, told | {"in_chans": "3"})
    refused("images of 3 channels; expected one", model.read, file)
    save_file(state, file, told | {"ortholib": "{"})
    refused("is damaged", model.read, file)
    save_file(state | {"fc.bias": torch.tensor([0.0, torch.nan])}, file, told)
    refused(r"fc\.bias are not finite", model.read, file)
    refused("is not there", model.read, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    refused("holds no trained network", model.read, tmp_path / "empty")
    (tmp_path / "empty" / "backbone.safetensors").touch()
    refused("pretrained backbone, which gives no classes", model.read, tmp_path / "empty")
