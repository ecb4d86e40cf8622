"""A user's own images by manifest: every format is read, a bad cell costs only itself, no other file is opened."""

import json
import os
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from dicoms import make
from PIL import Image

from ortholib.data import copies, datasets, files, ids, manifest, split, tasks, template
from ortholib.data.table import image_values
from ortholib.errors import OrthoError, UsageError

DEEP = (np.arange(40 * 30, dtype=np.uint16) * 3).reshape(40, 30)  # 12 bits in 16: 30 wide, 40 high
BYTES = np.random.default_rng(0).integers(0, 256, (5, 20, 24), np.uint8)
PLANES = {"a/deep.png": 1, "a/pages.tif": 3, "b/scan.dcm": 4, "b/001": 1, "c/vol.npy": 5, "c/vol.nii.gz": 5, "d.jpg": 1}


@pytest.fixture
def root(tmp_path) -> Path:
    """A hospital's folder: one file of every kind, and broken ones."""
    root = tmp_path / "images"
    for name in "abc":
        (root / name).mkdir(parents=True)
    Image.fromarray(DEEP).save(root / "a" / "deep.png")
    pages = [Image.fromarray(plane) for plane in (BYTES[0], BYTES[1][:10], BYTES[2])]
    pages[0].save(root / "a" / "pages.tif", save_all=True, append_images=pages[1:])
    make(np.stack([DEEP] * 4), PatientID="Doe^Jane 7").save_as(root / "b" / "scan.dcm", enforce_file_format=True)
    make(DEEP, PatientID=" Doe^Jane 7 ").save_as(root / "b" / "001", enforce_file_format=True)
    np.save(root / "c" / "vol.npy", BYTES)
    nibabel.save(
        nibabel.Nifti1Image(BYTES.transpose(2, 1, 0)[:, ::-1].astype(np.int16), np.eye(4)), root / "c" / "vol.nii.gz"
    )
    Image.new("L", (50, 30), 90).save(root / "d.jpg", exif=exif(6))
    return root


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[files.ORIENTATION] = orientation
    return tags


def write(root: Path, text: str, name: str = "own.csv") -> Path:
    file = root / name
    file.write_text(text, encoding="utf-8")
    return file


def read(root: Path, text: str):
    return manifest.read(write(root, text))


def reasons(found) -> dict[str, str]:
    return dict(zip(found.images["image_id"], found.images["reason"], strict=True))


# what is read


def test_every_format_and_all_its_planes(root):
    found = read(root, "path,group,kl\n" + "".join(f"{path},p{i},{i}\n" for i, path in enumerate(PLANES)))
    images = found.images.set_index("image_id")
    assert images["path"].value_counts().to_dict() == PLANES
    assert images["readable"].all() and found.notes == [] and found.boxes.empty
    expected = [f"{path}#{k}" if n > 1 else path for path, n in PLANES.items() for k in range(n)]
    assert images.index.tolist() == expected and list(found.planes) == expected
    for image_id, plane in found.planes.items():
        shown = files.read(plane.path, frame=plane.frame)
        assert shown.shape == (images.loc[image_id, "height"], images.loc[image_id, "width"])
    assert (images.loc["d.jpg", "width"], images.loc["d.jpg", "height"]) == (30, 50)  # upright
    assert images.loc["a/pages.tif#1", "height"] == 10 and images.loc["a/pages.tif#2", "height"] == 20
    assert np.array_equal(files.read(*found.planes["c/vol.npy#3"][:1], frame=3), BYTES[3])
    assert (images["exam"] == images["path"]).all() and found.grouped_by == "patient"
    assert found.label("kl")["c/vol.npy#4"] == 4 and found.label("kl")["d.jpg"] == 6
    assert (found.name, found.version, found.root) == ("own", "manifest own.csv, 7 rows", root)


def test_all_columns(root):
    found = read(
        root,
        "path,group,split,frame,exam,plane,body_part,view,modality,boxes,fracture,kl,reader\n"
        'd.jpg,0012,train,,e1,L,wrist,ap,radiograph,"[[1,2,20.5,40],[0,0,5,5,""bone""]]",1,,Dr A\n'
        "a/deep.png,0013,validation,0,,,,,,,0,3.5,Dr B\n"
        "c/vol.npy, 0014 ,VALID,2,,,,,,[],,2,\n"
        "b/001,0015,test,0.0,,,,,,,1,na,\n"
        "b/scan.dcm,0016,,3,,,,,,,1,0,\n",
    )
    images = found.images.set_index("image_id")
    row = images.loc["d.jpg"]
    facts = ["exam", "plane", "body_part", "view", "modality", "group", "official_part"]
    assert row[facts].tolist() == ["e1", "L", "wrist", "ap", "radiograph", "0012", "train"]
    assert images["group"].tolist() == ["0012", "0013", "0014", "0015", "0016"]
    assert images["official_part"].tolist() == ["train", "val", "val", "test", ""]
    assert images["frame"].tolist() == [0, 0, 2, 0, 3] and images.index[2] == "c/vol.npy#2"
    assert found.label("kl").dropna().to_dict() == {"a/deep.png": 3.5, "c/vol.npy#2": 2, "b/scan.dcm#3": 0}
    assert found.label("fracture").isna().sum() == 1 and set(found.labels["label"]) == {"fracture", "kl"}
    assert found.boxes.to_numpy().tolist() == [
        ["d.jpg", 1, 2, 20.5, 40, "finding"],
        ["d.jpg", 0, 0, 5, 5, "bone"],
    ]
    assert found.notes == [
        "column 'reader' is no label: 2 of its 2 cells are no numbers, the first 'Dr A' in line 2; ignored"
    ]


def test_parquet_says_the_same(root):
    table = pd.DataFrame(
        {
            "path": ["d.jpg", "c/vol.npy", "b/001"],
            "group": pd.array([9007199254740993, None, 7], "Int64"),  # too long for a float
            "frame": [None, 2, None],
            "fracture": [True, False, True],
            "kl": [0.5, 1.0, None],
            "view": pd.Categorical(["ap", "ap", None]),
        },
        index=[5, 6, 7],
    )
    table.to_parquet(root / "own.parquet")
    found = manifest.read(root / "own.parquet")
    assert found.images["group"].tolist() == ["9007199254740993", "7"]
    assert found.images["view"].tolist() == ["ap", ""] and found.label("fracture").tolist() == [1, 1]
    assert found.label("kl").iloc[0] == 0.5 and np.isnan(found.label("kl").iloc[1])
    assert found.notes == ["row 2: no group, so nobody could say whose image it is; left out"]
    table.assign(group=[1e14, 2.0, np.nan]).to_parquet(root / "own.parquet")
    assert manifest.read(root / "own.parquet").images["group"].tolist() == ["100000000000000", "2"]
    pd.DataFrame({"path": ["d.jpg"], "group": ["a"], "boxes": [[[1, 2, 3, 4]]]}).to_parquet(root / "own.parquet")
    with pytest.raises(OrthoError, match=r"own\.parquet: found lists in the column boxes\. .*JSON text"):
        manifest.read(root / "own.parquet")


def test_lines_are_counted_with_the_line_ends_in_cells(root):
    found = read(root, 'path,group,text\n"d.jpg",p,"two\nlines"\nb/001,,x\n\na/deep.png,,y\n')
    assert found.notes[-1].startswith("lines 4, 6: no group")


def test_root_elsewhere(root, tmp_path):
    (tmp_path / "tables").mkdir()
    file = write(tmp_path / "tables", f"path,group\nd.jpg,p\n{root}/b/001,q\na\\deep.png,r\n./c/../b/scan.dcm,s\n")
    found = datasets.load(str(file), root=root)
    paths = ["d.jpg", "b/001", "a/deep.png", *["b/scan.dcm"] * 4]
    assert found.images["path"].tolist() == paths and found.images["readable"].all() and found.root == root
    with pytest.raises(OrthoError, match=r"none of its files is there; the first, 'd\.jpg'.*tables\. .*--root"):
        manifest.read(write(tmp_path / "tables", "path,group\nd.jpg,p\nb/001,q\n"))
    with pytest.raises(OrthoError, match="nowhere is not a folder"):
        manifest.read(file, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Hüfte 2024-05.csv", "hufte_2024_05"),
        ("fracatlas.csv", "fracatlas_manifest"),
        ("OAI.parquet", "oai_manifest"),
        ("日本.csv", "manifest"),
    ],
)
def test_name_is_safe_and_never_a_published_sets(file, name):
    assert manifest.set_name(Path(file)) == name and name not in ids.PUBLISHED and "-" not in name
    assert ids.hashed(["9000001"], name) != ids.hashed(["9000001"], "oai")


def test_the_example_of_the_book(root):
    page = Path(__file__).parents[2] / "book" / "bring-your-own-data.md"
    table = page.read_text().partition("```text\n")[2].partition("```")[0]
    for line in table.splitlines()[1:]:
        path = root / line.partition(",")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gz":
            nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9, 20), np.int16), np.eye(4)), path)
        else:
            shutil.copy(root / {".npy": "c/vol.npy", ".dcm": "b/001"}.get(path.suffix, "a/deep.png"), path)
    found = read(root, table)
    assert found.images["readable"].all() and found.notes == [] and len(found.images) == 4 + 5
    assert set(found.labels["label"]) == {"fracture", "kl"} and "mri/0019.nii.gz#12" in found.planes


# paths


def test_nothing_outside_of_the_root_is_opened(root, tmp_path):
    outside = tmp_path / "outside"
    shutil.copytree(root, outside)
    (tmp_path / "images2").mkdir()  # begins like the root's name
    shutil.copy(root / "d.jpg", tmp_path / "images2" / "d.jpg")
    (root / "link.jpg").symlink_to(outside / "d.jpg")
    (root / "folder").symlink_to(outside / "b")
    (root / "circle").symlink_to(root / "circle")
    (root / "dangling.jpg").symlink_to(outside / "nothing.jpg")
    (root / "inner.jpg").symlink_to(root / "d.jpg")
    cells = {
        "../outside/d.jpg": "a path out of the root",
        "a/../../outside/d.jpg": "a path out of the root",
        "..\\outside\\b\\001": "a path out of the root",
        "../images2/d.jpg": "a path out of the root",
        f"{outside}/d.jpg": "a path out of the root",
        f"/{outside}/d.jpg": "a path out of the root",
        "C:\\scans\\d.jpg": "a path with a drive letter, expected one below the root",
        "~/d.jpg": "a path in a home folder, expected one below the root",
        "~root/d.jpg": "a path in a home folder, expected one below the root",
        "d.jpg\0.png": "a path with control characters",
        "d\x1b[2J.jpg": "a path with control characters",
        "link.jpg": "a link out of the data root",
        "folder/001": "a link out of the data root",
        "dangling.jpg": "a link out of the data root",
        "circle/d.jpg": "OSError: Too many levels of symbolic links",
        "x" * 5000: "OSError: File name too long",
        "a": "a folder, no file",
        ".": "a folder, no file",
        "a/.hidden.png": "a hidden file, which is no data",
        "d.jpg/more": "missing file",
        "inner.jpg": "",
        "folder/../a/deep.png": "",  # by its text, not by where the link leads
    }
    opened, watching = [], True
    sys.addaudithook(lambda event, details: watching and event == "open" and opened.append(str(details[0])))
    try:
        found = read(root, "path,group\n" + "".join(f'"{cell}",p\n' for cell in cells))
    finally:
        watching = False
    assert found.images["reason"].tolist() == list(cells.values())
    places = {os.path.realpath(name) for name in opened if name.startswith(str(tmp_path))}
    assert f"{root}/a/deep.png" in places and all(place.startswith(f"{root}/") for place in places)
    assert not any(ord(letter) < 32 for text in found.images["path"] for letter in text)
    assert set(found.planes) == {"inner.jpg", "a/deep.png"}
    names = found.images.loc[~found.images["readable"], ["width", "height"]]
    assert not names.to_numpy().any()


def test_broken_files_are_listed(root):
    (root / "cut.png").write_bytes((root / "a" / "deep.png").read_bytes()[:-40])
    (root / "zero.dcm").write_bytes(b"")
    (root / "text.nii").write_text("hello")
    (root / "text.jpg").write_text("hello")
    os.mkfifo(root / "pipe.png")
    names = ["cut.png", "zero.dcm", "text.nii", "text.jpg", "pipe.png", "gone.npy", "d.jpg"]
    found = reasons(read(root, "path,group,kl\n" + "".join(f"{name},p,1\n" for name in names)))
    assert list(found) == names and found.pop("text.nii") != ""
    assert list(found.values()) == [
        "truncated",
        "empty file (0 bytes)",
        "not an image",
        "no plain file",
        "missing file",
        "",
    ]


def test_damaged_page_of_a_tiff_costs_only_itself(root, monkeypatch):
    real = files.examine
    monkeypatch.setattr(manifest, "examine", lambda path, page=0: real(path, 99 if page == 1 else page))
    found = read(root, "path,group\na/pages.tif,p\n").images.set_index("image_id")
    assert found["readable"].tolist() == [True, False, True] and found.loc["a/pages.tif#1", "width"] == 0


# bad cells


def test_lines_that_nobody_could_read_are_left_out_and_noted(root):
    text = "path,group,frame\nd.jpg,p,\n,p,\nb/001,,\nc/vol.npy,,1\na/deep.png,NA,\n"
    text += "c/vol.npy,p,-1\nc/vol.npy,p,1.5\nc/vol.npy,p,two\nc/vol.npy,p,1e30\nc/vol.npy,p,inf\n"
    found = read(root, text)
    assert found.images["image_id"].tolist() == ["d.jpg"]
    assert found.notes == [
        "line 3: no path; left out",
        "lines 4, 5, 6: no group, so nobody could say whose image it is; left out",
        "lines 7, 8, 9, 10, 11: frame is no whole number from 0 to 1,000,000; left out",
    ]
    with pytest.raises(OrthoError, match=r"own\.csv: none of its 1 line can be used: line 2: no group"):
        read(root, "path,group\nd.jpg,\n")


def test_frame_beyond_the_file_is_listed(root):
    found = read(root, "path,group,frame\nc/vol.npy,p,5\nc/vol.npy,p,4\nd.jpg,p,1\nb/scan.dcm,q,4\ngone.npy,q,7\n")
    assert reasons(found) == {
        "c/vol.npy#5": "frame 5 of a file that holds 5",
        "c/vol.npy#4": "",
        "d.jpg#1": "frame 1 of a file that holds 1",
        "b/scan.dcm#4": "frame 4 of a file that holds 4",
        "gone.npy#7": "missing file",
    }
    assert found.images.loc[~found.images["readable"], "width"].tolist() == [0] * 4


def test_file_of_very_many_planes_is_not_spread(root, monkeypatch):
    monkeypatch.setattr(manifest, "MAX_PLANES", 4)
    found = read(root, "path,group,frame\nc/vol.npy,p,\nb/scan.dcm,q,\nc/vol.nii.gz,p,4\n")
    assert reasons(found)["c/vol.npy#0"] == "more than 4 planes; name one in `frame`"
    assert len(found.images) == 6 and len(found.usable) == 5


def test_repeated_lines(root):
    text = "path,group,frame,kl\nd.jpg,p,,1\n./d.jpg,p,,1\nb/001,p,,1\nb/001,p,0,2\nc/vol.npy,q,,1\nc/vol.npy,q,3,1\n"
    found = read(root, text)
    assert found.images["image_id"].tolist() == ["d.jpg", *(f"c/vol.npy#{k}" for k in (0, 1, 2, 4))]
    assert found.notes == [
        "line 3: the same as a line before; read once",
        "b/001: lines 4, 5 are of this image and do not say the same; all left out",
        "c/vol.npy#3: lines 6, 7 are of this image and do not say the same; all left out",
    ]


def test_labels(root):
    found = read(
        root,
        "path,group,good,infinite,typo,empty,words,\nd.jpg,p,1,inf,1,,a,\nb/001,q,,-inf,0,,b,x\na/deep.png,r,1e-3,2,O,,,\n",
    )
    assert found.label("good").tolist()[::2] == [1, 0.001] and np.isnan(found.label("good").iloc[1])
    assert found.label("infinite").isna().tolist() == [True, True, False]
    assert set(found.labels["label"]) == {"good", "infinite"}
    assert found.notes == [
        "column 8 has no name; ignored",
        "lines 2, 3: infinite is infinite; taken as not asked",
        "column 'typo' is no label: 1 of its 3 cells are no numbers, the first 'O' in line 4; ignored",
        "column 'empty' is empty; no label yet",
        "column 'words' is no label: 2 of its 2 cells are no numbers, the first 'a' in line 2; ignored",
    ]
    with pytest.raises(OrthoError, match="own has no label 'typo'; it has: good, infinite"):
        found.label("typo")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_true_and_false_are_labels_in_every_kind_of_table(root, ending):
    paths, groups = ["d.jpg", "b/001", "a/deep.png"], ["True", "False", "p"]
    table = pd.DataFrame({"path": paths, "group": groups, "fracture": [True, False, True]})
    table["screw"] = pd.array([False, None, True], "boolean")
    table["words"], table["mixed"] = ["TRUE", "", "false"], ["True", "maybe", "2"]
    getattr(table, f"to_{ending}")(root / f"own.{ending}", index=False)
    found = manifest.read(root / f"own.{ending}")
    assert found.images["group"].tolist() == groups
    labels = {name: found.label(name).fillna(-9).tolist() for name in ("fracture", "screw", "words")}
    assert labels == {"fracture": [1, 0, 1], "screw": [0, -9, 1], "words": [1, -9, 0]}
    (note,) = found.notes
    assert note.startswith("column 'mixed' is no label: 2 of its 3 cells are no numbers, the first 'True' in ")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_minus_one_is_no_grade(root, ending):
    table = pd.DataFrame({"path": ["d.jpg", "b/001", "a/deep.png"], "group": list("pqr")})
    table = table.assign(kl=[-1, 4, 0], angle=[-1, 12, 3], tilt=[-1, -2, 3], share=[-1, 0.5, 1])
    getattr(table, f"to_{ending}")(root / f"own.{ending}", index=False)
    found = manifest.read(root / f"own.{ending}")
    assert np.isnan(found.label("kl").iloc[0]) and found.label("kl").tolist()[1:] == [4, 0]
    assert all(found.label(name).iloc[0] == -1 for name in ("angle", "tilt", "share"))
    first = "line 2" if ending == "csv" else "row 1"
    assert found.notes == [f"{first}: kl is -1, which is no grade; taken as not asked"]


def test_label_may_have_any_name(root):
    names = ["unit_id", "label", "value", "image_id", "reason", "planes", "spread", "official_part", "width", "Frame 2"]
    values = ",".join(str(k) for k in range(len(names)))
    found = read(root, f"path,group,split,{','.join(names)}\nd.jpg,p,train,{values}\nd.jpg,p,train,{values}\n")
    assert found.labels["label"].tolist() == names and found.labels["value"].tolist() == list(range(len(names)))
    assert found.images["official_part"].tolist() == ["train"] and len(found.notes) == 1


def test_unknown_split_is_an_error(root):
    with pytest.raises(OrthoError, match=r"own\.csv, line 3: split 'traning', expected train, val, test or nothing"):
        read(root, "path,group,split\nd.jpg,p,train\nb/001,q,traning\n")


def test_patient_in_several_parts_is_noted(root):
    text = "path,group,split\nd.jpg,p,train\nb/001,p,test\na/deep.png,q,val\nc/vol.npy,p,\n"
    assert read(root, text).notes == ["patient 'p' in train and test: scores on this split leak"]


def test_names_of_patients_that_look_wrong_are_noted(root):
    text = "path,group\nd.jpg,007\nb/001,7\na/deep.png,Ab\na/pages.tif,aB\nc/vol.npy,9.00E+06\n"
    found = read(root, text)
    assert found.images["group"].nunique() == 5 and [note.split(" differ")[0] for note in found.notes] == [
        "groups '007' and '7'",
        "groups 'Ab' and 'aB'",
        "line 6: group looks like a long number that a spreadsheet shortened; check it",
    ]


def test_exams_of_several_patients_are_told_apart(root):
    found = read(root, "path,group,exam\nd.jpg,p,1\nb/001,q,1\na/deep.png,q,2\nc/vol.npy,q,2\n")
    assert found.images["exam"].tolist() == ["p:1", "q:1", *["2"] * 6]
    assert len(found.notes) == 1 and found.notes[0].startswith("exam '1' stands with 2 groups (1 such exams in all)")


BOXES = {
    "[[1, 2, 3": "boxes '[[1, 2, 3', expected JSON such as",
    "7": "boxes '7', expected JSON",
    "[" * 100_000: "expected JSON",
    "[[1, 2, 3]]": "box [1, 2, 3], expected [x0, y0, x1, y1]",
    '[[1, 2, 3, 4, "a", 5]]': "expected [x0, y0, x1, y1]",
    '[[1, 2, "3", 4]]': "box [1, 2, '3', 4], expected",
    "[[1, 2, true, 4]]": "expected [x0",
    "[[1, 2, NaN, 4]]": "expected [x0",
    "[[1, 2, Infinity, 4]]": "expected [x0",
    f"[[1, 2, 1{'0' * 400}, 4]]": "expected [x0",
    '[[1, 2, 3, 4, ""]]': "expected [x0",
    "[[5, 2, 5, 4]]": "box [5, 2, 5, 4] is empty",
    "[[5, 4, 8, 2]]": "is empty",
    "[[30, 0, 40, 10]]": "box [30, 0, 40, 10] lies outside the image of 30 x 50",
    "[[1, -9, 5, 0]]": "lies outside the image",
}


@pytest.mark.parametrize("text", BOXES)
def test_bad_boxes_are_left_out_and_noted(root, text):
    cell = text.replace('"', '""')
    found = read(root, f'path,group,boxes\na/deep.png,p,"[[1, 2, 3, 4]]"\nd.jpg,p,"{cell}"\n')
    assert found.boxes["image_id"].tolist() == ["a/deep.png"] and found.images["readable"].all()
    assert len(found.notes) == 1 and found.notes[0].startswith("line 3: box") and BOXES[text] in found.notes[0]


def test_a_bad_box_costs_only_itself_and_an_overhanging_one_is_cut(root):
    boxes = [[1, 2, 3, 4, "a"], [1], [-2, 10, 20, 99]]
    cell = json.dumps(boxes).replace('"', '""')
    found = read(root, f'path,group,boxes\nd.jpg,p,"{cell}"\n')
    assert found.boxes[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[1, 2, 3, 4], [0, 10, 20, 50]]
    assert [note.partition(",")[0] for note in found.notes] == ["line 2: box [1]", "line 2: box [-2"]
    assert found.notes[1].endswith("leaves the image of 30 x 50; cut at its edge")


def test_boxes_need_a_plane_and_a_readable_file(root):
    box = '"[[1, 2, 3, 4]]"'
    found = read(root, f"path,group,frame,boxes\nc/vol.npy,p,,{box}\nb/scan.dcm,p,2,{box}\ngone.png,p,,{box}\n")
    assert found.boxes["image_id"].tolist() == ["b/scan.dcm#2"]
    assert found.notes == ["line 2: boxes in a file of several planes; say in `frame` which one; left out"]


def test_notes_on_very_many_lines_stay_short(root):
    lines = "".join(f"gone{i}.png,,\n" for i in range(100)) + "".join(f"gone{i}.png,p{i % 50},\n" for i in range(50))
    lines += "".join(f"d.jpg,p{i},\n" for i in range(9)) + "".join(f"gone{i}.png,x,\n" for i in range(50))
    found = read(root, "path,group,kl\n" + lines + "b/001,p,1\n")
    assert found.notes[0].startswith("lines 2, 3, ") and " 21 and 80 more: no group" in found.notes[0]
    assert len(found.notes) == 1 + 50 + 1  # each image that stands twice has its own


# bad tables


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1: found nothing"),
        (b"\xef\xbb\xbf \n", "line 1: found the columns '', and no column path and group"),
        (b"path,group\nd.jpg,p\nx.jpg,M\xfcller\n", "line 3: found byte 0xfc, which is not UTF-8"),
        ("path,group\nd.jpg,p\n".encode("utf-16"), "line 1: found byte 0xff, which is not UTF-8"),
        ("path,group\nd.jpg,p\n".encode("utf-16-le"), "line 1: found the columns 'p a t h', 'g r o u p'"),
        (b"path,label\nd.jpg,1\n", "line 1: found the columns 'path', 'label', and no column group"),
        (b"Path;Group;Winkel\r\nd.jpg;p;12,5\r\n", "line 1: found the columns 'Path;Group;Winkel', and"),
        (b"sep=;\r\npath;group\r\nd.jpg;p\r\n", "line 1: found 'sep=;', a spreadsheet's own line before the names"),
        (b"\xef\xbb\xbfSEP=,\npath,group\nd.jpg,p\n", "line 1: found 'SEP=,', a spreadsheet's own line before"),
        (b"path\tgroup\nd.jpg\tp\n", "line 1: found the columns 'path group', and no column path and group"),
        (b"datei|patient\nd.jpg|1\n", r"line 1: found the columns 'datei\|patient', and no"),
        (b"'path','group'\n'd.jpg','1'\n", "line 1: found the columns \"'path'\", \"'group'\", and no"),
        (b"path,group\nd.jpg,p,1\n", "line 2: found 3 cells, and 2 in the first line"),
        (b'path,group\n"d\n\n.jpg",p\nx.jpg,p,1\n', "line 5: found 3 cells, and 2 in the first line"),
        (b'path,group\n"d\n.jpg",p\n"d.jpg,p\nb,p\n', "line 4: found a quote that is never closed"),
    ],
)
def test_tables_of_another_form_are_refused_and_say_how(root, data, message):
    (root / "own.csv").write_bytes(data)
    with pytest.raises(OrthoError, match=rf"own\.csv, {message}.*\. Expected UTF-8, commas.*Save the table as 'CSV"):
        manifest.read(root / "own.csv")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"path,group\n", "has a first line and none below it"),
        (b"path,group\n,\n,\n", "has a first line and none below it"),
        (b"path,group,kl,kl\nd.jpg,p,1,2\n", "has the column 'kl' more than once"),
        (b"path,Group,group\nd.jpg,p,q\n", "has the column 'group' more than once"),
    ],
)
def test_bad_tables(root, data, message):
    (root / "own.csv").write_bytes(data)
    with pytest.raises(OrthoError, match=message):
        manifest.read(root / "own.csv")


def test_what_is_no_table(root, tmp_path):
    (root / "own.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(OrthoError, match=r"own\.parquet: found no readable table \(.*Parquet.*Expected columns of"):
        manifest.read(root / "own.parquet")
    with pytest.raises(OrthoError, match=r"absent\.csv is no file; expected a manifest"):
        manifest.read(root / "absent.csv")
    with pytest.raises(OrthoError, match="images is no file"):
        manifest.read(root)
    with pytest.raises(UsageError, match=r"own\.xlsx: expected a manifest that ends in \.csv or \.parquet"):
        manifest.read(write(root, "path,group\nd.jpg,p\n", "own.xlsx"))


# what is made of it


@pytest.fixture
def cohort(tmp_path) -> Path:
    """30 patients with two images each, in a folder each, with a label; the manifest is `cohort.csv`."""
    rng, lines = np.random.default_rng(1), []
    for i in range(60):
        path = tmp_path / "cohort" / f"p{i // 2:02d}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(path)
        lines.append(f"p{i // 2:02d}/{i}.png,p{i // 2:02d},{i // 2 % 2}\n")
    return write(tmp_path / "cohort", "path,group,torn\n" + "".join(lines), "cohort.csv")


def test_split_pack_and_copies(cohort):
    found = datasets.load(str(cohort))
    made = split.make(found, "clean", datasets.main_label(found))
    assert made.cut_groups == 0 and set(made.images["part"]) == {"train", "val", "test"}
    store = tasks.pack(found, 16)
    assert len(store.image_ids) == 60 and not store.failed and "p07/15.png" in store.image_ids
    assert len(copies.grouped(found)[1]) == 60


def test_labels_reach_images_in_folders(cohort):
    found = datasets.load(str(cohort))
    assert image_values(found, "torn").equals(found.label("torn"))


# how it is begun


def test_template(root, tmp_path, tree):
    (root / ".git").mkdir()
    (root / ".git" / "x.png").touch()
    for name in (
        "._d.jpg",
        "Thumbs.db",
        "notes.txt",
        "a/line\nend.png",
        "a/back\\slash.png",
        "a/fake.dcm",
        "a/end.png ",
    ):
        (root / name).write_text("text")
    (root / "link.jpg").symlink_to(root / "d.jpg")
    (root / "linked").symlink_to(root / "a")
    os.mkfifo(root / "pipe.png")
    (root / os.fsdecode(b"a/\xff.png")).touch()
    (root / "a" / "empty.png").touch()  # an image by its name: listed, and found unreadable when it is read
    directory = pydicom.dcmread(root / "b" / "001")
    for tag in ("Rows", "Columns", "PixelData"):
        delattr(directory, tag)
    directory.save_as(root / "DICOMDIR", enforce_file_format=True)
    before = tree(root)
    out = tmp_path / "my.csv"
    made = template.begin(root, out)
    assert tree(root) == before
    assert made["path"].tolist() == sorted([*PLANES, "a/empty.png"])
    group = made.set_index("path")["group"]
    assert group["b/001"] == group["b/scan.dcm"] == ids.hashed(["Doe^Jane 7"], "my")[0]
    assert group["a/deep.png"] == "a" and group["c/vol.nii.gz"] == "c" and group["d.jpg"] == ""
    assert "Doe" not in out.read_text() and out.read_bytes()[:3] == b"\xef\xbb\xbf"
    told = made.attrs
    assert (told["files"], told["groups"], told["root"], told["manifest"]) == (8, 3, str(root), str(out))
    assert list(told["group_from"].values()) == [2, 5, 1] and len(told["notes"]) == 1
    assert told["skipped"] == {
        "a hidden folder": 1,
        "a link": 2,
        "a hidden file": 2,
        "not an image": 2,
        "a name that a manifest cannot hold": 3,
        "no plain file": 1,
        "a name that is not UTF-8": 1,
        "a DICOM file without a picture": 1,
    }
    skipped = told["skipped_files"]
    assert len(skipped) == sum(told["skipped"].values()) and list(skipped) == sorted(skipped)
    assert skipped["a/fake.dcm"] == skipped["notes.txt"] == "not an image" and skipped["linked"] == "a link"
    assert skipped["a/line\ufffdend.png"] == skipped["a/back\\slash.png"] == "a name that a manifest cannot hold"
    assert skipped["a/\ufffd.png"] == "a name that is not UTF-8" and skipped[".git"] == "a hidden folder"
    assert f"data check {out} --root {root}" in told["next"]
    json.dumps(told)

    found = manifest.read(out, root)  # the round trip: d.jpg has no group yet
    assert set(found.images["path"]) == {*PLANES, "a/empty.png"} - {"d.jpg"}
    assert len(found.usable) == sum(PLANES.values()) - 1 and found.labels.empty
    assert [note.partition(":")[0] for note in found.notes] == ["column 'label' is empty; no label yet", "line 9"]
    assert datasets.main_label(found) is None


def test_template_of_one_flat_folder(tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    for name in ("2.png", "1.png"):
        Image.new("L", (9, 9)).save(folder / name)
    made = template.begin(folder, tmp_path / "my.csv")
    assert made.to_numpy().tolist() == [["1.png", "", "", ""], ["2.png", "", "", ""]]
    assert made.attrs["notes"] == [] and not (tmp_path / "runs").exists()  # no salt where nothing is hashed
    with pytest.raises(OrthoError, match=r"none of its 2 lines can be used: .*no group"):
        manifest.read(tmp_path / "my.csv", folder)


def test_template_takes_files_by_content_too(tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    image = Image.fromarray(BYTES[0])
    for name, kind in (("001", "JPEG"), ("a.jfif", "JPEG"), ("b.jp2", "JPEG2000"), ("c.pgm", "PPM"), ("d.old", "TIFF")):
        image.save(folder / name, kind)
    (folder / "table.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    (folder / "letter.doc").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(99))
    made = template.begin(folder, tmp_path / "my.csv")
    assert made["path"].tolist() == ["001", "a.jfif", "b.jp2", "c.pgm", "d.old"]
    assert made.attrs["skipped_files"] == {"letter.doc": "not an image", "table.h5": "a HDF5 file, which is not read"}
    made.assign(group="p").to_csv(tmp_path / "own.csv", index=False)
    assert manifest.read(tmp_path / "own.csv", folder).images["readable"].all()


def test_template_overwrites_nothing_and_stays_out_of_the_data(root, tmp_path, tree, monkeypatch):
    (tmp_path / "my.csv").write_text("precious")
    (tmp_path / "hole.csv").symlink_to(tmp_path / "nothing")
    (tmp_path / "way").symlink_to(root)
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("ORTHOLIB_DATA", str(data))
    before = tree(tmp_path)
    for place, message in {
        "my.csv": r"my\.csv exists already and is not overwritten; choose",
        "hole.csv": r"hole\.csv exists already",
        "images/my.csv": r"lies in .*images, and nothing is ever written.*check MANIFEST --root .*images",
        "images/a/my.csv": r"lies in .*images",
        "way/my.csv": r"lies in .*images",
        "data/my.csv": r"lies in .*data",
        "my.parquet": r"begun as CSV",
        "absent/my.csv": r"absent is no folder; make it",
    }.items():
        with pytest.raises(UsageError, match=message):
            template.begin(root, tmp_path / place)
    with pytest.raises(OrthoError, match=r"nowhere is no folder"):
        template.begin(tmp_path / "nowhere", tmp_path / "new.csv")
    with pytest.raises(OrthoError, match=r"data holds no image file \(it is empty\)"):
        template.begin(data, tmp_path / "new.csv")
    assert tree(tmp_path) == before
