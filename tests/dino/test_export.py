"""What is left for others: weights that come apart and together unchanged, a card that tells what they saw."""

from dataclasses import replace

import pytest
import small
import timm
import torch
from safetensors.torch import load_file

from ortholib.dino import export, flops, pretrain, shards
from ortholib.errors import OrthoError

RECORD = {
    "seen": {"fracatlas": {"split": "clean", "version": "v1", "images": 2816, "weight": 1.0}},
    "steps": 1200, "prototypes": 1024, "teacher_temperature": 0.04, "momentum": 0.99, "precision": "bfloat16",
    "last": {"loss": 4.5, "entropy": 4.0, "kl": 0.5, "used": 0.3, "spread": 0.6, "rankme": 120.0}, "alarms": [],
}  # fmt: skip


def test_weights_come_apart_into_small_files_and_together_again(tmp_path, monkeypatch):
    backbone = pretrain.build(small.SETTINGS, None)
    file = export.write(backbone.state_dict(), small.SETTINGS, tmp_path)
    monkeypatch.setattr(shards, "SHARD", 5 * 2**20)
    parts = shards.split(file, tmp_path / "parts")
    assert len(parts) > 1 and all(part.stat().st_size < 5.1 * 2**20 for part in parts)
    again = shards.joined(tmp_path / "parts", tmp_path / "again" / "backbone.safetensors")
    assert again.read_bytes() == file.read_bytes()
    assert shards.joined(tmp_path / "nowhere", again) == again  # it is there
    with pytest.raises(OrthoError, match="holds no weights"):
        shards.joined(tmp_path / "nowhere", tmp_path / "absent.safetensors")


def test_weights_are_bfloat16_and_plain_timm_reads_them(tmp_path):
    backbone = pretrain.build(small.SETTINGS, None)
    file = export.write(backbone.state_dict(), small.SETTINGS, tmp_path)
    stored = load_file(file)
    assert {value.dtype for value in stored.values()} == {torch.bfloat16, torch.int64}  # int64: counts of batches
    read = timm.create_model("resnet10t", in_chans=1, num_classes=0, checkpoint_path=file).state_dict()
    assert read.keys() == backbone.state_dict().keys()
    for name, value in backbone.state_dict().items():
        assert read[name].equal(value.to(torch.bfloat16).to(value.dtype) if value.is_floating_point() else value)


def test_the_card_tells_what_was_seen_and_how():
    card = export.card(replace(small.SETTINGS, backbone="resnet18"), RECORD)
    for words in (
        "| fracatlas | clean | v1 | 2,816 | 1 |",
        "Evaluation parts were left out",
        "random weights",
        "1,024",
    ):
        assert words in card
    assert 'timm.create_model("resnet18", in_chans=1, num_classes=0' in card and "Alarms: none" in card
    seen = {"mura": {"split": "all", "version": "1.1", "images": 40005, "weight": 1.0}}
    told = export.card(small.SETTINGS, RECORD | {"seen": seen, "alarms": ["collapse: all"]})
    assert (
        "Every readable image of mura was seen, evaluation parts included" in told and "Alarms: collapse: all" in told
    )


def test_floating_point_operations_are_those_counted_by_hand():
    """ResNet-50, one channel, 2 x 224 + 8 x 96 px, K 65,536: 100.8 GFLOP an image."""
    asked = replace(small.SETTINGS, backbone="resnet50", global_size=224, local_size=96, locals=8)
    asked = replace(asked, hidden=2048, bottleneck=256)
    assert flops.per_image(asked, 65_536) == pytest.approx(100.8e9, rel=0.002)
    none = replace(asked, locals=0)
    assert flops.per_image(none, 65_536) == pytest.approx(64.4e9, rel=0.01)
