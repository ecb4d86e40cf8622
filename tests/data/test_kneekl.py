"""The knee reader: equal to the phantom's truth, and knows every spelling (see `test_readers` too)."""

import shutil

import pandas as pd
import pytest
from trees import assert_kept, victim

from ortholib.data import datasets
from ortholib.data.sets.kneekl import read
from ortholib.errors import OrthoError

SET = "kneekl"
SPELLINGS = {
    "Mendeley": ["0", "1", "2", "3", "4"],
    "Kaggle, numbered": ["0Normal", "1Doubtful", "2Mild", "3Moderate", "4Severe"],
    "Kaggle, spaced": ["0 - Normal", "1 - Doubtful", "2 - Minimal", "3 - Moderate", "4 - Severe"],
    "words": ["Normal", "Doubtful", "Minimal", "Moderate", "Severe"],
}


def test_equals_the_truth(whole, phantom):
    truth = pd.read_parquet(phantom / "truth" / "knee.parquet").set_index("image_id")
    images = whole.images.set_index("image_id")
    assert set(images.index) == set(truth.index) and images["readable"].all() and len(images) == 40
    truth = truth.loc[images.index]
    assert (images["path"] == truth["path"]).all() and (images["official_part"] == truth["part"]).all()
    for column in ("group", "exam"):
        assert (images[column] == truth["patient"]).all()
    assert (images["plane"] == images.index.str[-1]).all() and set(images["plane"]) == {"L", "R"}
    assert (whole.label("kl") == truth["kl"]).all() and (whole.label("oa") == (truth["kl"] >= 2)).all()
    assert whole.notes == [] and whole.grouped_by == "patient" and whole.boxes.empty
    assert (images["width"] > 0).all() and whole.version == "unknown release"


@pytest.mark.parametrize("names", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_spellings(root, whole, names, val):
    (root / "val").rename(root / "v")
    (root / "v").rename(root / val)
    for part in ("train", val, "test"):
        for grade, name in enumerate(names):
            (root / part / str(grade)).rename(root / part / f"x{grade}")
            (root / part / f"x{grade}").rename(root / part / name)
    found = read(root)
    assert_kept(found, whole, moved=True)
    assert found.notes == []


def test_auto_test_is_left_out_and_noted(root, whole):
    shutil.copytree(root / "test", root / "auto_test")
    found = read(root)
    assert_kept(found, whole)
    assert found.notes == ["auto_test/ left out: the same test knees, cropped a second time"]


@pytest.mark.parametrize("inside", ["", "kneeKL224", "KneeXrayData/ClsKLData/kneeKL224", "archive"])
def test_found_below_the_root_that_is_named(root, whole, tmp_path, inside):
    unpacked = tmp_path / "unpacked"
    (unpacked / inside).parent.mkdir(parents=True, exist_ok=True)
    root.rename(unpacked / inside)
    assert_kept(datasets.load("kneekl", root=unpacked), whole)


def test_name_with_separator_and_small_letter(root, whole):
    path = root / victim(whole)[0]
    path.rename(path.with_name(f"{path.stem[:7]}_{path.stem[7].lower()}.JPG"))
    assert_kept(read(root), whole, moved=True)


def test_folder_that_is_no_grade_is_noted_and_so_is_a_grade_without_folder(root, whole):
    (root / "test" / "5").mkdir()
    shutil.rmtree(root / "val" / "4")  # the phantom of 40 knees has none of grade 4
    found = read(root)
    assert_kept(found, whole)
    assert found.notes == [
        "test/5: the folder's name is no grade (0 to 4); left out",
        "val: no folder of grade 4",
    ]


def test_data_folder_without_the_set(monkeypatch, tmp_path):
    monkeypatch.setenv("ORTHOLIB_DATA", str(tmp_path))
    with pytest.raises(OrthoError, match=r"holds none of the folders kneeKL224, .*unpack it .doi 10\.17632/56rmx5bjcr"):
        datasets.load("kneekl")
