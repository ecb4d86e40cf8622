"""What all readers share: the guard on ids, the search for a set's folder, its fingerprint and its summary."""

from dataclasses import replace

import pandas as pd
import pytest

from ortholib.data import datasets, table
from ortholib.errors import OrthoError, UsageError


def test_repeated_ids_never_get_into_a_set(sound):
    whole = sound["kneekl"]
    images = pd.concat([whole.images, whole.images.iloc[:1].assign(path="train/0/copy.jpg")], ignore_index=True)
    first = whole.images.iloc[0]
    with pytest.raises(
        OrthoError, match=f"'{first['image_id']}' stands for 2 files.*{first['path']}.*copy.jpg.*Remove"
    ):
        replace(whole, images=images)


def test_unique_ids_keeps_order_and_names_every_copy():
    frame = pd.DataFrame({"image_id": list("abcbda"), "path": [f"p{i}" for i in range(6)]})
    kept, notes = table.unique_ids(frame)
    assert kept.to_numpy().tolist() == [["c", "p2"], ["d", "p4"]] and kept.index.tolist() == [0, 1]
    assert [note.split(";")[0] for note in notes] == [
        "a: stands for 2 files or lines (p0, p5)",
        "b: stands for 2 files or lines (p1, p3)",
    ]


def test_locate(phantom, monkeypatch, tmp_path):
    assert datasets.locate("fracatlas", root=phantom) == phantom / "FracAtlas"
    assert datasets.locate("fracatlas", root=phantom / "FracAtlas") == phantom / "FracAtlas"
    monkeypatch.setenv("ORTHOLIB_DATA", str(phantom))
    assert datasets.locate("kneekl") == phantom / "kneeKL224"
    assert datasets.locate("fracatlas", root=tmp_path) == tmp_path  # an explicit root wins
    with pytest.raises(UsageError, match="'brain' is no registered data set; known: fracatlas, kneekl"):
        datasets.locate("brain", root=phantom)
    (tmp_path / "file").touch()
    with pytest.raises(OrthoError, match=r"file is not a folder"):
        datasets.locate("kneekl", root=tmp_path / "file")


def test_fingerprint_changes_with_any_file_and_only_then(fracatlas, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_DATA", str(fracatlas.parent))
    first = datasets.fingerprint("fracatlas", "real")
    assert datasets.fingerprint("fracatlas", "real") == first
    (fracatlas / "images" / "Fractured" / "new.jpg").touch()
    second = datasets.fingerprint("fracatlas", "real")
    (fracatlas / "dataset.csv").touch()
    assert len({first, second, datasets.fingerprint("fracatlas", "real")}) == 3


def test_summary(phantom):
    knees = datasets.summary(datasets.load("kneekl", root=phantom))
    assert knees["values"] == "0: 13, 1: 6, 2: 11, 3: 10" and knees["groups"] == 20 and knees["boxes"] == 0
    films = datasets.summary(datasets.load("fracatlas", root=phantom))
    assert (films["images"], films["readable"], films["groups"]) == (80, 77, 74) and films["values"] == "0: 60, 1: 20"
