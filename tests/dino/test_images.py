"""What a pretraining sees: training parts unless asked otherwise, each image once an epoch, in a stateless order."""

import numpy as np
import pytest
import small
import torch

from ortholib.data import split
from ortholib.data.datasets import load
from ortholib.dino import corpus, images
from ortholib.errors import OrthoError, UsageError
from ortholib.settings import Pretrain, by_size


@pytest.fixture(autouse=True)
def here(phantom, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_DATA", str(phantom))


def asked(*sets: str, **changes) -> Pretrain:
    return Pretrain(sets or ("fracatlas:clean", "kneekl:official"), 32, 1, **changes)


def test_evaluation_parts_stay_out():
    made = corpus.prepare(asked(), "real")
    films, knees = load("fracatlas"), load("kneekl")
    clean = split.make(films, "clean", "fractured").images
    train = int((clean["part"] == "train").sum()), int((knees.images["official_part"] == "train").sum())
    assert (made.seen["fracatlas"]["images"], made.seen["kneekl"]["images"]) == train and len(made) == sum(train)
    evaluated = set(clean.loc[clean["part"] != "train", "group"])
    assert not evaluated & set(made.group[made.store == 0])
    assert np.isin(made.y[made.store == 1], range(5)).all() and set(made.y[made.store == 0]) <= {0.0, 1.0}
    everything = corpus.prepare(asked("fracatlas:all", "kneekl:all"), "real")
    assert len(everything) == len(films.usable) + len(knees.usable) and everything.identity != made.identity


def test_order_is_a_permutation_of_seed_and_epoch():
    made = small.shapes(103)
    rows = made.order(10, seed=4, epoch=2)
    assert rows.shape == (10, 10) and len(set(rows.ravel())) == 100 and rows.max() < 103
    assert np.array_equal(rows, made.order(10, 4, 2))
    assert not np.array_equal(rows, made.order(10, 4, 3)) and not np.array_equal(rows, made.order(10, 5, 2))


def test_sets_are_mixed_by_their_weights():
    made = corpus.prepare(asked("fracatlas:clean:0.5", "kneekl:official:3"), "real")
    films, knees = np.bincount(made.store)
    assert made.seen["fracatlas"]["weight"] == 0.5 and made.weights == [0.5, 3.0]
    epochs = [made.order(1, 0, epoch).ravel() for epoch in range(4)]
    shown = [np.bincount(epoch, minlength=len(made)) for epoch in epochs]
    for times in shown:
        assert times[:films].sum() == round(films / 2) and times[:films].max() == 1
        assert (times[films:] == 3).all() and len(times) == films + knees
    assert not np.array_equal(shown[0], shown[1])  # other halves each time
    assert len(set(epochs[0][:20].tolist()) & set(range(films))) > 0  # in mixed order


def test_batches_are_the_squares_of_both_stores():
    made = corpus.prepare(asked(), "real")
    batches = images.Batches(made, torch.device("cpu"))
    index = np.array([len(made) - 1, 0, 7])
    squares, valid = batches(index)
    for square, i in zip(squares.numpy(), index, strict=True):
        assert np.array_equal(square, made.stores[made.store[i]][made.row[i]])
    assert valid.tolist() == made.valid[index].tolist()
    rows = made.order(4, 0, 0)
    for (read, box), row in zip(batches.stream(rows), rows, strict=True):  # read ahead: the same, in the same order
        assert read.equal(batches(row)[0]) and box.equal(batches(row)[1])


def test_bad_words():
    with pytest.raises(UsageError, match="'fracatlas' is not name:split"):
        corpus.prepare(asked("fracatlas"), "real")
    for weight in ("0", "-1", "much", "1:1", ""):
        with pytest.raises(UsageError, match="is not name:split or name:split:weight"):
            corpus.prepare(asked(f"fracatlas:clean:{weight}"), "real")
    with pytest.raises(UsageError, match="sets is empty"):
        corpus.prepare(Pretrain((), 32, 1), "real")
    with pytest.raises(UsageError, match="'cleen' is no split"):
        corpus.prepare(asked("fracatlas:cleen"), "real")
    with pytest.raises(OrthoError, match="holds none of the folders"):
        corpus.prepare(asked("mura:official"), "real")


def test_defaults_by_the_size_of_the_data():
    assert by_size(asked(), 7_500) == (1024, 0.02, 0.99)
    assert by_size(asked(), 40_005) == (2048, 0.02, 0.99)
    assert by_size(asked(prototypes=64, momentum=0.9), 10**7) == (64, 0.07, 0.9)
