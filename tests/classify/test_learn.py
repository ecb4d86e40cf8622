"""Learners on embeddings: what validation chooses, luck, refusals, and XGBoost again from a stored embedding."""

from dataclasses import replace
from pathlib import Path

import madeup
import numpy as np
import pandas as pd
import pytest
from refused import refused

from ortholib.classify import learn, learners
from ortholib.data import ids
from ortholib.errors import UsageError
from ortholib.metrics import evaluation
from ortholib.metrics.scores import roc_auc, selection_metric
from ortholib.settings import LEARNERS, Embed, Learn

SETTINGS = Learn(Embed(32, "random", "resnet10t"), tries=3, dataset="blobs", task="disc", split="official")


@pytest.fixture
def data():
    return replace(madeup.labelled(), y=(np.arange(48) // 3) % 2)


@pytest.fixture
def features(tmp_path, data) -> Path:
    """24 numbers an image, of which twelve tell the class."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(48, 24)).astype(np.float32)
    table[:, :12] += 2.5 * data.y[:, None]
    np.save(tmp_path / "features.npy", table)
    pd.DataFrame({"unit_id": ids.hashed(data.unit_id, "blobs")}).to_parquet(tmp_path / "images.parquet")
    return tmp_path / "features.npy"


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_learner_finds_what_the_features_tell_and_validation_chooses(learner, data, features):
    record = learn.train(data, replace(SETTINGS, learner=learner), features.parent, features)
    tried = pd.read_parquet(features.with_name("history.parquet"))
    assert 1 <= len(tried) <= 3 and record["val_metric"] == tried["val_metric"].max()
    kept = pd.read_parquet(features.with_name("predictions.parquet"))
    val = kept[kept["part"] == "val"]
    assert selection_metric(val["y_true"], val[["score_0", "score_1"]].to_numpy(), "binary") == record["val_metric"]
    assert set(kept["head"]) == {learner} and list(kept.groupby("part").size()) == [8, 8]
    np.testing.assert_allclose(kept[["score_0", "score_1"]].sum(axis=1), 1, rtol=1e-6)
    assert roc_auc(kept["y_true"], kept["score_1"])[0] > 0.8


def test_xgboost_again_from_the_stored_embedding_gives_the_stored_metric(data, features, tmp_path):
    learn.train(data, SETTINGS, features.parent, features)
    stored = pd.read_parquet(features.with_name("predictions.parquet")).query("part == 'test'").assign(arm="x")
    again = tmp_path / "again"
    again.mkdir()
    learn.train(data, SETTINGS, again, features)
    made = pd.read_parquet(again / "predictions.parquet").query("part == 'test'").assign(arm="x")
    numbers = [evaluation.evaluate(rows, names=["roc_auc", "brier"], draws=50)["value"] for rows in (stored, made)]
    np.testing.assert_allclose(*numbers, atol=1e-6)


def test_test_images_choose_nothing(data, features):
    learn.train(data, SETTINGS, features.parent, features)
    before = pd.read_parquet(features.with_name("predictions.parquet"))
    turned = np.load(features)
    turned[data.part == "test"] *= -1
    np.save(features, turned)
    learn.train(data, SETTINGS, features.parent, features)
    after = pd.read_parquet(features.with_name("predictions.parquet"))
    val = before["part"] == "val"
    pd.testing.assert_frame_equal(before[val], after[val])
    assert not before[~val].equals(after[~val])


def test_a_class_that_training_lacks_gets_probability_zero():
    rng = np.random.default_rng(0)
    features, y = rng.normal(size=(60, 4)).astype(np.float32), np.repeat([0, 2, 3], 20)
    validation = features[:30], np.resize([0, 1, 2, 3], 30)
    for learner in LEARNERS:
        _, head = next(learners.fitted(learner, 1, 0, (features, y), validation))
        probability = learners.scores(head, features[:5], 5)
        assert probability.shape == (5, 5) and (probability[:, [1, 4]] == 0).all()
        np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)


def test_embeddings_of_other_images_and_one_class_are_refused(data, features):
    one = replace(data, y=np.zeros(48, int))
    refused("are of one class", learn.train, one, SETTINGS, features.parent, features)
    other = replace(data, unit_id=data.unit_id[::-1].copy())
    told = "embeds 48 images, 48 of them among the 48 with a label, which have to be the same in the same order"
    refused(told, learn.train, other, SETTINGS, features.parent, features)
    asked = replace(SETTINGS, learner="forest")
    refused("'forest' is unknown", learn.train, data, asked, features.parent, features, error=UsageError)
