"""A network that is kept for use scores as its card says, and anybody can see that it does."""

import json
import os
from pathlib import Path

import madeup
import numpy as np
import pandas as pd
import pytest
from refused import refused
from safetensors.torch import load_file

from ortholib.classify import model, scoring
from ortholib.data import datasets, ids, tasks
from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import calibration, evaluation
from ortholib.metrics.scores import ece, youden_threshold
from ortholib.report import modelcard, networks, results

ROOT = Path(__file__).resolve().parents[2]
DATA = os.environ.get("ORTHOLIB_DATA")  # before the tests' own environment


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    return madeup.project(tmp_path / "project", monkeypatch)


@pytest.fixture
def promote(home, tmp_path, monkeypatch):
    """Function: train on knees in `tmp_path/knees` and promote as `knee-x`; gives the fit and the folder."""

    def promote(task: str = "kl", **more):
        fit = madeup.knee_fit(madeup.knees(tmp_path / "knees", task), monkeypatch, **more)
        return fit, networks.promote(fit.key[:8], "knee-x")

    return promote


def columns(frame: pd.DataFrame) -> np.ndarray:
    return frame.filter(regex=r"^score_\d$").to_numpy(float)


@pytest.mark.parametrize("head", ["softmax", "continuation"])
def test_predict_gives_the_scores_that_are_stored_beside_the_weights(promote, tmp_path, home, head):
    fit, folder = promote(head=head)
    assert folder == home / "results" / "weights" / "knee-x"
    assert {f.name for f in folder.iterdir()} == {"README.md", "model.json", "model.safetensors", "predictions.parquet"}
    assert [f.name for f in folder.parent.iterdir()] == ["knee-x"]
    table = scoring.score(model.read(networks.find("knee-x")), scoring.find(tmp_path / "knees"))
    table["unit_id"] = ids.hashed([Path(name).stem for name in table["file"]], "kneekl")
    kept = pd.read_parquet(folder / "predictions.parquet")
    now = table.set_index("unit_id").loc[kept["unit_id"]]
    np.testing.assert_allclose(columns(now), columns(kept), atol=1e-6)
    told = json.loads((folder / "model.json").read_text())
    gap = np.abs(columns(kept) - columns(fit.predictions)).max()
    assert 0 < told["rounding"] == gap < 0.02 and f"differ by at most {gap:.2g}" in (folder / "README.md").read_text()


@pytest.mark.parametrize("task", ["kl", "oa"])
def test_choices_and_metrics_are_of_the_kept_scores(promote, task):
    fit, folder = promote(task)
    kept, told = pd.read_parquet(folder / "predictions.parquet"), json.loads((folder / "model.json").read_text())
    validation, test = (kept[kept["part"] == part] for part in ("val", "test"))
    facts = model.read(folder).facts
    assert (
        facts.temperature == told["temperature"] == calibration.temperature(validation["y_true"], columns(validation))
    )
    if task == "oa":
        assert facts.threshold == told["threshold"] == youden_threshold(validation["y_true"], validation["score_1"])
    again = evaluation.evaluate(test, threshold=facts.threshold)
    for name in ("value", "low", "high"):
        np.testing.assert_allclose(pd.DataFrame(told["metrics"])[name].astype(float), again[name], atol=1e-12)
    assert (told["n"], told["n_groups"], told["fit"]) == (20, 10, fit.key)
    assert [row["images"] for row in told["population"]] == [40, 20, 20]
    counted = {row["scaling"]: row["value"] for row in told["calibration"] if row["metric"] == "ece"}
    after = calibration.scaled(columns(test), facts.temperature)
    assert counted["before"] == pytest.approx(ece(test["y_true"], columns(test))[0])
    assert counted["after"] == pytest.approx(ece(test["y_true"], after)[0])


def test_the_card_says_what_it_is_and_what_it_is_not(promote):
    _, folder = promote()
    text = (folder / "README.md").read_text()
    for words in (
        "# knee-x: kl from radiographs",
        "resnet10t,",
        "trained from random weights, recipe finetune/1, seed 0",
        "ortholib predict knee-x FOLDER",
        "letterboxed to 32 x 32 px, left sides mirrored",
        "| test | 20 | 10 |",
        "20 test images of 10 patients",
        "| kappa_quadratic_expectation |",
        "The grade nearest to the expectation",
        "It is no medical device",
        "CC BY 4.0",
        "Both knees of a patient are in the set",
    ):
        assert words in text, words


def test_without_its_images_the_stored_scores_stand(home, tmp_path, monkeypatch, capsys):
    data = madeup.knees(tmp_path / "knees")
    fit = madeup.knee_fit(data, monkeypatch)

    def absent(*_):
        raise OrthoError("ORTHOLIB_DATA is not set")

    def others(*_):
        data.identity["pixels"] = "2"
        return data

    for prepare, words in ((absent, "ORTHOLIB_DATA is not set"), (others, "others than the training's")):
        monkeypatch.setattr(tasks, "prepare", prepare)
        folder = networks.promote(fit.key, "knee-x")
        assert f"not scored again: {words}" in capsys.readouterr().out.replace("the images on this machine are ", "")
        pd.testing.assert_frame_equal(pd.read_parquet(folder / "predictions.parquet"), fit.predictions)
        assert json.loads((folder / "model.json").read_text())["rounding"] is None
        assert "was not measured" in (folder / "README.md").read_text()


def test_what_may_not_be_kept_leaves_nothing(home, tmp_path, monkeypatch):
    data = madeup.knees(tmp_path / "knees")
    phantom = madeup.knee_fit(data, monkeypatch, "phantom")
    refused("done phantom fit; only real and paper ones", networks.promote, phantom.key, "knee-x")
    fit = madeup.knee_fit(data, monkeypatch, seed=1)
    for name in ("KL", "knee/kl", "..", "0123456789abcdef", "ab"):
        refused("expected 3 to 40 small letters", networks.promote, fit.key, name, error=UsageError)
    with monkeypatch.context() as patch:
        patch.setattr(networks.shards, "SHARD", 2**20)
        refused(r"the weights take 9\.\d MiB; at most 1 are kept", networks.promote, fit.key, "knee-x")
    with monkeypatch.context() as patch:
        patch.setattr(results, "WEIGHTS_LIMIT", 2**20)
        refused(r"would hold 9 MiB of weights; at most 1 are", networks.promote, fit.key, "knee-x")
    fit.predictions.assign(unit_id="9000001L").to_parquet(fit.folder / "predictions.parquet")
    refused("unit_id is not hashed", networks.promote, fit.key, "knee-x")
    assert not list((home / "results" / "weights").iterdir())


def test_promotion_replaces_the_one_before_and_counts_it_once(promote, monkeypatch):
    fit, folder = promote()
    size = (folder / "model.safetensors").stat().st_size
    monkeypatch.setattr(results, "WEIGHTS_LIMIT", size * 3 // 2)
    (folder / "stale").touch()
    networks.promote(fit.key, "knee-x")
    assert not (folder / "stale").exists()
    refused("Delete those of an older", networks.promote, fit.key, "knee-y")
    before = load_file(folder / "model.safetensors")
    assert all(value.dtype.itemsize <= 2 for value in before.values() if value.ndim > 1)


def test_a_model_is_found_by_path_name_or_key(promote, home, tmp_path):
    fit, folder = promote()
    assert networks.find("knee-x") == folder and networks.find(str(folder)) == folder
    assert networks.find(fit.key) == networks.find(fit.key[:5]) == fit.folder
    (fit.folder.parent / f"{fit.key[:4]}.partial").mkdir()
    twin = fit.folder.parent / (fit.key[:15] + ("0" if fit.key[15] != "0" else "1"))
    twin.mkdir()
    (twin / "run.json").write_text("{}")
    refused("is the beginning of several keys", networks.find, fit.key[:6], error=UsageError)
    for name in ("knee-y", "abc", "../weights/knee-x", "00000000"):
        refused("no promoted network; promoted: knee-x", networks.find, name, error=UsageError)


def test_every_network_in_the_repository_is_what_its_card_says():
    """Its file can be read, is small enough, and its metrics recompute from the scores beside it."""
    for file in sorted((ROOT / "results" / "weights").glob("*/model.json")):
        told, network = json.loads(file.read_text()), model.read(file.parent)
        assert file.with_name("model.safetensors").stat().st_size <= 15 * 2**20
        kept = results.check_hashed(file.with_name("predictions.parquet"))
        again = evaluation.evaluate(kept[kept["part"] == "test"], threshold=network.facts.threshold)
        for name in ("value", "low", "high"):
            stored = pd.DataFrame(told["metrics"])[name].astype(float)
            np.testing.assert_allclose(stored, again[name], atol=1e-9)
        assert (file.with_name("README.md")).read_text() == modelcard.card(file.parent.name, network.facts, told)


@pytest.mark.recorded
@pytest.mark.timeout(900)
@pytest.mark.skipif(not DATA, reason="ORTHOLIB_DATA names no folder of real sets")
def test_predict_on_the_official_test_images_gives_the_stored_scores(monkeypatch):
    monkeypatch.setenv("ORTHOLIB_DATA", DATA)
    for file in sorted((ROOT / "results" / "weights").glob("*/model.json")):
        image_set = datasets.load(json.loads(file.read_text())["dataset"])
        part = "test" if (image_set.root / "test").is_dir() else ""
        table = scoring.score(model.read(file.parent), scoring.find(image_set.root / part))
        named = image_set.images.set_index("path")["image_id"]
        table["image_id"] = (part + "/" + table["file"]).str.removeprefix("/").map(named)
        table = table[table["image_id"].notna() & (table["reason"] == "")]
        table["unit_id"] = ids.hashed(table["image_id"], image_set.name)
        kept = pd.read_parquet(file.with_name("predictions.parquet"))
        kept = kept[kept["part"] == "test"]
        now = table.set_index("unit_id").loc[kept["unit_id"]]
        assert len(now) == len(kept) > 0
        np.testing.assert_allclose(columns(now), columns(kept), atol=1e-3)
