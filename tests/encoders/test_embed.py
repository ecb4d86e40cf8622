"""Embeddings as a fit: equal to the encoder's own, resumed after a stop, one for each way a file is read."""

from dataclasses import replace
from pathlib import Path

import madeup
import numpy as np
import pandas as pd
import pytest
import torch

from ortholib.data import ids
from ortholib.encoders import embed, encoder, registry
from ortholib.encoders.batches import Batches
from ortholib.errors import OrthoError
from ortholib.settings import Embed, identity

SETTINGS = Embed(32, "resnet18", "resnet18", dataset="blobs", task="disc", split="official")


@pytest.fixture
def standin(phantom_weights) -> Path:
    return phantom_weights / "resnet18" / registry.ENCODERS["resnet18"].file


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(embed, "BLOCK", 20)
    monkeypatch.setattr(embed, "BATCH", 8)


def test_features_are_the_encoder_s_own_in_the_order_of_the_images(standin, tmp_path, monkeypatch):
    monkeypatch.setattr(embed.machine, "precision", lambda device: torch.float32)
    data = madeup.labelled()
    data = replace(data, row=data.row[::-1].copy())
    folder = tmp_path / "fit"
    folder.mkdir()
    record = embed.train(data, SETTINGS, folder, standin)
    features = np.load(folder / "features.npy")
    own = encoder.at("resnet18", standin).embed(torch.from_numpy(data.pixels[::-1].copy())).numpy()
    assert features.shape == own.shape and record["features"] == own.shape[1]
    np.testing.assert_allclose(features, own, rtol=1e-4, atol=1e-5)
    kept = pd.read_parquet(folder / "images.parquet")["unit_id"]
    assert list(kept) == list(ids.hashed(data.unit_id, "blobs"))
    assert {file.name for file in folder.iterdir()} == {"features.npy", "images.parquet"}


@pytest.mark.parametrize("initial", ["resnet18", "random"])
def test_a_stopped_embedding_goes_on_and_equals_one_that_was_not(initial, standin, tmp_path, small_blocks, monkeypatch):
    weights = standin if initial == "resnet18" else None
    asked = replace(SETTINGS, initial=initial, backbone="resnet10t" if weights is None else "resnet18")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir(), broken.mkdir()
    embed.train(madeup.labelled(), asked, whole, weights)
    done, run = [], embed.embed

    def stopping(network, batches, index, *given):
        if index[0] == 20 and not done:
            done.append(index)
            raise KeyboardInterrupt
        return run(network, batches, index, *given)

    monkeypatch.setattr(embed, "embed", stopping)
    with pytest.raises(KeyboardInterrupt):
        embed.train(madeup.labelled(), asked, broken, weights)
    assert [file.name for file in broken.glob("block-*.npy")] == ["block-00000000.npy"]
    embed.train(madeup.labelled(), asked, broken, weights)
    assert np.array_equal(np.load(whole / "features.npy"), np.load(broken / "features.npy"))


def test_a_random_network_knows_the_training_images_alone(tmp_path):
    """Other pixels in test change nothing of how training images are embedded."""
    data = madeup.labelled()
    changed = data.pixels.copy()
    changed[data.part == "test"] = 255 - changed[data.part == "test"]
    asked = replace(SETTINGS, initial="random", backbone="resnet10t")
    found = []
    for pixels in (data.pixels, changed):
        embed.train(replace(data, pixels=pixels), asked, tmp_path, None)
        found.append(np.load(tmp_path / "features.npy"))
    train = data.part == "train"
    assert np.array_equal(found[0][train], found[1][train])
    assert not np.allclose(found[0][data.part == "test"], found[1][data.part == "test"])


def test_what_is_not_finite_is_refused(standin, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "opened", lambda *_: (torch.nn.Flatten(), lambda x: x.unsqueeze(1).float() / 0))
    with pytest.raises(OrthoError, match="embeddings are not finite"):
        embed.train(madeup.labelled(), SETTINGS, tmp_path, standin)


def test_one_file_read_in_two_ways_has_two_keys():
    told = {"sha256": "same"}
    ways = [
        identity(replace(SETTINGS, initial=name), {}, told) for name in ("orthofoundation", "orthofoundation-norope")
    ]
    assert ways[0] != ways[1]


def test_calibration_leaves_a_network_without_batch_norms_as_it_is():
    data = madeup.labelled()
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 3))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    embed.calibrate(network, Batches(data, torch.device("cpu")), np.arange(8), torch.float32)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
