"""A classifier put to another set says there what it would say, and is not trained."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ortholib.classify import finetune, transfer, transfersettings
from ortholib.errors import OrthoError


def test_it_scores_the_same_images_as_the_training_did(blobs, settings, tmp_path):
    (tmp_path / "moved").mkdir()
    finetune.train(blobs, settings, tmp_path)
    asked = replace(
        transfersettings.of(settings, "other", "disc", "clean"), initial=str(tmp_path / "weights.safetensors")
    )
    transfer.train(blobs, asked, tmp_path / "moved")
    own, moved = (pd.read_parquet(folder / "predictions.parquet") for folder in (tmp_path, tmp_path / "moved"))
    np.testing.assert_allclose(moved["score_1"], own["score_1"], atol=1e-6)
    assert (
        set(moved["dataset"]) == {"other"}
        and set(moved["split"]) == {"clean"}
        and set(moved["part"]) == {"val", "test"}
    )


def test_another_number_of_classes_is_refused(blobs, settings, tmp_path):
    finetune.train(blobs, settings, tmp_path)
    asked = replace(
        transfersettings.of(settings, "other", "grade", "clean"), initial=str(tmp_path / "weights.safetensors")
    )
    with pytest.raises(OrthoError, match="does not fit resnet10t with the 3 classes of grade"):
        transfer.train(replace(blobs, classes=["a", "b", "c"]), asked, tmp_path)
