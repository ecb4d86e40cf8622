"""The GRAZPEDWRI-DX reader: equal to the phantom's truth, 16 bits scaled, and a bad file or line costs only itself."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ortholib.data import files
from ortholib.data.sets import grazpedwri as module
from ortholib.data.sets.grazpedwri import read
from ortholib.errors import OrthoError
from ortholib.phantom.grazpedwri import write_grazpedwri

COUNT = 24
FLAGS = ["cast", "metal", "osteopenia", "diagnosis_uncertain", "initial_exam"]
CORNERS = ["x0", "y0", "x1", "y1"]
YOLO = Path("folder_structure/yolov5")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    root = tmp_path_factory.mktemp("graz") / "GRAZPEDWRI-DX"
    truth = write_grazpedwri(root, 3, COUNT, lambda function, tasks: [function(task) for task in tasks])
    return root, truth.set_index("image_id", drop=False)


@pytest.fixture(scope="module")
def truth(written):
    return written[1]


@pytest.fixture(scope="module")
def whole(written):
    return read(written[0])


@pytest.fixture
def root(written, tmp_path) -> Path:
    """A copy of the phantom that a test may damage."""
    return Path(shutil.copytree(written[0], tmp_path / "GRAZPEDWRI-DX"))


@pytest.fixture
def victim(truth) -> str:
    """A sound image with a fracture, which loses its boxes too."""
    return truth.index[(truth["defect"] == "") & (truth["fracture_visible"] == 1)][0]


def state(found) -> pd.DataFrame:
    images = found.images.set_index("image_id")
    return images.assign(**{name: found.label(name) for name in ["fracture", *FLAGS]})


def boxes(found, without: set[str] = frozenset()) -> pd.DataFrame:
    table = found.boxes[~found.boxes["image_id"].isin(without)]
    return table.sort_values(["image_id", "class", "x0", "y0"], ignore_index=True)


def assert_kept(damaged, whole, lost: set[str], *, unreadable: bool = False) -> None:
    """All but `lost` is as before, labels and boxes too; `lost` is gone, or listed as unreadable, without boxes."""
    before, now = (state(s).sort_index() for s in (whole, damaged))
    pd.testing.assert_frame_equal(now.drop(lost & set(now.index)), before.drop(lost))
    assert lost & set(now.index) == (lost if unreadable else set()) and lost.isdisjoint(damaged.usable["image_id"])
    pd.testing.assert_frame_equal(boxes(damaged), boxes(whole, lost))


def table(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "dataset.csv", encoding="utf-8-sig", dtype=str)


def save(root: Path, rows: pd.DataFrame) -> None:
    rows.to_csv(root / "dataset.csv", index=False, encoding="utf-8-sig")


def test_equals_the_truth(whole, truth):
    found = state(whole)
    assert set(found.index) == set(truth.index) and len(found) == COUNT
    truth = truth.loc[found.index]
    assert (found["path"] == truth["path"]).all() and (found["group"] == truth["patient_id"].astype(str)).all()
    assert (found["exam"] == truth["patient_id"].astype(str) + "-" + truth["study_number"].astype(str)).all()
    assert (found["plane"] == truth["laterality"] + truth["projection"].astype(str)).all()
    assert (found["view"] == truth["projection"].map({1: "frontal", 2: "lateral"})).all()
    assert (found["fracture"] == truth["fracture_visible"]).all()
    assert (found[FLAGS] == truth[FLAGS]).all(axis=None) and (found[["fracture", *FLAGS]].sum() > 0).sum() >= 4
    assert (found["reason"] == truth["defect"]).all() and (found["reason"] == "truncated").sum() == 1
    sound = found["readable"]
    assert (found.loc[sound, ["width", "height"]] == truth.loc[sound, ["width", "height"]]).all(axis=None)
    assert (found["official_part"] == "").all() and (found["body_part"] == "wrist").all()
    assert whole.grouped_by == "patient" and whole.notes == [] and whole.version == "unknown release"


def test_boxes_equal_the_truth(whole, truth):
    sound = truth[truth["defect"] == ""]
    rows = [(name, *box[1:], box[0]) for name, text in sound["boxes"].items() for box in json.loads(text)]
    drawn = pd.DataFrame(rows, columns=whole.boxes.columns)
    drawn = drawn.sort_values(["image_id", "class", "x0", "y0"], ignore_index=True)
    found = boxes(whole)
    assert (found[["image_id", "class"]] == drawn[["image_id", "class"]]).all(axis=None)
    assert np.abs(found[CORNERS] - drawn[CORNERS]).max(axis=None) < 0.05
    assert set(found["class"]) == {"fracture", "metal", "text"}


def test_sixteen_bits_are_scaled_and_not_clipped(whole, truth):
    for image in whole.usable.itertuples():
        with Image.open(whole.root / image.path) as opened:
            assert opened.mode == "I;16"
            deep = np.asarray(opened)
        assert deep.max() > 60_000 and len(np.unique(deep & 255)) > 200  # high and low bits are in use
        pixels = files.read(whole.root / image.path)
        assert pixels.mean() == pytest.approx(truth.loc[image.image_id, "gray"], abs=0.01)
        assert (pixels == 255).mean() < 0.1  # a clipped radiograph is white where there is anything


def test_boxes_are_where_the_picture_is_bright(whole):
    """A side marker and a wire are white, and their boxes are as tight as can be."""
    paths = whole.images.set_index("image_id")["path"]
    for box in whole.boxes[whole.boxes["class"].isin(["text", "metal"])].itertuples():
        pixels = files.read(whole.root / paths[box.image_id])
        x0, y0, x1, y1 = (round(v) for v in (box.x0, box.y0, box.x1, box.y1))
        inside = pixels[y0:y1, x0:x1] == 255
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_one_folder_of_images_and_images_in_the_root(root, whole):
    (root / "images").mkdir()
    for path in root.glob("images_part*/*.png"):
        path.rename(root / "images" / path.name)
    (root / "folder_structure" / "yolov5").rename(root / "yolov5")
    found = read(root)
    pd.testing.assert_frame_equal(*(state(s).drop(columns="path").sort_index() for s in (found, whole)))
    pd.testing.assert_frame_equal(boxes(found), boxes(whole))
    for path in root.glob("images/*.png"):
        path.rename(root / path.name)
    found = read(root)
    pd.testing.assert_frame_equal(*(state(s).drop(columns="path").sort_index() for s in (found, whole)))
    assert found.notes == []


def test_table_without_byte_order_mark_or_optional_columns(root, whole):
    rows = table(root).drop(columns=["age", "osteopenia", "timehash"])
    rows.to_csv(root / "dataset.csv", index=False)
    found = read(root)
    assert set(found.labels["label"]) == {"fracture", *FLAGS} - {"osteopenia"}
    assert found.label("fracture").equals(whole.label("fracture")) and found.notes == []


@pytest.mark.parametrize("value", ["", "many", "0", "-1", "1.5", "inf"])
@pytest.mark.parametrize("column", ["patient_id", "projection"])
def test_bad_number_costs_its_line_only(root, whole, truth, column, value):
    rows = table(root)
    rows.loc[3, column] = value
    save(root, rows)
    found = read(root)
    lost = rows.loc[3, "filestem"]
    assert_kept(found, whole, {lost})
    (note,) = found.notes
    assert note.startswith(f"dataset.csv, line 5 ({lost}): {column} = ") and "expected a whole number" in note


@pytest.mark.parametrize("value", ["yes", "2", "-1", "0.5"])
def test_bad_flag_costs_its_line_only(root, whole, value):
    rows = table(root)
    rows.loc[4, "cast"] = value
    save(root, rows)
    found = read(root)
    assert_kept(found, whole, {rows.loc[4, "filestem"]})
    assert (
        found.notes[0].startswith(f"dataset.csv, line 6 ({rows.loc[4, 'filestem']}): cast = ") and len(found.notes) == 1
    )
    assert "expected 0, 1 or nothing" in found.notes[0]


def test_no_good_line_at_all(root):
    save(root, table(root).assign(patient_id="x"))
    with pytest.raises(OrthoError, match=r"dataset\.csv: no line has a whole number in patient_id"):
        read(root)


def test_repeated_line_and_repeated_file(root, whole, victim, truth):
    rows = table(root)
    twice = rows["filestem"][1]
    save(root, pd.concat([rows, rows[1:2]]))
    found = read(root)
    assert_kept(found, whole, {twice})
    assert [note.split(" (")[0] for note in found.notes] == [f"{twice}: stands for 2 files or lines"]
    save(root, rows)
    shutil.copy(root / truth.loc[victim, "path"], root / "images_part4" / f"{victim}.jpg")
    found = read(root)
    assert_kept(found, whole, {victim})
    assert len(found.notes) == 1 and found.notes[0].startswith(f"{victim}: stands for 2 files or lines")


def test_name_that_contradicts_the_table_is_noted_and_the_table_used(root, whole, victim):
    rows = table(root)
    rows.loc[rows["filestem"] == victim, "patient_id"] = "999"
    save(root, rows)
    found = read(root)
    assert state(found).loc[victim, "group"] == "999" and len(found.notes) == 1
    assert found.notes[0].startswith(f"{victim}: named patient ") and found.notes[0].endswith("the table is used")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"dataset\.csv is missing.*Unpack"),
        (b"", r"dataset\.csv is no readable table.*columns filestem.*Unpack"),
        (b"\xff\xfe\x00\x01" * 50, r"dataset\.csv is no readable table.*Unpack"),
        (b"image_id,hand\nIMG0000000.jpg,1\n", r"lacks the columns filestem, .*it has image_id, hand.*Unpack"),
    ],
)
def test_table_missing_or_damaged(root, content, message):
    (root / "dataset.csv").unlink()
    if content is not None:
        (root / "dataset.csv").write_bytes(content)
    with pytest.raises(OrthoError, match=message):
        read(root)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty file (0 bytes)"), (b"hello", "not an image"), (None, "missing file")]
)
def test_one_bad_file_costs_only_itself(root, whole, truth, victim, content, reason):
    path = root / truth.loc[victim, "path"]
    path.unlink() if content is None else path.write_bytes(content)
    found = read(root)
    assert_kept(found, whole, {victim}, unreadable=True)
    assert state(found).loc[victim, "reason"] == reason
    assert len(found.notes) == (content is None) and all("listed as unreadable" in note for note in found.notes)


def test_link_out_of_the_root(root, whole, truth, victim, tmp_path):
    path = root / truth.loc[victim, "path"]
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    assert_kept(read(root), whole, {victim}, unreadable=True)


def test_extra_and_hidden_files(root, whole, truth, victim):
    shutil.copy(root / truth.loc[victim, "path"], root / "images_part1" / "holiday.png")
    (root / "images_part2" / "._0001.png").write_bytes(b"\0\5\26\7")
    (root / "._x.png").write_bytes(b"\0\5\26\7")
    found = read(root)
    assert_kept(found, whole, set())
    assert found.notes == ["holiday: on disk but not in dataset.csv; left out"]


GARBAGE = ["fracture", "3 0.5 0.5 0.1", "9 0.5 0.5 0.1 0.1", "-1 0.5 0.5 0.1 0.1", "3.5 0.5 0.5 0.1 0.1"]
GARBAGE += ["3 0.5 0.5 nan 0.1", "3 1.5 0.5 0.1 0.1", "3 0.5 0.5 0 0.1", "nan 0.5 0.5 0.1 0.1", "\x00\x01"]


def test_garbage_lines_cost_only_themselves(root, whole, victim):
    path = root / YOLO / "labels" / f"{victim}.txt"
    path.write_bytes("\n".join([*GARBAGE, path.read_text()]).encode() + b"\xff\xfe\n")
    found = read(root)
    assert_kept(found, whole, set())
    assert len(found.notes) == len(GARBAGE) + 1
    assert all(f"{victim}.txt, line {i}: " in note for i, note in enumerate(found.notes[:-1], 1))
    assert "class 0 to 8" in found.notes[0]


def test_boxes_that_are_missing_are_noted(root, whole, victim):
    path = root / YOLO / "labels" / f"{victim}.txt"
    path.unlink()
    found = read(root)
    assert found.notes == [f"{victim}: no file {YOLO.as_posix()}/labels/{victim}.txt; it has no boxes here"]
    pd.testing.assert_frame_equal(boxes(found), boxes(whole, {victim}))
    path.write_text("")  # an empty file says that there is nothing to see
    (note,) = read(root).notes
    assert note.startswith(f"{victim}: fracture_visible is 1, but fracture boxes are 0; the label follows")
    shutil.rmtree(root / "folder_structure")
    found = read(root)
    assert found.boxes.empty and found.notes == [f"no folder {YOLO.as_posix()}/labels: the set has no boxes here"]
    pd.testing.assert_frame_equal(state(found), state(whole))


def test_fracture_box_on_an_image_without_the_label(root, whole):
    name = whole.label("fracture").loc[lambda y: y == 0].index.intersection(whole.usable["image_id"])[0]
    with (root / YOLO / "labels" / f"{name}.txt").open("a") as file:
        file.write("3 0.5 0.5 0.1 0.1\n")
    found = read(root)
    assert found.label("fracture")[name] == 0 and len(found.boxes) == len(whole.boxes) + 1
    assert found.notes[0].startswith(f"{name}: fracture_visible is 0, but fracture boxes are 1")


def test_class_names_are_those_of_meta_yaml(root, whole):
    meta = root / YOLO / "meta.yaml"
    assert tuple(line[2:] for line in meta.read_text().splitlines() if line.startswith("- ")) == module.CLASSES
    for content in ("names: {", "nc: 9\n", "", "names: 9\n"):
        meta.write_text(content)
        found = read(root)
        pd.testing.assert_frame_equal(boxes(found), boxes(whole))
        assert found.notes == ["meta.yaml names no classes; the published order is used"]
    meta.unlink()
    assert read(root).notes == []
    meta.write_text("names: [" + ", ".join(f"x{i}" for i in range(9)) + "]\n")
    found = read(root)
    assert set(found.boxes["class"]) == {"x3", "x4", "x8"} and "names other classes" in found.notes[0]


def test_wrong_or_empty_root(root, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        OrthoError, match=r"empty is not GRAZPEDWRI-DX: it holds nothing; expected dataset\.csv.*--root"
    ):
        read(tmp_path / "empty")
    knees = tmp_path / "knees"
    (knees / "train" / "0").mkdir(parents=True)
    with pytest.raises(OrthoError, match=r"knees is not GRAZPEDWRI-DX: it holds train; expected"):
        read(knees)
    for path in root.glob("images_part*/*"):
        path.unlink()
    with pytest.raises(OrthoError, match=r"its image folders hold no file\. Unpack"):
        read(root)


def test_the_release_is_recognised_by_its_files(root, whole, monkeypatch):
    assert list(module.RELEASES) == [20327]
    monkeypatch.setitem(module.RELEASES, COUNT, "here")
    some = root / whole.usable["path"].iloc[0]
    some.write_bytes(b"cut")  # a damaged copy of a release is still a copy of that release
    assert read(root).version == "here"
    some.unlink()
    assert read(root).version == "unknown release"


def test_the_root_is_not_written_to(root, tree):
    before = tree(root)
    read(root)
    assert tree(root) == before
