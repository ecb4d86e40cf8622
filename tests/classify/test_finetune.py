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
from ortholib.encoders import load
from ortholib.encoders.batches import Batches
from ortholib.encoders.preprocess import IMAGENET, normalise
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


@pytest.mark.parametrize("more", [{}, {"drop_path": 0.3, "recalibrate": 2, "layer_decay": 0.8, "zero_head": True}])
def test_resumed_equals_uninterrupted(more, blobs, settings, tmp_path, monkeypatch):
    settings = replace(settings, **more)
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


def test_images_end_at_the_size_of_finish(settings):
    grown = replace(settings, size=224, epochs=9, start=0.5, finish=0.75)
    sides = [finetune.training_side(grown, epoch) for epoch in range(9)]
    assert sides == [128, 128, 128, 128, 160, 160, 160, 160, 160]


def test_rates_fall_from_layer_to_layer(settings):
    network = load.build("resnet10t", None, 0, 2)
    groups = finetune._groups(network, replace(settings, layer_decay=0.5))
    scales = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert scales[id(network.fc.weight)] == 1 and scales[id(network.conv1[0].weight)] == min(scales.values()) < 0.2
    assert len(scales) == len(list(network.parameters()))
    assert all(group["weight_decay"] == 0 for group in groups if group["params"][0].ndim <= 1)


def test_recalibrated_norms_have_the_statistics_of_the_images(blobs, settings):
    """By the formula: mean and variance of what the first norm is shown, over all images, averaged over batches."""
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3, bias=False), torch.nn.BatchNorm2d(3))
    batches, index = Batches(blobs, torch.device("cpu")), np.arange(32)
    finetune._recalibrate(network, batches, index, torch.float32, IMAGENET)
    with torch.no_grad():
        shown = network[0](normalise(batches(index)))
    torch.testing.assert_close(network[1].running_mean, shown.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network[1].running_var, shown.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_grades_are_learned_by_ordinal_heads_too(blobs, settings, tmp_path):
    y = np.digitize(blobs.pixels[blobs.row].mean((1, 2)), np.quantile(blobs.pixels.mean((1, 2)), [0.33, 0.67]))
    graded = replace(blobs, y=y.astype(np.int64), kind="ordinal", classes=["0", "1", "2"])
    for head in ("continuation", "cumulative"):
        (tmp_path / head).mkdir()
        record = finetune.train(graded, replace(settings, head=head, epochs=12), tmp_path / head, None)
        assert record["val_metric"] > 0.5, head
        kept = pd.read_parquet(tmp_path / head / "predictions.parquet")
        np.testing.assert_allclose(kept[["score_0", "score_1", "score_2"]].sum(axis=1), 1, rtol=1e-6)
