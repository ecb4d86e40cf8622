"""The FracAtlas reader: equal to the phantom's truth, and what its files and tables say together."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from trees import assert_kept

from ortholib.data import datasets
from ortholib.data.sets.fracatlas import read

SET = "fracatlas"
RESCUED = ["IMG0000000", "IMG0000001", "IMG0000003"]  # sound negatives of the phantom, seed 1


def test_equals_the_truth(whole, films, phantom):
    images = whole.images.set_index("image_id")
    assert set(images.index) == set(films.index) and (images["path"] == films["path"][images.index]).all()
    truncated = films.index[films["defect"] == "truncated"]
    assert set(images.index[~images["readable"]]) == set(truncated) and len(truncated) == 3
    assert (images.loc[truncated, "reason"] == "truncated").all()
    ok = images[images["readable"]]
    assert (ok[["width", "height"]] == films.loc[ok.index, ["width", "height"]]).all(axis=None)  # EXIF applied
    assert (images["body_part"] == films["region"][images.index]).all()
    assert (images["view"].str.split("+").map(set) == films["views"][images.index].str.split("+").map(set)).all()
    parts = films["official_part"].replace("valid", "val")
    assert (images["official_part"] == parts[images.index]).all() and set(parts) == {"", "train", "val", "test"}
    for label in ("fractured", "fracture_count", "hardware"):
        assert (whole.label(label)[films.index] == films[label].astype(float)).all()
    assert (images["group"] == images.index).all() and whole.version == "unknown release"


def test_boxes_equal_the_truth_in_the_transposed_frame(whole, films, phantom):
    truth = pd.read_parquet(phantom / "truth" / "boxes.parquet")
    truth["image_id"] = truth["image_id"].str.removesuffix(".jpg")
    order = ["image_id", "x0", "y0"]
    truth, found = (f.sort_values(order, ignore_index=True) for f in (truth, whole.boxes))
    assert (truth["image_id"] == found["image_id"]).all() and (found["class"] == "fracture").all()
    corners = ["x0", "y0", "x1", "y1"]
    assert np.abs(truth[corners] - found[corners]).max(axis=None) < 0.05  # YOLO has four decimals, images 300 pixels
    turned = films.index[(films["defect"] == "exif_rotated") & films["fractured"]]
    assert set(turned) <= set(found["image_id"]) and len(turned) > 0


def test_the_contradicting_row_is_noted_and_nothing_else(whole, films):
    odd = films.index[films["defect"] == "label_conflict"].item()
    assert whole.label("fractured")[odd] == 1
    assert len(whole.notes) == 1 and whole.notes[0].startswith(f"{odd}: dataset.csv says")


DEEP = np.arange(40 * 30, dtype=np.uint16).reshape(40, 30) * 50
ODD = {
    "16 bit": (lambda path: Image.fromarray(DEEP).save(path, "PNG"), (30, 40)),
    "CMYK": (lambda path: Image.new("CMYK", (30, 40)).save(path), (30, 40)),
    "one pixel": (lambda path: Image.new("L", (1, 1)).save(path), (1, 1)),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_but_decodable_files_are_kept(root, films, kind):
    write, size = ODD[kind]
    write(root / films.loc[RESCUED[0], "path"])
    row = datasets.load("fracatlas", root=root).images.set_index("image_id").loc[RESCUED[0]]
    assert row["readable"] and (row["width"], row["height"]) == size


def test_folder_that_is_a_link_out_of_the_root_is_not_followed(root, films, tmp_path):
    folder = root / "images" / "Fractured"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    found = read(root).images.set_index("image_id")
    assert (found.loc[films["fractured"].to_numpy()[films.index.get_indexer(found.index)], "reason"] != "").all()
    assert set(found["reason"]) == {"", "truncated", "a link out of the data root"}


def test_boxes_that_are_missing_are_noted(root, films):
    victim, count = next(iter(films.loc[films["fracture_count"] > 0, "fracture_count"].items()))
    (root / "Annotations" / "YOLO" / f"{victim}.txt").unlink()
    found = read(root)
    assert f"{victim}: fracture_count is {count}, but YOLO boxes are 0" in found.notes
    assert found.label("fractured")[victim] == 1 and victim in set(found.usable["image_id"])


@pytest.mark.parametrize("damage", ["missing", "empty", "other column"])
def test_official_part_that_cannot_be_read_is_noted(root, whole, damage):
    path = root / "Utilities" / "Fracture Split" / "valid.csv"
    if damage == "missing":
        path.unlink()
    else:
        path.write_text("" if damage == "empty" else "name\nIMG0000000.jpg\n")
    found = read(root)
    before = whole.images["official_part"]
    assert (found.images["official_part"] == before.replace("val", "")).all()
    assert any(note.startswith("no official val part:") and str(path) in note for note in found.notes)


def test_folder_and_table_disagree(root, films):
    old = root / films.loc[RESCUED[0], "path"]
    old.rename(root / "images" / "Fractured" / old.name)
    found = read(root)
    assert any(note.startswith(f"{RESCUED[0]}: its folder and fracture_count") for note in found.notes)
    assert found.label("fractured")[RESCUED[0]] == 0


@pytest.mark.parametrize("spelling", ["Non_fractured", "Non-fractured", "Non_Fractured"])
def test_folder_spellings(root, whole, spelling):
    (root / "images" / "Non_fractured").rename(root / "images" / "moved")
    (root / "images" / "moved").rename(root / "images" / spelling)
    found = read(root)
    assert_kept(found, whole, moved=True)
    assert found.notes == whole.notes


def test_no_readable_file_at_all(root):
    for file in root.glob("images/*/*"):
        file.write_bytes(b"")
    found = datasets.load("fracatlas", root=root)
    assert len(found.images) == 80 and found.usable.empty


def test_boxes_equal_the_coco_file(whole, phantom):
    coco = json.loads((phantom / "FracAtlas/Annotations/COCO JSON/COCO_fracture_masks.json").read_text())
    names = {image["id"]: Path(image["file_name"]).stem for image in coco["images"]}
    truth = sorted((names[a["image_id"]], *np.round(a["bbox"], 0).tolist()) for a in coco["annotations"])
    boxes = whole.boxes.assign(w=lambda f: f["x1"] - f["x0"], h=lambda f: f["y1"] - f["y0"])
    found = sorted(boxes[["image_id", "x0", "y0", "w", "h"]].itertuples(index=False, name=None))
    assert [row[0] for row in found] == [row[0] for row in truth]
    assert np.abs(np.array([r[1:] for r in found]) - np.array([r[1:] for r in truth])).max() < 0.6
