"""The counts of the real sets, where they are: set ORTHOLIB_DATA to the folder that holds FracAtlas/ and kneeKL224/."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ortholib.data import audit, datasets, files, split
from ortholib.data.copies import grouped

ROOT = Path(os.environ.get("ORTHOLIB_DATA") or "absent")


def needs(folder: str):
    return pytest.mark.skipif(not (ROOT / folder).is_dir(), reason=f"ORTHOLIB_DATA names no folder with {folder}/")


@pytest.fixture(scope="module")
def atlas(tmp_path_factory, tree):
    """(set grouped by copies, its copies); the folder is the same before and after."""
    before = tree(ROOT / "FracAtlas")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORTHOLIB_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield grouped(datasets.SETS["fracatlas"].read(ROOT / "FracAtlas"))
    assert tree(ROOT / "FracAtlas") == before


@pytest.fixture(scope="module")
def knees(tree):
    before = tree(ROOT / "kneeKL224")
    yield datasets.load("kneekl", root=ROOT)
    assert tree(ROOT / "kneeKL224") == before


@needs("FracAtlas")
def test_fracatlas_counts(atlas):
    whole, _ = atlas
    assert whole.version == "2023 (figshare v1)"
    assert len(whole.images) == 4083 and len(whole.usable) == 4024 and len(whole.boxes) == 922
    fractured = whole.label("fractured")
    assert fractured.value_counts().to_dict() == {0: 3366, 1: 717}
    bad = whole.images[~whole.images["readable"]]
    assert set(bad["reason"]) == {"truncated"} and len(bad) == 59 and not fractured[bad["image_id"]].any()
    assert len(whole.notes) == 1 and whole.notes[0].startswith("IMG0003298: ") and fractured["IMG0003298"] == 1
    parts = whole.images["official_part"].value_counts().to_dict()
    assert parts == {"": 3366, "train": 574, "val": 82, "test": 61}
    boxes = whole.boxes.merge(whole.images[["image_id", "official_part", "width", "height"]], on="image_id")
    assert boxes["official_part"].value_counts().to_dict() == {"train": 764, "val": 91, "test": 67}
    assert (boxes["x1"] <= boxes["width"] + 1).all() and (boxes["y1"] <= boxes["height"] + 1).all()
    area = (boxes["x1"] - boxes["x0"]) * (boxes["y1"] - boxes["y0"]) / (boxes["width"] * boxes["height"])
    assert 0.0038 < area.median() < 0.0042


@needs("FracAtlas")
def test_fracatlas_orientation(atlas):
    turned = []
    for row in atlas[0].usable.itertuples():
        with Image.open(ROOT / "FracAtlas" / row.path) as image:
            turn = files.orientation(image)
            assert (row.width, row.height) == (image.size[::-1] if turn >= 5 else image.size)
            turned += [row.image_id] if turn != 1 else []
    assert len(turned) == 25 and {"IMG0002588", "IMG0002628"} <= set(turned)


@needs("FracAtlas")
def test_fracatlas_copies(atlas):
    whole, copies = atlas
    near = copies["near"].value_counts()
    assert (near > 1).sum() == 85
    # 79 groups of 163 files as released; one of them is a pair of truncated files
    identical = copies["identical"].value_counts()
    assert (identical > 1).sum() == 78 and identical[identical > 1].sum() == 161
    y = whole.images["image_id"].map(whole.label("fractured"))
    opposite = whole.images.assign(y=y).groupby("group")["y"].nunique() > 1
    assert opposite.sum() == 4
    group = copies.set_index("image_id")["near"]
    assert group["IMG0002886"] == group["IMG0004243"]
    assert group["IMG0003034"] == group["IMG0004314"] == group["IMG0004341"]
    part = whole.images.set_index("image_id").groupby("group")["official_part"].agg(set)
    crossing = whole.images["group"].map(lambda g: {"train", "val"} <= part[g]) & (
        whole.images["official_part"] == "val"
    )
    assert crossing.sum() in (13, 14) and not part.map(lambda p: "test" in p and len(p - {""}) > 1).any()


@needs("FracAtlas")
def test_fracatlas_clean_split(atlas):
    made = split.make(atlas[0], "clean", "fractured")
    assert made.cut_groups == 0 and made.excluded == 9 and len(made.images) == 4024 - 9
    assert made.hash == "5ef8da4cef57a402"  # the one all chapters share


@needs("FracAtlas")
def test_codec_downscaling_of_real_films(atlas):
    rows = atlas[0].usable
    for row in rows[rows["width"] > 2000].iloc[::60].itertuples():
        path = ROOT / "FracAtlas" / row.path
        ours = files.read(path, 224).astype(int)
        full = Image.fromarray(files.read(path))
        assert np.abs(ours - np.asarray(full.resize(ours.shape[::-1], Image.Resampling.BICUBIC))).mean() < 1.0


@needs("kneeKL224")
def test_knee_counts(knees):
    assert knees.version.startswith("kneeKL224, CLAHE copy") and knees.notes == []
    assert len(knees.images) == len(knees.usable) == 7060
    counts = knees.images.assign(kl=knees.images["image_id"].map(knees.label("kl")))
    counts = counts.groupby("official_part")["kl"].agg(lambda y: y.value_counts().sort_index().tolist())
    assert counts["train"] == [1812, 858, 1181, 592, 135]
    assert counts["val"] == [328, 153, 212, 106, 27]
    assert counts["test"] == [639, 296, 447, 223, 51]
    assert knees.images["group"].nunique() == 3530


@needs("kneeKL224")
def test_no_patient_crosses_the_official_parts(knees):
    made = split.make(knees, "official", "kl")
    assert made.cut_groups == 0 and len(made.images) == 7060
    assert (made.images.groupby("group")["part"].nunique() == 1).all()


@needs("FracAtlas")
def test_fracatlas_audit(atlas):
    counts = audit.run(atlas[0], "fractured").counts
    assert counts["truncated"] == 59 and counts["exif_rotated"] == 25
    assert (counts["pixel_duplicate_groups"], counts["pixel_duplicate_images"]) == (79, 163)
    assert counts["pixel_duplicate_groups_truncated"] == 1
    assert counts["near_duplicate_groups"] == 85 and counts["conflicting_groups"] == 4
    assert counts["leaked"] == {"train": 14, "val": 14, "test": 0}
    assert counts["leaked_identical"] == {"train": 8, "val": 8, "test": 0}
