"""The GRAZPEDWRI-DX reader: equal to the phantom's truth, 16 bits scaled, and what files and tables say together."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from trees import assert_kept, boxes, save, state, table

from ortholib.data import files
from ortholib.data.sets import grazpedwri as module
from ortholib.data.sets.grazpedwri import read

SET, COUNT = "grazpedwri", 24
FLAGS = ["cast", "metal", "osteopenia", "diagnosis_uncertain", "initial_exam"]
CORNERS = ["x0", "y0", "x1", "y1"]
YOLO = Path("folder_structure/yolov5")


@pytest.fixture
def victim(whole) -> str:
    """A sound image with a fracture."""
    return next(image_id for image_id in whole.usable["image_id"] if whole.label("fracture")[image_id] == 1)


def test_equals_the_truth(whole, truth):
    found, truth = state(whole, "fracture", *FLAGS), truth.set_index("image_id")
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
    sound = truth[truth["defect"] == ""].set_index("image_id")
    rows = [(name, *box[1:], box[0]) for name, text in sound["boxes"].items() for box in json.loads(text)]
    drawn = pd.DataFrame(rows, columns=whole.boxes.columns)
    drawn = drawn.sort_values(["image_id", "class", "x0", "y0"], ignore_index=True)
    found = boxes(whole)
    assert (found[["image_id", "class"]] == drawn[["image_id", "class"]]).all(axis=None)
    assert np.abs(found[CORNERS] - drawn[CORNERS]).max(axis=None) < 0.05
    assert set(found["class"]) == {"fracture", "metal", "text"}


def test_sixteen_bits_are_scaled_and_not_clipped(whole, truth):
    gray = truth.set_index("image_id")["gray"]
    for image in whole.usable.itertuples():
        with Image.open(whole.root / image.path) as opened:
            assert opened.mode == "I;16"
            deep = np.asarray(opened)
        assert deep.max() > 60_000 and len(np.unique(deep & 255)) > 200  # high and low bits are in use
        pixels = files.read(whole.root / image.path)
        assert pixels.mean() == pytest.approx(gray[image.image_id], abs=0.01)
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
    assert_kept(found, whole, moved=True)
    for path in root.glob("images/*.png"):
        path.rename(root / path.name)
    found = read(root)
    assert_kept(found, whole, moved=True)
    assert found.notes == []


def test_table_without_optional_columns(root, whole):
    rows = table(root).drop(columns=["age", "osteopenia", "timehash"])
    rows.to_csv(root / "dataset.csv", index=False)
    found = read(root)
    assert set(found.labels["label"]) == {"fracture", *FLAGS} - {"osteopenia"}
    assert found.label("fracture").equals(whole.label("fracture")) and found.notes == []


def test_name_that_contradicts_the_table_is_noted_and_the_table_used(root, whole, victim):
    rows = table(root)
    rows.loc[rows["filestem"] == victim, "patient_id"] = "999"
    save(root, rows)
    found = read(root)
    assert state(found).loc[victim, "group"] == "999" and len(found.notes) == 1
    assert found.notes[0].startswith(f"{victim}: named patient ") and found.notes[0].endswith("the table is used")


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
    pd.testing.assert_frame_equal(state(found, "fracture", *FLAGS), state(whole, "fracture", *FLAGS))


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
        assert_kept(found, whole)
        assert found.notes == ["meta.yaml names no classes; the published order is used"]
    meta.unlink()
    assert read(root).notes == []
    meta.write_text("names: [" + ", ".join(f"x{i}" for i in range(9)) + "]\n")
    found = read(root)
    assert set(found.boxes["class"]) == {"x3", "x4", "x8"} and "names other classes" in found.notes[0]
