"""What a classifier gets: every row's pixels, label, part and side belong to the image it is named after."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ortholib import paths
from ortholib.data import datasets, pixels, tasks
from ortholib.data.files import Plane
from ortholib.errors import OrthoError, UsageError

SIZE = 24


@pytest.fixture
def real(phantom, monkeypatch):
    """The phantom stands where the real sets would."""
    monkeypatch.setenv("ORTHOLIB_DATA", str(phantom))
    return phantom


def test_every_row_belongs_to_its_image(real):
    truth = pd.read_parquet(real / "truth" / "knee.parquet").set_index("image_id")
    data = tasks.prepare("kneekl", "kl", "official", SIZE, "real")
    assert sorted(data.unit_id) == sorted(truth.index) and data.classes == ["KL 0", "KL 1", "KL 2", "KL 3", "KL 4"]
    truth = truth.loc[data.unit_id]
    assert (data.y == truth["kl"]).all() and (data.part == truth["part"]).all()
    assert (data.group == truth["patient"]).all() and data.kind == "ordinal"
    assert (data.mirror == [name.endswith("L") for name in data.unit_id]).all() and 0 < data.mirror.sum() < 40
    for row, path in zip(data.row, truth["path"], strict=True):
        assert np.array_equal(data.pixels[row], pixels.square(Plane(real / "kneeKL224" / path), SIZE)[0])
    assert len(set(data.row)) == 40


def test_tasks_ask_for_their_own_label(real, films):
    oa = tasks.prepare("kneekl", "oa", "official", SIZE, "real")
    kl = tasks.prepare("kneekl", "kl", "official", SIZE, "real")
    assert (oa.y == (kl.y >= 2)).all() and oa.kind == "binary" and oa.identity["pixels"] == kl.identity["pixels"]
    assert oa.identity["labels"] != kl.identity["labels"]
    fracture = tasks.prepare("fracatlas", "fracture", "clean", SIZE, "real")
    assert (fracture.y == films.loc[fracture.unit_id, "fractured"]).all() and not fracture.mirror.any()


def test_fractions_nest_and_spare_validation_and_test(real):
    kept, identities = [], set()
    for fraction in (0.125, 0.25, 0.5, 1.0):
        data = tasks.prepare("fracatlas", "fracture", "clean", SIZE, "real", fraction)
        kept.append({part: set(data.unit_id[data.part == part]) for part in ("train", "val", "test")})
        identities.add(data.identity["labels"])
    assert len(identities) == 4  # a fit of one fraction is never taken for another's
    for fewer, more in pairwise(kept):
        assert fewer["train"] < more["train"]
        assert fewer["val"] == more["val"] and fewer["test"] == more["test"]


def test_an_image_that_cannot_be_packed_is_left_out(real, monkeypatch):
    whole = tasks.prepare("kneekl", "kl", "official", SIZE, "real")
    lost, one = whole.unit_id[3], pixels._one
    monkeypatch.setenv("ORTHOLIB_RUNS", str(paths.runs() / "again"))
    damaged = (np.zeros((SIZE, SIZE), np.uint8), [0, 0, 0, 0], "truncated")
    monkeypatch.setattr(pixels, "_one", lambda plane, size: damaged if plane.path.stem == lost else one(plane, size))
    data = tasks.prepare("kneekl", "kl", "official", SIZE, "real")
    assert data.unit_id.tolist() == [name for name in whole.unit_id if name != lost]
    assert (data.y == whole.y[whole.unit_id != lost]).all() and data.identity != whole.identity


def test_unknown_words(real):
    with pytest.raises(UsageError, match="'age' is no task; known: kl, oa, abnormal, fracture"):
        tasks.prepare("kneekl", "age", "official", SIZE, "real")
    with pytest.raises(UsageError, match=r"fraction 0\.3 is not offered; expected one of 0\.125, 0\.25, 0\.5, 1\.0"):
        tasks.prepare("kneekl", "kl", "official", SIZE, "real", 0.3)
    with pytest.raises(UsageError, match="'brain' is no registered data set; known: fracatlas, kneekl"):
        tasks.prepare("brain", "kl", "official", SIZE, "real")
    with pytest.raises(OrthoError, match="fracatlas has no label 'kl'"):
        tasks.prepare("fracatlas", "kl", "clean", SIZE, "real")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("shape", [(301, 200), (200, 301), (250, 250)])
def test_boxes_lie_on_what_they_mark(fracatlas, films, orientation, shape):
    """A white rectangle drawn in the transposed frame is found in the square where its YOLO box is placed."""
    victim = films.index[(films["defect"] == "") & (films["fracture_count"] == 1)][0]
    height, width = shape
    x0, y0, x1, y1 = 40, 120, 90, 180
    shown = np.full(shape, 60, np.uint8)
    shown[y0:y1, x0:x1] = 255
    undo = {1: shown, 3: np.rot90(shown, 2), 6: np.rot90(shown, 1), 8: np.rot90(shown, -1)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(undo)).save(fracatlas / films.loc[victim, "path"], exif=exif, quality=95)
    yolo = f"0 {(x0 + x1) / 2 / width} {(y0 + y1) / 2 / height} {(x1 - x0) / width} {(y1 - y0) / height}\n"
    (fracatlas / "Annotations" / "YOLO" / f"{victim}.txt").write_text(yolo)
    whole = datasets.SETS["fracatlas"].read(fracatlas)
    store = tasks.pack(whole, 150)
    y, x = np.nonzero(store.pixels[store.rows([victim])[0]] > 160)
    found = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
    boxes = tasks.boxes_in_store(whole, victim, 150)
    assert boxes.shape == (1, 4) and np.abs(boxes[0] - found).max() <= 1
    assert tasks.boxes_in_store(whole, films.index[~films["fractured"]][0], 150).shape == (0, 4)
