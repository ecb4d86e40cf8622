"""A classifier put to another set says there what it would say, and is not trained."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ortholib.classify import finetune, transfer
from ortholib.errors import OrthoError
from ortholib.settings import Transfer


def test_it_scores_the_same_images_as_the_training_did(blobs, settings, tmp_path):
    (tmp_path / "moved").mkdir()
    finetune.train(blobs, settings, tmp_path, None)
    asked = Transfer(settings, dataset="other", task="disc", split="clean")
    transfer.train(blobs, asked, tmp_path / "moved", tmp_path / "weights.safetensors")
    own, moved = (pd.read_parquet(folder / "predictions.parquet") for folder in (tmp_path, tmp_path / "moved"))
    np.testing.assert_allclose(moved["score_1"], own["score_1"], atol=1e-6)
    assert set(moved["dataset"]) == {"other"} and set(moved["split"]) == {"clean"}
    assert set(moved["part"]) == {"val", "test"} and set(moved["initial"]) == {"random"}


def test_another_number_of_classes_is_refused(blobs, settings, tmp_path):
    finetune.train(blobs, settings, tmp_path, None)
    asked = Transfer(settings, dataset="other", task="grade", split="clean")
    with pytest.raises(OrthoError, match="does not fit resnet10t with the 3 classes of grade"):
        transfer.train(replace(blobs, classes=["a", "b", "c"]), asked, tmp_path, tmp_path / "weights.safetensors")
