"""The knee reader: equal to the phantom's truth, knows every spelling, and a bad file or name costs only itself."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from ortholib.data import datasets
from ortholib.data.sets.kneekl import read
from ortholib.errors import OrthoError

SPELLINGS = {
    "Mendeley": ["0", "1", "2", "3", "4"],
    "Kaggle, numbered": ["0Normal", "1Doubtful", "2Mild", "3Moderate", "4Severe"],
    "Kaggle, spaced": ["0 - Normal", "1 - Doubtful", "2 - Minimal", "3 - Moderate", "4 - Severe"],
    "words": ["Normal", "Doubtful", "Minimal", "Moderate", "Severe"],
}


def assert_kept(damaged, sound, lost: set[str], *, unreadable: bool = False) -> None:
    """All but `lost` is as before, wherever its file lies; `lost` is gone, or listed as unreadable."""
    columns = [c for c in sound.images.columns if c != "path"]
    before, now = (s.images[columns].set_index("image_id").sort_index() for s in (sound, damaged))
    pd.testing.assert_frame_equal(now.drop(lost & set(now.index)), before.drop(lost))
    assert lost & set(now.index) == (lost if unreadable else set()) and lost.isdisjoint(damaged.usable["image_id"])
    for name in ("kl", "oa"):
        kept = before.index.difference(lost)
        assert damaged.label(name)[kept].equals(sound.label(name)[kept])


def test_equals_the_truth(sound, phantom):
    truth = pd.read_parquet(phantom / "truth" / "knee.parquet").set_index("image_id")
    found = sound["kneekl"]
    images = found.images.set_index("image_id")
    assert set(images.index) == set(truth.index) and images["readable"].all() and len(images) == 40
    truth = truth.loc[images.index]
    assert (images["path"] == truth["path"]).all() and (images["official_part"] == truth["part"]).all()
    for column in ("group", "exam"):
        assert (images[column] == truth["patient"]).all()
    assert (images["plane"] == images.index.str[-1]).all() and set(images["plane"]) == {"L", "R"}
    assert (found.label("kl") == truth["kl"]).all() and (found.label("oa") == (truth["kl"] >= 2)).all()
    assert found.notes == [] and found.grouped_by == "patient" and found.boxes.empty
    assert (images["width"] > 0).all() and found.version == "unknown release"


@pytest.mark.parametrize("names", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_spellings(kneekl, sound, names, val):
    (kneekl / "val").rename(kneekl / "v")
    (kneekl / "v").rename(kneekl / val)
    for part in ("train", val, "test"):
        for grade, name in enumerate(names):
            (kneekl / part / str(grade)).rename(kneekl / part / f"x{grade}")
            (kneekl / part / f"x{grade}").rename(kneekl / part / name)
    found = read(kneekl)
    assert_kept(found, sound["kneekl"], set())
    assert found.notes == []


def test_auto_test_is_left_out_and_noted(kneekl, sound):
    shutil.copytree(kneekl / "test", kneekl / "auto_test")
    found = read(kneekl)
    assert_kept(found, sound["kneekl"], set())
    assert found.notes == ["auto_test/ left out: the same test knees, cropped a second time"]


@pytest.mark.parametrize("inside", ["", "kneeKL224", "KneeXrayData/ClsKLData/kneeKL224", "archive"])
def test_found_below_the_root_that_is_named(kneekl, sound, tmp_path, inside):
    root = tmp_path / "unpacked"
    (root / inside).parent.mkdir(parents=True, exist_ok=True)
    kneekl.rename(root / inside)
    assert_kept(datasets.load("kneekl", root=root), sound["kneekl"], set())


def victim(root: Path, sound, part: str = "train") -> tuple[str, Path]:
    row = sound["kneekl"].images.query("official_part == @part").iloc[0]
    return row["image_id"], root / row["path"]


@pytest.mark.parametrize(("content", "reason"), [(b"", "empty file (0 bytes)"), (b"hello", "not an image"), (None, "")])
def test_one_bad_file_costs_only_itself(kneekl, sound, content, reason):
    name, path = victim(kneekl, sound)
    path.write_bytes(path.read_bytes()[:900] if content is None else content)
    found = read(kneekl)
    assert_kept(found, sound["kneekl"], {name}, unreadable=True)
    assert found.images.set_index("image_id").loc[name, "reason"] == (reason or "truncated")


def test_link_out_of_the_root(kneekl, sound, tmp_path):
    name, path = victim(kneekl, sound)
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    found = read(kneekl)
    assert_kept(found, sound["kneekl"], {name}, unreadable=True)
    assert found.images.set_index("image_id").loc[name, "reason"] == "a link out of the data root"


@pytest.mark.parametrize("copy", ["{}.png", "{} (1).jpg", "../../test/0/{}.jpg", "../0/{}.jpeg"])
def test_knee_that_stands_twice_costs_all_its_files_and_nothing_else(kneekl, sound, copy):
    name, path = victim(kneekl, sound)
    twin = path.parent / copy.format(name)
    shutil.copy(path, twin)
    found = datasets.load("kneekl", root=kneekl)
    assert_kept(found, sound["kneekl"], {name})
    assert len(found.notes) == 1 and found.notes[0].startswith(f"{name}: stands for 2 files")
    assert path.name in found.notes[0] and twin.resolve().relative_to(kneekl).as_posix() in found.notes[0]


@pytest.mark.parametrize("name", ["knee.jpg", "123456L.jpg", "12345678L.jpg", "9000001X.jpg", "README.txt"])
def test_names_that_are_no_knee_are_left_out_and_noted(kneekl, sound, name):
    shutil.copy(victim(kneekl, sound)[1], kneekl / "train" / "0" / name)
    found = read(kneekl)
    assert_kept(found, sound["kneekl"], set())
    assert found.notes == [f"train/0/{name}: not named like 9003175L.png (7-digit patient, side); left out"]


def test_name_with_separator_and_small_letter(kneekl, sound):
    name, path = victim(kneekl, sound)
    path.rename(path.with_name(f"{name[:7]}_{name[7].lower()}.JPG"))
    assert_kept(read(kneekl), sound["kneekl"], set())


def test_folder_that_is_no_grade_is_noted_and_so_is_a_grade_without_folder(kneekl, sound):
    (kneekl / "test" / "5").mkdir()
    shutil.rmtree(kneekl / "val" / "4")  # the phantom of 40 knees has none of grade 4
    found = read(kneekl)
    assert_kept(found, sound["kneekl"], set())
    assert found.notes == [
        "test/5: the folder's name is no grade (0 to 4); left out",
        "val: no folder of grade 4",
    ]


def test_wrong_or_empty_root(phantom, kneekl, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OrthoError, match=r"FracAtlas is not the knee KL set: it holds Annotations.*--root"):
        datasets.load("kneekl", root=phantom / "FracAtlas")
    with pytest.raises(OrthoError, match=r"empty is not the knee KL set: it holds nothing; expected train/"):
        datasets.load("kneekl", root=tmp_path / "empty")
    with pytest.raises(OrthoError, match=r"nowhere is not a folder; expected the root of Knee Osteo"):
        datasets.load("kneekl", root=tmp_path / "nowhere")
    for path in kneekl.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(OrthoError, match=r"the grade folders hold no file\. Unpack"):
        read(kneekl)
    Image.new("L", (9, 9)).save(kneekl / "train" / "0" / "cat.jpg")
    with pytest.raises(OrthoError, match=r"none of its 1 files is named like 9003175L.*/cat\.jpg\)\. Is this another"):
        read(kneekl)


def test_data_folder_without_the_set(monkeypatch, tmp_path):
    monkeypatch.setenv("ORTHOLIB_DATA", str(tmp_path))
    with pytest.raises(OrthoError, match=r"holds none of the folders kneeKL224, .*unpack it .doi 10\.17632/56rmx5bjcr"):
        datasets.load("kneekl")


@pytest.mark.parametrize(
    ("counts", "version"),
    [((5778, 826, 1656), "Mendeley v1 (2018)"), ((4578, 826, 1656), "kneeKL224, CLAHE copy")],
)
def test_releases_are_recognised(tmp_path, counts, version):
    root, number = tmp_path / "kneeKL224", 9_000_000
    tiny = tmp_path / "tiny.jpg"
    Image.new("L", (8, 8)).save(tiny)
    for part, n in zip(("train", "val", "test"), counts, strict=True):
        for grade in range(5):
            (root / part / str(grade)).mkdir(parents=True)
        for i in range(n):
            os.link(tiny, root / part / str(i % 5) / f"{number + i // 2}{'LR'[i % 2]}.jpg")
        number += n
    some = root / "train" / "0" / "9000000L.jpg"
    some.unlink()
    some.write_bytes(b"cut")  # a damaged copy of a release is still a copy of that release
    found = read(root)
    assert found.version.startswith(version) and len(found.images) == sum(counts) == len(found.usable) + 1
    some.unlink()
    assert read(root).version == "unknown release"
