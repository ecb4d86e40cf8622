"""What a reader is shown of a pretraining: crops as trained on, neighbours of other groups, labels in words."""

from dataclasses import replace

import numpy as np
import pandas as pd
import small
import torch

from ortholib.dino import export, gallery, pretrain


def test_the_gallery_holds_the_square_and_its_crops_of_the_first_step():
    images = small.shapes(16)
    pictures, titles = gallery.crop_gallery(images, small.SETTINGS, np.array([3, 9]))
    assert pictures.shape == (10, 32, 32) and pictures.dtype == np.uint8 and len(titles) == 10
    assert np.array_equal(pictures[0], images.stores[0][3]) and np.array_equal(pictures[5], images.stores[0][9])
    assert titles[:5] == [
        "square, 32 px", "global crop 1, 32 px", "global crop 2, 32 px", "local crop 1, 16 px", "local crop 2, 16 px",
    ]  # fmt: skip
    assert len({picture.tobytes() for picture in pictures}) == 10
    none, titles = gallery.crop_gallery(images, replace(small.SETTINGS, locals=0), np.array([3]))
    assert len(none) == len(titles) == 3


def test_neighbours_are_the_nearest_of_other_groups():
    angle = torch.tensor([0.0, 0.1, 0.3, 0.05, 3.0])
    features = torch.stack([angle.cos(), angle.sin()], 1)
    groups = np.array(["a", "b", "c", "a", "d"])
    assert gallery.neighbours(features, groups, [0, 4], k=2).tolist() == [[1, 2], [2, 1]]


def test_the_embedding_is_that_of_the_weights(tmp_path):
    images, chosen = small.shapes(16), np.array([2, 11, 5])
    file = export.write(pretrain.build(small.SETTINGS, None).state_dict(), small.SETTINGS, tmp_path)
    found = gallery.embedding(file, images, small.SETTINGS, chosen)
    assert found.shape == (3, 512)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    again = gallery.embedding(file, images, replace(small.SETTINGS, seed=7), chosen)  # no random weight is left
    assert found.equal(again)
    points = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    assert gallery.flat(torch.nn.functional.normalize(points, dim=1)).shape == (12, 2)


def test_the_sentence_on_the_curves_follows_from_them():
    first = {"kl": 0.4, "entropy": 5.0, "rankme": 128.0, "spread": 0.5, "alarm": ""}
    last = {"kl": 0.13, "entropy": np.log(1024) / 2, "rankme": 98.0, "spread": 0.59, "alarm": ""}
    said = gallery.sentences(pd.DataFrame([first, last]), 1024)
    for words in ("0.40 to 0.13 nats", "50% of ln K", "fell from 128 to 98: the embedding lost", "no alarm"):
        assert words in said
    said = gallery.sentences(pd.DataFrame([first, last | {"rankme": 200.0, "alarm": "collapse: all"}]), 1024)
    assert "rose from 128 to 200;" in said and "Collapse watch: collapse: all." in said


def test_labels_in_words():
    images = small.shapes(3)
    images = replace(images, y=np.array([0.0, 1.0, np.nan]), seen={"fracatlas": {}})
    assert gallery.names(images, np.arange(3)) == ["FracAtlas, no fracture", "FracAtlas, fracture", None]
    assert gallery.names(replace(images, seen={"kneekl": {}}), np.array([1])) == ["knee, KL 1"]
    assert gallery.names(replace(images, seen={"mine": {}}), np.array([1])) == ["mine, 1"]
