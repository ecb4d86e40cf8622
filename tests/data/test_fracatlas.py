"""The FracAtlas reader: equal to the phantom's truth, and a bad line or file costs only itself."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ortholib.data import datasets
from ortholib.data.sets import fracatlas as module
from ortholib.data.sets.fracatlas import read
from ortholib.errors import OrthoError

RESCUED = ["IMG0000000", "IMG0000001", "IMG0000003"]  # sound negatives of the phantom, seed 1


def table(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "dataset.csv", dtype=str)


def assert_kept(damaged, sound, lost: set[str], *, unreadable: bool = False) -> None:
    """All but `lost` is as before; `lost` is gone, or listed as unreadable."""
    rest = sound.images[~sound.images["image_id"].isin(lost)].reset_index(drop=True)
    kept = damaged.images[~damaged.images["image_id"].isin(lost)]
    columns = [c for c in rest.columns if c != "path"]
    pd.testing.assert_frame_equal(
        kept[columns].sort_values("image_id", ignore_index=True),
        rest[columns].sort_values("image_id", ignore_index=True),
    )
    assert lost.isdisjoint(damaged.usable["image_id"])
    assert lost & set(damaged.images["image_id"]) == (lost if unreadable else set())
    for name in ("fractured", "fracture_count", "hardware", "multiscan"):
        assert damaged.label(name)[kept["image_id"]].equals(sound.label(name)[kept["image_id"]])
    boxes = sound.boxes[~sound.boxes["image_id"].isin(lost)].sort_values(["image_id", "x0"], ignore_index=True)
    pd.testing.assert_frame_equal(damaged.boxes.sort_values(["image_id", "x0"], ignore_index=True), boxes)


def test_equals_the_truth(sound, films, phantom):
    found = sound["fracatlas"]
    images = found.images.set_index("image_id")
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
        assert (found.label(label)[films.index] == films[label].astype(float)).all()
    assert (images["group"] == images.index).all() and found.version == "unknown release"


def test_boxes_equal_the_truth_in_the_transposed_frame(sound, films, phantom):
    truth = pd.read_parquet(phantom / "truth" / "boxes.parquet")
    truth["image_id"] = truth["image_id"].str.removesuffix(".jpg")
    order = ["image_id", "x0", "y0"]
    truth, found = (f.sort_values(order, ignore_index=True) for f in (truth, sound["fracatlas"].boxes))
    assert (truth["image_id"] == found["image_id"]).all() and (found["class"] == "fracture").all()
    corners = ["x0", "y0", "x1", "y1"]
    assert np.abs(truth[corners] - found[corners]).max(axis=None) < 0.05  # YOLO has four decimals, images 300 pixels
    turned = films.index[(films["defect"] == "exif_rotated") & films["fractured"]]
    assert set(turned) <= set(found["image_id"]) and len(turned) > 0
    limits = sound["fracatlas"].images.set_index("image_id").loc[found["image_id"]]
    assert (found["x1"].to_numpy() <= limits["width"] + 0.05).all()
    assert (found["y1"].to_numpy() <= limits["height"] + 0.05).all()


def test_the_contradicting_row_is_noted_and_nothing_else(sound, films):
    odd = films.index[films["defect"] == "label_conflict"].item()
    assert sound["fracatlas"].label("fractured")[odd] == 1
    assert len(sound["fracatlas"].notes) == 1 and sound["fracatlas"].notes[0].startswith(f"{odd}: dataset.csv says")


def deep(path):
    Image.fromarray(np.arange(40 * 30, dtype=np.uint16).reshape(40, 30) * 50).save(path, "PNG")


def huge(path):
    png = path.with_name("huge.png")
    Image.new("1", (8, 8)).save(png)
    data = bytearray(png.read_bytes())
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    png.unlink()
    path.write_bytes(data)


BAD = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:800]), "truncated"),
    "zero-byte": (lambda path: path.write_bytes(b""), "empty file (0 bytes)"),
    "text": (lambda path: path.write_text("not a radiograph"), "not an image"),
    "absent": (lambda path: path.unlink(), "missing file"),
    "huge": (huge, ""),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "missing file"),
    "pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "no plain file"),
    "link out": (lambda path: (path.unlink(), path.symlink_to("/etc/hostname")), "a link out of the data root"),
    "link to nothing": (lambda path: (path.unlink(), path.symlink_to("nowhere.jpg")), "missing file"),
    "circle": (lambda path: (path.unlink(), path.symlink_to(path)), "a link out of the data root"),
}
ODD = {
    "16 bit": (deep, (30, 40)),
    "CMYK": (lambda path: Image.new("CMYK", (30, 40)).save(path), (30, 40)),
    "one pixel": (lambda path: Image.new("L", (1, 1)).save(path), (1, 1)),
}


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_file_costs_only_itself(fracatlas, sound, films, kind):
    damage, reason = BAD[kind]
    victim = films.index[(films["defect"] == "") & films["fractured"]][0]  # with a box, which goes with it
    damage(fracatlas / films.loc[victim, "path"])
    found = read(fracatlas)
    assert_kept(found, sound["fracatlas"], {victim}, unreadable=True)
    row = found.images.set_index("image_id").loc[victim]
    assert (row["width"], row["height"]) == (0, 0) and reason in row["reason"] and row["reason"]
    assert datasets.load("fracatlas", root=fracatlas).usable.equals(
        datasets.load("fracatlas", root=fracatlas).usable
    )  # the search for copies takes it too


@pytest.mark.parametrize("kind", ODD)
def test_odd_but_decodable_files_are_kept(fracatlas, films, kind):
    write, size = ODD[kind]
    write(fracatlas / films.loc[RESCUED[0], "path"])
    row = datasets.load("fracatlas", root=fracatlas).images.set_index("image_id").loc[RESCUED[0]]
    assert row["readable"] and (row["width"], row["height"]) == size


def test_folder_that_is_a_link_out_of_the_root_is_not_followed(fracatlas, films, tmp_path):
    folder = fracatlas / "images" / "Fractured"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    found = read(fracatlas).images.set_index("image_id")
    assert (found.loc[films["fractured"].to_numpy()[films.index.get_indexer(found.index)], "reason"] != "").all()
    assert set(found["reason"]) == {"", "truncated", "a link out of the data root"}


def test_link_to_the_root_and_links_inside_it_are_fine(fracatlas, sound, films, tmp_path):
    path = fracatlas / films.loc[RESCUED[0], "path"]
    path.rename(fracatlas / "original.jpg")
    path.symlink_to("../../original.jpg")
    (tmp_path / "link").symlink_to(fracatlas)
    assert_kept(read(tmp_path / "link"), sound["fracatlas"], set())


@pytest.mark.parametrize("junk", ["._IMG0000000.jpg", ".DS_Store", "Thumbs.db"])
def test_files_of_the_desktop_are_no_data(fracatlas, sound, junk):
    (fracatlas / "images" / "Fractured" / junk).write_bytes(b"\0\5\26\7")
    found = read(fracatlas)
    assert_kept(found, sound["fracatlas"], set())
    assert found.notes == sound["fracatlas"].notes


def test_file_without_a_row_is_left_out_and_noted(fracatlas, sound, films):
    shutil.copy(fracatlas / films.loc[RESCUED[0], "path"], fracatlas / "images" / "Fractured" / "holiday.jpg")
    found = read(fracatlas)
    assert_kept(found, sound["fracatlas"], set())
    assert "holiday: on disk but not in dataset.csv; left out" in found.notes


@pytest.mark.parametrize("twin", ["images/Fractured/{}.jpg", "images/Non_fractured/{}.png"])
def test_repeated_id_costs_all_its_files_and_nothing_else(fracatlas, sound, films, twin):
    victim = RESCUED[0]
    copy = twin.format(victim)
    shutil.copy(fracatlas / films.loc[victim, "path"], fracatlas / copy)
    found = datasets.load("fracatlas", root=fracatlas)
    assert victim not in set(found.images["image_id"])
    assert_kept(read(fracatlas), sound["fracatlas"], {victim})
    noted = [note for note in found.notes if victim in note]
    assert len(noted) == 1 and copy in noted[0] and films.loc[victim, "path"] in noted[0] and "remove" in noted[0]


def test_repeated_line_of_the_table(fracatlas, sound):
    path = fracatlas / "dataset.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[1]]))  # the first image, IMG0000000, once more
    found = read(fracatlas)
    assert_kept(found, sound["fracatlas"], {"IMG0000000"})
    assert any(n.startswith("IMG0000000: stands for 2 files or lines (2, 82)") for n in found.notes)


@pytest.mark.parametrize("value", ["", "many", "-1", "0.5", "inf", "NaN"])
@pytest.mark.parametrize("column", ["fracture_count", "hand"])
def test_bad_value_in_the_table_costs_its_line_only(fracatlas, sound, column, value):
    rows = table(fracatlas)
    rows.loc[3, column] = value
    rows.to_csv(fracatlas / "dataset.csv", index=False)
    found = read(fracatlas)
    assert_kept(found, sound["fracatlas"], {"IMG0000003"})
    noted = [note for note in found.notes if "IMG0000003" in note]
    shown = value if value not in ("", "NaN") else "nan"
    assert len(noted) == 1 and noted[0].startswith(f"dataset.csv, line 5 (IMG0000003): {column} = {shown}, expected")


def test_no_good_line_at_all(fracatlas):
    rows = table(fracatlas).assign(hand="x")
    rows.to_csv(fracatlas / "dataset.csv", index=False)
    with pytest.raises(OrthoError, match=r"dataset\.csv: no line has 0, 1 or a count in hand, leg"):
        read(fracatlas)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"dataset\.csv is missing.*Unpack"),
        (b"", r"dataset\.csv is no readable table.*columns image_id.*Unpack"),
        (b"\xff\xfe\x00\x01" * 50, r"dataset\.csv is no readable table.*Unpack"),
        (b'image_id,hand\n"a,1\n', r"dataset\.csv"),
        (b"image_id,hand\nIMG0000000.jpg,1\n", r"dataset\.csv lacks the columns leg, .*it has image_id, hand.*Unpack"),
    ],
)
def test_table_missing_or_damaged(fracatlas, content, message):
    (fracatlas / "dataset.csv").unlink()
    if content is not None:
        (fracatlas / "dataset.csv").write_bytes(content)
    with pytest.raises(OrthoError, match=message):
        read(fracatlas)


def test_table_with_byte_order_mark(fracatlas, sound):
    path = fracatlas / "dataset.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert_kept(read(fracatlas), sound["fracatlas"], set())


GARBAGE = ["fracture", "0 0.5 0.5 0.1", "0 a b c d", "0 0.5 0.5 nan 0.1", "0 1.5 0.5 0.1 0.1", "0 0.5 0.5 -0.1 0.1"]
GARBAGE += ["0 0.5 0.5 0 0.1", "0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2", "\x00\x01"]


def test_garbage_lines_cost_only_themselves(fracatlas, sound, films):
    victim = films.index[films["fracture_count"] > 0][0]
    path = fracatlas / "Annotations" / "YOLO" / f"{victim}.txt"
    path.write_bytes("\n".join([*GARBAGE, path.read_text()]).encode() + b"\xff\xfe\n")
    found = read(fracatlas)
    assert_kept(found, sound["fracatlas"], set())
    noted = [note for note in found.notes if note.startswith(f"{victim}.txt, line")]
    assert len(noted) == len(GARBAGE) + 1 and all("(class 0, then x y w h" in note for note in noted)
    assert noted[2].startswith(f"{victim}.txt, line 3: '0 a b c d'")


def test_boxes_that_are_missing_are_noted(fracatlas, films):
    victim, count = next(iter(films.loc[films["fracture_count"] > 0, "fracture_count"].items()))
    (fracatlas / "Annotations" / "YOLO" / f"{victim}.txt").unlink()
    found = read(fracatlas)
    assert f"{victim}: fracture_count is {count}, but YOLO boxes are 0" in found.notes
    assert found.label("fractured")[victim] == 1 and victim in set(found.usable["image_id"])


@pytest.mark.parametrize("damage", ["missing", "empty", "other column"])
def test_official_part_that_cannot_be_read_is_noted(fracatlas, sound, damage):
    path = fracatlas / "Utilities" / "Fracture Split" / "valid.csv"
    if damage == "missing":
        path.unlink()
    else:
        path.write_text("" if damage == "empty" else "name\nIMG0000000.jpg\n")
    found = read(fracatlas)
    before = sound["fracatlas"].images["official_part"]
    assert (found.images["official_part"] == before.replace("val", "")).all()
    assert any(note.startswith("no official val part:") and str(path) in note for note in found.notes)


def test_folder_and_table_disagree(fracatlas, films):
    old = fracatlas / films.loc[RESCUED[0], "path"]
    old.rename(fracatlas / "images" / "Fractured" / old.name)
    found = read(fracatlas)
    assert any(note.startswith(f"{RESCUED[0]}: its folder and fracture_count") for note in found.notes)
    assert found.label("fractured")[RESCUED[0]] == 0


@pytest.mark.parametrize("spelling", ["Non_fractured", "Non-fractured", "Non_Fractured"])
def test_folder_spellings(fracatlas, sound, spelling):
    (fracatlas / "images" / "Non_fractured").rename(fracatlas / "images" / "moved")
    (fracatlas / "images" / "moved").rename(fracatlas / "images" / spelling)
    found = read(fracatlas)
    assert_kept(found, sound["fracatlas"], set())
    assert found.notes == sound["fracatlas"].notes


def test_wrong_or_empty_root(phantom, fracatlas, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OrthoError, match=r"kneeKL224 is not FracAtlas: it holds test, train, val; expected .*--root"):
        datasets.load("fracatlas", root=phantom / "kneeKL224")
    with pytest.raises(OrthoError, match=r"empty is not FracAtlas"):
        datasets.load("fracatlas", root=tmp_path / "empty")
    with pytest.raises(OrthoError, match=r"nowhere is not a folder; expected the root of FracAtlas"):
        datasets.load("fracatlas", root=tmp_path / "nowhere")
    with pytest.raises(OrthoError, match=r"ORTHOLIB_DATA is not set.*--root"):
        datasets.load("fracatlas")
    (fracatlas / "images" / "Fractured").rename(fracatlas / "images" / "broken")
    with pytest.raises(OrthoError, match=r"images is not FracAtlas: it holds Non_fractured, broken; expected"):
        read(fracatlas)


def test_empty_image_folders(fracatlas):
    for file in fracatlas.glob("images/*/*"):
        file.unlink()
    with pytest.raises(OrthoError, match=r"the folders of images/ hold no file\. Unpack"):
        read(fracatlas)


def test_no_readable_file_at_all(fracatlas):
    for file in fracatlas.glob("images/*/*"):
        file.write_bytes(b"")
    found = datasets.load("fracatlas", root=fracatlas)
    assert len(found.images) == 80 and found.usable.empty


def release(root: Path, positives: int, negatives: int, boxes: int) -> Path:
    """A set with as many images and boxes, all of them links to one tiny file."""
    for name in ("images/Fractured", "images/Non_fractured", "Annotations/YOLO"):
        (root / name).mkdir(parents=True)
    tiny = root / "tiny.jpg"
    Image.new("L", (8, 8)).save(tiny)
    rows = []
    for i in range(positives + negatives):
        count = (1 + (i < boxes - positives)) if i < positives else 0
        os.link(tiny, root / "images" / ("Fractured" if count else "Non_fractured") / f"IMG{i:07d}.jpg")
        rows.append([f"IMG{i:07d}.jpg", 1, 0, 0, 0, 0, 0, 0, int(count > 0), count, 1, 0, 0])
        if count:
            (root / "Annotations" / "YOLO" / f"IMG{i:07d}.txt").write_text("0 0.5 0.5 0.1 0.1\n" * count)
    pd.DataFrame(rows, columns=["image_id", *module.COUNTS]).to_csv(root / "dataset.csv", index=False)
    return root


@pytest.mark.parametrize(
    ("counts", "version"), [((717, 3366, 922), "2023 (figshare v1)"), ((719, 3364, 924), "2026 (figshare v7)")]
)
def test_releases_are_recognised(tmp_path, counts, version):
    root = release(tmp_path / "FracAtlas", *counts)
    assert read(root).version == version
    victim = root / "images" / "Fractured" / "IMG0000000.jpg"
    victim.unlink()
    victim.write_bytes(b"cut")  # a damaged copy of a release is still a copy of that release
    found = read(root)
    assert found.version == version and len(found.usable) == sum(counts[:2]) - 1
    victim.unlink()
    assert read(root).version == "unknown release"


def test_boxes_equal_the_coco_file(sound, phantom):
    coco = json.loads((phantom / "FracAtlas/Annotations/COCO JSON/COCO_fracture_masks.json").read_text())
    names = {image["id"]: Path(image["file_name"]).stem for image in coco["images"]}
    truth = sorted((names[a["image_id"]], *np.round(a["bbox"], 0).tolist()) for a in coco["annotations"])
    boxes = sound["fracatlas"].boxes.assign(w=lambda f: f["x1"] - f["x0"], h=lambda f: f["y1"] - f["y0"])
    found = sorted(boxes[["image_id", "x0", "y0", "w", "h"]].itertuples(index=False, name=None))
    assert [row[0] for row in found] == [row[0] for row in truth]
    assert np.abs(np.array([r[1:] for r in found]) - np.array([r[1:] for r in truth])).max() < 0.6
