"""The supervised trainer: it learns, resumes exactly, and says what it refuses."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from ortholib.classify import finetune
from ortholib.errors import OrthoError, UsageError


def test_learns_and_writes_what_a_chapter_needs(blobs, settings, tmp_path):
    record = finetune.train(blobs, replace(settings, epochs=10, learning_rate=3e-3), tmp_path, None)
    frame = pd.read_parquet(tmp_path / "predictions.parquet")
    test = frame[frame["part"] == "test"]
    assert roc_auc_score(test["y_true"], test["score_1"]) > 0.9
    assert set(frame["part"]) == {"val", "test"} and len(frame) == 32
    assert frame[["score_0", "score_1"]].sum(axis=1).to_numpy() == pytest.approx(np.ones(32))
    history = pd.read_parquet(tmp_path / "history.parquet")
    assert record["best_epoch"] == history["val_metric"].idxmax() + 1
    assert record["val_metric"] == history["val_metric"].max()
    assert 0 < record["threshold"] < 1
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert history[["train_accuracy", "val_accuracy"]].iloc[-1].min() > 0.8
    validation = frame[frame["part"] == "val"]
    assert history["val_accuracy"][record["best_epoch"] - 1] == np.mean(
        validation["score_1"].gt(0.5) == validation["y_true"].eq(1)
    )
    model = timm.create_model("resnet10t", in_chans=1, num_classes=2, checkpoint_path=tmp_path / "weights.safetensors")
    assert sum(p.numel() for p in model.parameters()) == record["parameters"]


def test_resumed_equals_uninterrupted(blobs, settings, tmp_path, monkeypatch):
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    finetune.train(blobs, settings, tmp_path / "whole", None)
    save, saved = finetune._save, []

    def save_then_die(*arguments):
        save(*arguments)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finetune, "_save", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            finetune.train(blobs, settings, tmp_path / "cut", None)
    assert (tmp_path / "cut" / "checkpoint.pt").is_file()
    finetune.train(blobs, settings, tmp_path / "cut", None)
    whole, cut = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[k], cut[k]) for k in whole)
    histories = [pd.read_parquet(tmp_path / name / "history.parquet") for name in ("whole", "cut")]
    pd.testing.assert_frame_equal(*(h.drop(columns=["images_per_s", "seconds"]) for h in histories), check_exact=True)


def test_courses_hold_the_scores_that_each_epoch_was_judged_by(blobs, settings, tmp_path):
    finetune.train(blobs, settings, tmp_path, None)
    courses, history = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("courses", "history"))
    areas = [roc_auc_score(courses["y_true"], courses[f"epoch_{i}"]) for i in history["epoch"]]
    assert areas == pytest.approx(history["val_metric"])
    frame = pd.read_parquet(tmp_path / "predictions.parquet")
    kept = frame[frame["part"] == "val"].set_index("unit_id")["score_1"]
    best = f"epoch_{history['val_metric'].idxmax() + 1}"
    assert courses.set_index("unit_id")[best].to_numpy() == pytest.approx(kept[courses["unit_id"]].to_numpy(), abs=1e-6)


def test_bad_settings_are_named(blobs, settings, tmp_path):
    with pytest.raises(OrthoError, match="batch 65 does not fit 64 training images"):
        finetune.train(blobs, replace(settings, batch=65), tmp_path, None)
    with pytest.raises(UsageError, match="backbone 'resnot18' is unknown to timm"):
        finetune.train(blobs, replace(settings, backbone="resnot18"), tmp_path, None)
    with pytest.raises(UsageError, match="class_weights 'some' is unknown"):
        finetune.train(blobs, replace(settings, class_weights="some"), tmp_path, None)


def test_loss_that_is_not_finite_stops_the_run(blobs, settings, tmp_path):
    with pytest.raises(OrthoError, match="the loss is nan in epoch 1; lower learning_rate"):
        finetune.train(blobs, replace(settings, learning_rate=1e30), tmp_path, None)


def test_balanced_class_weights_are_inverse_frequencies(blobs, settings):
    blobs.y[:] = (np.arange(len(blobs.y)) % 4 == 0).astype(int)
    weights = finetune._class_weights(blobs, replace(settings, class_weights="balanced"))
    assert weights.tolist() == pytest.approx([64 / (2 * 48), 64 / (2 * 16)])


def test_mirrored_rows_are_read_flipped(blobs):
    blobs.mirror[3] = True
    batch = finetune.Batches(blobs, torch.device("cpu"))(np.array([2, 3]))
    assert np.array_equal(batch[0].numpy(), blobs.pixels[2])
    assert np.array_equal(batch[1].numpy(), blobs.pixels[3][:, ::-1])


def test_training_side_grows_to_the_whole_over_two_thirds(settings):
    sides = [finetune.training_side(replace(settings, size=224, epochs=18, start=0.5), epoch) for epoch in range(18)]
    assert sides == [128] * 4 + [160] * 3 + [192] * 4 + [224] * 7
    assert {finetune.training_side(replace(settings, size=224), epoch) for epoch in range(3)} == {224}
    assert {finetune.training_side(replace(settings, size=100), epoch) for epoch in range(3)} == {100}
