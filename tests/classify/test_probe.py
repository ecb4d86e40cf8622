"""Probes of frozen features: the published vote, a known answer, nothing chosen on test."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
from safetensors.torch import save_file

from ortholib.classify import learners, probe
from ortholib.data.labelled import Labelled
from ortholib.dino import pretrain
from ortholib.errors import OrthoError, UsageError
from ortholib.settings import Pretrain, Probe

ASKED = Probe(32, "resnet10t", dataset="kneekl", task="oa", split="official")


def stripes(n: int = 90, kind: str = "binary", classes: int = 2) -> Labelled:
    """Squares whose stripes are as wide as their class says, in three parts of equal size."""
    rng = np.random.default_rng(0)
    y = np.arange(n) // 3 % classes
    wave = np.sin(np.arange(32)[None] / (1.5 + 2 * y[:, None]) + rng.uniform(0, 6, (n, 1)))
    pixels = np.clip(128 + 90 * wave[:, None] + rng.normal(0, 8, (n, 32, 32)), 0, 255).astype(np.uint8)
    part = np.array(["train", "val", "test"])[np.arange(n) % 3]
    names = np.array([f"i{i}" for i in range(n)])
    mirror = np.zeros(n, bool)
    classes = [f"c{k}" for k in range(classes)]
    return Labelled(pixels, np.arange(n), y, part, np.ones(n), mirror, names, names, classes, kind, {"n": n})


def test_the_vote_is_the_published_one():
    """Wu et al. 2018: sum of exp(cosine / T) over the k nearest, also with less than 100 test images."""
    rng = np.random.default_rng(1)
    train, test, y = rng.normal(size=(200, 16)), rng.normal(size=(7, 16)), rng.integers(0, 3, 200)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test)]
    similarity = unit[1] @ unit[0].T
    for k, head in probe.candidates("kNN", len(train)):
        head.fit(train, y)
        got = learners.scores(head, test, 3)
        for row, found in zip(similarity, got, strict=True):
            nearest = np.argsort(-row)[:k]
            votes = np.bincount(y[nearest], np.exp(row[nearest] / 0.07), minlength=3)
            np.testing.assert_allclose(found, votes / votes.sum(), rtol=1e-6)
    assert [k for k, _ in probe.candidates("kNN", 30)] == [5, 10, 20, 30]


def test_an_open_answer_is_read_and_told(tmp_path):
    record = probe.train(stripes(), ASKED, tmp_path, None)
    scores = pd.read_parquet(tmp_path / "predictions.parquet")
    assert set(scores["head"]) == {"linear", "kNN"} and set(scores["part"]) == {"val", "test"}
    assert set(scores["backbone"]) == {"resnet10t"} and set(scores["initial"]) == {"random"}
    for _, rows in scores[scores["part"] == "test"].groupby("head"):
        assert len(rows) == 30 and ((rows["score_1"] > 0.5) == rows["y_true"]).mean() > 0.9
        np.testing.assert_allclose(rows[["score_0", "score_1"]].sum(axis=1), 1)
    assert scores["unit_id"].str.fullmatch("[0-9a-f]{12}").all()
    tried = pd.read_parquet(tmp_path / "history.parquet")
    assert set(tried["head"]) == set(probe.HEADS) == set(record["chosen"]) == set(record["threshold"])
    for head, best in record["val_metric"].items():
        assert best == tried.loc[tried["head"] == head, "val_metric"].max()


def test_nothing_is_chosen_on_test(tmp_path):
    data = stripes()
    record = probe.train(data, ASKED, tmp_path, None)
    other = np.where(data.part == "test", 1 - data.y, data.y)
    turned = probe.train(replace(data, y=other), ASKED, tmp_path, None)
    assert record["chosen"] == turned["chosen"] and record["threshold"] == turned["threshold"]


def test_grades_and_a_class_without_training_image(tmp_path):
    data = stripes(kind="ordinal", classes=5)
    data = replace(data, part=np.where((data.y == 4) & (data.part == "train"), "none", data.part))
    record = probe.train(data, replace(ASKED, task="kl"), tmp_path, None)
    scores = pd.read_parquet(tmp_path / "predictions.parquet")
    assert record["threshold"] is None and (scores["score_4"] == 0).all() and set(scores["y_true"]) == set(range(5))


def test_pretrained_weights_are_what_is_probed(tmp_path):
    backbone = pretrain.build(Pretrain(("a:b",), 32, 1, backbone="resnet10t", seed=5), None)
    file = tmp_path / "backbone.safetensors"
    save_file({k: v.contiguous() for k, v in backbone.state_dict().items()}, file)
    data = stripes()
    got = probe.embed(data, ASKED, file)
    assert got.shape == (90, 512) and not np.allclose(got, probe.embed(data, ASKED, None))
    np.testing.assert_array_equal(got, probe.embed(data, replace(ASKED, seed=3), file))
    assert not np.allclose(probe.embed(data, ASKED, None), probe.embed(data, replace(ASKED, seed=1), None))


def test_bad_input_is_named(tmp_path):
    with pytest.raises(UsageError, match="'resnet1O' is unknown to timm"):
        probe.train(stripes(), replace(ASKED, backbone="resnet1O"), tmp_path, None)
    with pytest.raises(OrthoError, match=r"absent\.safetensors: initial weights not found"):
        probe.train(stripes(), ASKED, tmp_path, Path("absent.safetensors"))
    with pytest.raises(OrthoError, match=r"all 30 training images with a label \(share 1\) are of one class"):
        probe.train(replace(stripes(), y=np.zeros(90, np.int64)), ASKED, tmp_path, None)


def test_each_share_of_the_labels_is_a_probe_of_its_own(tmp_path):
    """With a share the head sees the images of that share and no other: as if only these had been in training."""
    data = stripes(180)
    levels = np.array([0.125, 0.25, 0.5, 0.5, 1.0, 1.0])[np.arange(180) // 30]
    data = replace(data, fraction=np.where(data.part == "train", levels, 1.0))
    network = timm.create_model("resnet10t", in_chans=1, num_classes=0)  # weights of random networks follow the images
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    file = tmp_path / "w.safetensors"
    record = probe.train(data, replace(ASKED, fractions=(0.25, 1.0)), tmp_path, file)
    frame = pd.read_parquet(tmp_path / "predictions.parquet")
    counts = {share: int(((data.part == "train") & (data.fraction <= share)).sum()) for share in (0.25, 1.0)}
    assert record["labels"] == {"0.25": counts[0.25], "1": counts[1.0]} and counts[0.25] < counts[1.0]
    assert set(zip(frame["head"], frame["fraction"], strict=True)) == {(h, f) for h in probe.HEADS for f in (0.25, 1.0)}
    (tmp_path / "few").mkdir()
    kept = (data.part != "train") | (data.fraction <= 0.25)
    fewer = {name: getattr(data, name)[kept] for name in ("row", "y", "part", "mirror", "unit_id", "group", "fraction")}
    probe.train(replace(data, **fewer), ASKED, tmp_path / "few", file)
    alone = pd.read_parquet(tmp_path / "few" / "predictions.parquet")
    share = frame[frame["fraction"] == 0.25]
    np.testing.assert_allclose(share["score_1"], alone["score_1"], atol=1e-5)
