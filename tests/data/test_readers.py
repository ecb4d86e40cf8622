"""What holds of every reader: one bad file, name or line costs only itself and is said, and the root is left alone."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from trees import DAMAGES, TITLES, assert_kept, boxes, new_notes, put, save, table, victim

from ortholib.data import datasets
from ortholib.errors import OrthoError

WITH_TABLE = ("fracatlas", "grazpedwri")  # dataset.csv and YOLO files
YOLO = {"fracatlas": "Annotations/YOLO", "grazpedwri": "folder_structure/yolov5/labels"}


@pytest.fixture(params=TITLES)
def name(request) -> str:
    return request.param


@pytest.fixture
def read(name):
    return datasets.SETS[name].read


def only(*names: str):
    return pytest.mark.parametrize("name", names)


@pytest.mark.parametrize("kind", DAMAGES)
def test_one_bad_file_costs_only_itself(root, whole, read, name, kind):
    damage, reason = DAMAGES[kind]
    path, lost = victim(whole)
    damage(root / path)
    found = read(root)
    absent = kind in ("gone", "folder")
    assert_kept(found, whole, lost, listed=name != "kneekl" or not absent)  # no table names the knees
    listed = found.images[found.images["image_id"].isin(lost)]
    if name != "mrnet" or kind not in ("text", "huge"):  # of arrays numpy says what is wrong
        assert set(listed["reason"]) <= {reason}
    noted = new_notes(found, whole)
    assert len(noted) == (absent and name != "kneekl") and all("listed as unreadable" in note for note in noted)
    assert os.path.lexists(root / path) or set(listed["path"]) <= {path, *lost}
    if not datasets.SETS[name].patients:  # the search for copies takes it too
        assert set(datasets.load(name, root=root).usable["image_id"]) == set(found.usable["image_id"])


TWINS = [
    *[("fracatlas", twin) for twin in ("{}.png", "../Non_fractured/{}.jpg", "../Non_fractured/{}.png")],
    ("grazpedwri", "../images_part4/{}.jpg"),
    *[("kneekl", twin) for twin in ("{}.png", "{} (1).jpg", "../../train/0/{}.jpg", "../0/{}.jpeg")],
    ("mura", "{}.jpg"),
    ("oai", "002"),
]


@pytest.mark.parametrize(("name", "twin"), TWINS)
def test_image_that_stands_twice_costs_all_its_files_and_nothing_else(root, whole, read, twin):
    path, lost = victim(whole)
    copy = (root / path).parent / twin.format(Path(path).stem)
    shutil.copy(root / path, copy)
    found = read(root)
    assert_kept(found, whole, lost)
    (said,) = [note for note in new_notes(found, whole) if min(lost) in note]
    assert said.startswith(f"{min(lost)}: stands for 2 files or lines (") and "all left out, remove" in said
    assert path in said and copy.resolve().relative_to(root).as_posix() in said


def test_files_of_the_desktop_are_no_data(root, whole, read):
    folder = (root / victim(whole)[0]).parent
    for junk in (folder / "._image1.png", folder / ".DS_Store", folder / "Thumbs.db", root / "._x.png"):
        junk.write_bytes(b"\0\5\26\7")
    found = read(root)
    assert_kept(found, whole)
    assert found.notes == whole.notes


@pytest.mark.parametrize(
    ("name", "file", "said"),
    [
        ("fracatlas", "images/Fractured/holiday.jpg", "holiday: on disk but not in dataset.csv; left out"),
        ("grazpedwri", "images_part1/holiday.png", "holiday: on disk but not in dataset.csv; left out"),
        *[
            ("kneekl", file, f"{file}: not named like 9003175L.png (7-digit patient, side); left out")
            for file in (f"train/0/{stem}" for stem in ("knee.jpg", "123456L.jpg", "12345678L.jpg", "9000001X.jpg"))
        ],
        ("mrnet", "train/axial/README.txt", "train/axial/README.txt: not named like train/axial/0000.npy; left out"),
        ("mrnet", "train/axial/0777.npy", "train/axial/0777.npy: on disk but not in the label tables; left out"),
    ],
)
def test_file_that_is_no_image_of_the_set_is_left_out_and_noted(root, whole, read, file, said):
    shutil.copy(root / victim(whole)[0], root / file)
    found = read(root)
    assert_kept(found, whole)
    assert new_notes(found, whole) == [said]


def test_link_to_the_root_and_links_inside_it_are_fine(root, whole, read, tmp_path):
    path = root / victim(whole)[0]
    path.rename(root / "original.file")
    path.symlink_to(os.path.relpath(root / "original.file", path.parent))
    (tmp_path / "link").symlink_to(root)
    assert_kept(read(tmp_path / "link"), whole)


def test_wrong_or_empty_root(name, read, tmp_path):
    for inside, held in ((".", "nothing"), ("things/0", "things")):
        (tmp_path / "folder" / inside).mkdir(parents=True, exist_ok=True)
        with pytest.raises(OrthoError, match=rf"folder is not {TITLES[name]}: it holds {held}; expected .*--root"):
            read(tmp_path / "folder")
    with pytest.raises(OrthoError, match=r"nowhere is not a folder; expected the root of "):
        datasets.load(name, root=tmp_path / "nowhere")
    with pytest.raises(OrthoError, match=r"ORTHOLIB_DATA is not set.*--root"):
        datasets.load(name)


@only("fracatlas", "grazpedwri", "kneekl", "mura", "mrnet")
def test_folders_without_a_file(root, whole, read):
    for path in whole.images["path"].unique():
        (root / path).unlink(missing_ok=True)
    with pytest.raises(OrthoError, match=r"hold no file\. Unpack the release again"):
        read(root)


@only("kneekl", "mura")
def test_folders_of_other_images(root, whole, read, name):
    folder = (root / victim(whole)[0]).parent
    for path in whole.images["path"].unique():
        (root / path).unlink(missing_ok=True)
    Image.new("L", (9, 9)).save(folder / "cat.png")
    with pytest.raises(OrthoError, match=r"none of its 1 files is named like .*/cat\.png\)\. Is this another data set"):
        read(root)


RELEASES = {
    "fracatlas": {(717, 3366, 922): "2023 (figshare v1)", (719, 3364, 924): "2026 (figshare v7)"},
    "grazpedwri": {20327: "2022 (figshare 14825193)"},
    "kneekl": {
        (5778, 826, 1656): "Mendeley v1 (2018)",
        (4578, 826, 1656): "kneeKL224, CLAHE copy (600 training patients left out)",
    },
    "mrnet": {(1130, 120): "MRNet-v1.0 (2018)"},
    "mura": {(36808, 3197): "v1.1"},
}


@only(*RELEASES)
def test_release_is_recognised_by_its_files(root, whole, read, name, monkeypatch):
    known = sys.modules[read.__module__].RELEASES
    assert known == RELEASES[name] and whole.version == "unknown release"
    files = whole.images[whole.images["reason"] != "missing file"]
    parts = files.groupby("official_part")["exam" if name == "mrnet" else "image_id"].nunique()
    fractured = files["path"].str.contains("/Fractured/").sum()
    keys = {
        "fracatlas": (fractured, len(files) - fractured, len(whole.boxes)),
        "grazpedwri": len(files),
        "kneekl": tuple(parts.reindex(["train", "val", "test"])),
    }
    monkeypatch.setitem(known, keys.get(name, tuple(parts.reindex(["train", "test"]))), "here")
    assert read(root).version == "here"
    path = root / victim(whole)[0]
    put(path, b"cut")
    assert read(root).version == "here"  # a damaged copy of a release is still a copy of that release
    path.unlink()
    assert read(root).version == ("here" if name == "mrnet" else "unknown release")  # its tables name the exams


def test_reading_leaves_the_root_as_it_is(root, read, tree):
    before = tree(root)
    read(root)
    assert tree(root) == before


# a table with a line an image


NUMBERS = [
    ("fracatlas", c, v, "0, 1 or a count")
    for c in ("fracture_count", "hand")
    for v in ("", "many", "-1", "0.5", "inf", "NaN")
]
NUMBERS += [
    ("grazpedwri", c, v, "a whole number")
    for c in ("patient_id", "projection")
    for v in ("", "many", "0", "-1", "1.5", "inf", "1e308")
]
SHOWN = {"": "nan", "NaN": "nan", "1e308": "1e+308"}
NUMBERS += [("grazpedwri", "cast", v, "0, 1 or nothing") for v in ("yes", "2", "-1", "0.5")]


@pytest.mark.parametrize(("name", "column", "value", "expected"), NUMBERS)
def test_bad_number_costs_its_line_only(root, whole, read, column, value, expected):
    rows = table(root)
    rows.loc[3, column] = value
    save(root, rows)
    found = read(root)
    lost = Path(rows.iloc[3, 0]).stem
    assert_kept(found, whole, {lost})
    (said,) = new_notes(found, whole)
    assert said.startswith(f"dataset.csv, line 5 ({lost}): {column} = {SHOWN.get(value, value)}")
    assert said.endswith(f", expected {expected}; its image is left out")


NO_LINE = [("fracatlas", "hand", "0, 1 or a count"), ("grazpedwri", "patient_id", "a whole number")]


@pytest.mark.parametrize(("name", "column", "said"), NO_LINE)
def test_no_good_line_at_all(root, read, column, said):
    save(root, table(root).assign(**{column: "x"}))
    with pytest.raises(OrthoError, match=rf"dataset\.csv: no line has {said} in {column}.*Unpack"):
        read(root)


@only(*WITH_TABLE)
def test_repeated_line_of_the_table(root, whole, read):
    rows = table(root)
    save(root, pd.concat([rows, rows[:1]]))
    found, lost = read(root), Path(rows.iloc[0, 0]).stem
    assert_kept(found, whole, {lost})
    assert new_notes(found, whole) == [
        f"{lost}: stands for 2 files or lines (2, {len(rows) + 2}); all left out, remove or rename the extra copies"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"dataset\.csv is missing; expected CSV with the columns .*Unpack"),
        (b"", r"dataset\.csv is no readable table.*columns .*Unpack"),
        (b"\xff\xfe\x00\x01" * 50, r"dataset\.csv is no readable table.*Unpack"),
        (b'image_id,hand\n"a,1\n', r"dataset\.csv"),
        (b"image,hand\nIMG0000000.jpg,1\n", r"lacks the columns (image_id|filestem), .*it has image, hand.*Unpack"),
    ],
)
@only(*WITH_TABLE)
def test_table_missing_or_damaged(root, read, content, message):
    (root / "dataset.csv").unlink()
    if content is not None:
        (root / "dataset.csv").write_bytes(content)
    with pytest.raises(OrthoError, match=message):
        read(root)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@only(*WITH_TABLE)
def test_table_with_and_without_byte_order_mark(root, whole, read, encoding):
    table(root).to_csv(root / "dataset.csv", index=False, encoding=encoding)
    assert_kept(read(root), whole)


GARBAGE = ["fracture", "0 0.5 0.5 0.1", "0 a b c d", "0 0.5 0.5 nan 0.1", "0 1.5 0.5 0.1 0.1", "0 0.5 0.5 -0.1 0.1"]
GARBAGE += ["0 0.5 0.5 0 0.1", "0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2", "\x00\x01", "nan 0.5 0.5 0.1 0.1"]
GARBAGE += ["9 0.5 0.5 0.1 0.1", "-1 0.5 0.5 0.1 0.1", "0.5 0.5 0.5 0.1 0.1"]


@only(*WITH_TABLE)
def test_garbage_in_a_yolo_file_costs_its_lines_only(root, whole, read, name):
    (image_id,) = victim(whole)[1]
    path = root / YOLO[name] / f"{image_id}.txt"
    path.write_bytes("\n".join([*GARBAGE, path.read_text()]).encode() + b"\xff\xfe\n")
    found = read(root)
    assert_kept(found, whole)
    noted = new_notes(found, whole)
    assert len(noted) == len(GARBAGE) + 1
    assert all(note.startswith(f"{path.name}, line {i}: '") for i, note in enumerate(noted[:-1], 1))
    span = "0" if name == "fracatlas" else "0 to 8"
    assert noted[2].endswith(f"line 3: '0 a b c d' is no YOLO box (class {span}, then x y w h, 0 to 1); left out")


@only(*WITH_TABLE)
def test_boxes_lie_in_their_images(whole):
    sizes = whole.images.set_index("image_id").loc[boxes(whole)["image_id"], ["width", "height"]]
    assert (boxes(whole)[["x1", "y1"]].to_numpy() <= sizes.to_numpy() + 0.05).all() and len(sizes)
    assert np.isfinite(boxes(whole)[["x0", "y0"]]).all(axis=None)
