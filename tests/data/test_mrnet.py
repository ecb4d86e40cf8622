"""The MRNet reader: equal to the phantom's truth slice by slice, and bad lines cost only themselves."""

import io
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
from trees import assert_kept, put

from ortholib.data import files
from ortholib.data.datasets import ImageSet
from ortholib.data.sets.mrnet import LABELS, PLANES, REMARKS, read
from ortholib.errors import OrthoError

SET = "mrnet"


@pytest.fixture
def truth(written) -> pd.DataFrame:
    return written(SET).truth.set_index("exam")


def ids(whole: ImageSet, **of: list[str]) -> set[str]:
    """The images of some exams, or of some planes of them."""
    return set(whole.images.loc[whole.images[list(of)].isin(of).all(axis=1), "image_id"])


def notes(found) -> list[str]:
    assert found.notes[: len(REMARKS)] == REMARKS
    return found.notes[len(REMARKS) :]


def test_equals_the_truth(whole, truth):
    root = whole.root
    images = whole.images
    assert images["readable"].all() and set(images["exam"]) == set(truth.index) and (images["width"] == 256).all()
    assert images["image_id"].is_unique and (images["group"] == images["exam"]).all()
    parts = truth["part"].map({"train": "train", "valid": "test"})
    assert (images["official_part"] == images["exam"].map(parts)).all() and set(parts) == {"train", "test"}
    assert (
        set(images["modality"]) == {"mri"} and set(images["body_part"]) == {"knee"} and (images["height"] == 256).all()
    )
    for plane in PLANES:
        stacks = images[images["plane"] == plane].groupby("exam")
        assert (stacks.size() == truth[f"slices_{plane}"]).all()
        assert all(list(rows["frame"]) == list(range(len(rows))) for _, rows in stacks)
    row = images.iloc[-1]
    assert row["image_id"] == f"{row['exam']}-sagittal-{row['frame']:03d}"
    assert row["path"] == f"valid/sagittal/{row['exam']}.npy"
    assert (files.read(root / row["path"], frame=row["frame"]) == np.load(root / row["path"])[row["frame"]]).all()
    for label in LABELS:
        assert whole.label(label).sort_index().equals(truth[label].astype(float).rename("value").rename_axis("unit_id"))
    assert whole.notes == REMARKS and whole.grouped_by == "exam" and whole.boxes.empty
    assert whole.version == "unknown release"


SPELLINGS = {
    "zeros dropped": lambda lines: [line.lstrip("0") if line[3] != "0" else line[3:] for line in lines],
    "byte order mark": lambda lines: ["\ufeff" + lines[0], *lines[1:]],
    "Windows": lambda lines: [line + "\r" for line in lines],
    "quoted and spaced": lambda lines: [f'"{line[:4]}" , "{line[5:]}"' for line in lines],
    "blank lines": lambda lines: ["", *lines, "", " "],
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_spellings_of_a_table(root, whole, spelling):
    path = root / "train-acl.csv"
    put(path, "\n".join(spelling(path.read_text().splitlines())))
    found = read(root)
    assert_kept(found, whole)
    assert notes(found) == []


def npy(array: np.ndarray, **options) -> bytes:
    np.save(made := io.BytesIO(), array, **options)
    return made.getvalue()


# content of a file instead of its own (None: the first 20 bytes of that) -> the reason it is listed with
VOLUMES = [
    (None, ""),
    (pickle.dumps([1, 2]), ""),
    (npy(np.array([None, 1], object), allow_pickle=True), "an array of Python objects, which is never read"),
    (npy(np.zeros((5, 256, 256), np.float32)), "float32 of shape (5, 256, 256), expected uint8 (slices, 256, 256)"),
    (npy(np.zeros((5, 128, 128), np.uint8)), "uint8 of shape (5, 128, 128), expected uint8 (slices, 256, 256)"),
    (npy(np.zeros((256, 256), np.uint8)), "uint8 of shape (256, 256), expected uint8 (slices, 256, 256)"),
    (npy(np.zeros((0, 256, 256), np.uint8)), "an array of shape (0, 256, 256), expected (frames, height, width)"),
]


@pytest.mark.parametrize(("content", "reason"), VOLUMES)
def test_volume_of_another_form_is_one_unreadable_row(root, whole, content, reason):
    path = root / "train" / "coronal" / "0002.npy"
    put(path, path.read_bytes()[:20] if content is None else content)
    found = read(root)
    assert_kept(found, whole, ids(whole, exam=["0002"], plane=["coronal"]), listed=True)
    (row,) = found.images[~found.images["readable"]].itertuples()
    assert row.path == "train/coronal/0002.npy" and (row.reason == reason or not reason)
    assert found.notes == whole.notes


def test_missing_plane(root, whole, truth):
    shutil.rmtree(root / "valid" / "axial")
    found = read(root)
    exams = sorted(truth.index[truth["part"] == "valid"])
    assert_kept(found, whole, ids(whole, exam=exams, plane=["axial"]), listed=True)
    assert list(found.images.loc[~found.images["readable"], "image_id"]) == [f"{exam}-axial-000" for exam in exams]
    assert notes(found) == [
        f"valid/axial/{exam}.npy: in the label tables but not on disk; listed as unreadable" for exam in exams
    ]


def test_missing_table(root, whole, truth):
    (root / "valid-acl.csv").unlink()
    found = read(root)
    assert found.images.equals(whole.images)
    train = truth.index[truth["part"] == "train"]
    assert set(found.label("acl").index) == set(train) and found.label("abnormal").equals(whole.label("abnormal"))
    assert notes(found) == ["valid-acl.csv is missing: no exam of valid/ has the label acl"]


def test_part_without_tables_is_left_out(root, whole, truth):
    for label in LABELS:
        (root / f"valid-{label}.csv").unlink()
    found = read(root)
    exams = list(truth.index[truth["part"] == "valid"])
    assert_kept(found, whole, ids(whole, exam=exams))
    assert len(notes(found)) == 3 + 3 * len(exams)
    assert notes(found)[-1] == f"valid/sagittal/{max(exams)}.npy: on disk but not in the label tables; left out"


def test_exam_without_files_and_file_without_exam(root, whole):
    path = root / "train-acl.csv"
    put(path, path.read_text() + "1129,1\n")
    shutil.copy(root / "train" / "axial" / "0000.npy", root / "train" / "axial" / "0777.npy")
    (root / "train" / "axial" / "README.txt").write_text("read me")
    (root / "train" / "axial" / "._0000.npy").write_bytes(b"of macOS")
    found = read(root)
    rest = found.images[found.images["exam"] != "1129"]
    pd.testing.assert_frame_equal(rest.reset_index(drop=True), whole.images)
    assert list(found.images.loc[found.images["exam"] == "1129", "image_id"]) == [f"1129-{p}-000" for p in PLANES]
    assert found.label("acl")["1129"] == 1 and set(found.label("meniscus").index) == set(whole.label("acl").index)
    assert set(notes(found)) == {
        "1129: not in train-abnormal.csv, so without that label",
        "1129: not in train-meniscus.csv, so without that label",
        "train/axial/README.txt: not named like train/axial/0000.npy; left out",
        "train/axial/0777.npy: on disk but not in the label tables; left out",
        *(f"train/{p}/1129.npy: in the label tables but not on disk; listed as unreadable" for p in PLANES),
    }


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("exam,label", "train-acl.csv, line 9: 'exam,label', expected <exam>,<0 or 1>; left out"),
        ("0001,2", "train-acl.csv, line 9: '0001,2', expected <exam>,<0 or 1>; left out"),
        ("12345,1", "train-acl.csv, line 9: '12345,1', expected <exam>,<0 or 1>; left out"),
        ("0001", "train-acl.csv, line 9: '0001', expected <exam>,<0 or 1>; left out"),
        ("0001,1,0", "train-acl.csv, line 9: '0001,1,0', expected <exam>,<0 or 1>; left out"),
    ],
)
def test_bad_lines_are_left_out(root, whole, line, note):
    path = root / "train-acl.csv"
    put(path, path.read_text() + line + "\n")
    found = read(root)
    assert_kept(found, whole)
    assert notes(found) == [note]


def test_repeated_line_costs_that_label(root, whole):
    path = root / "train-acl.csv"
    put(path, path.read_text() + "1,0\n")
    found = read(root)
    assert found.images.equals(whole.images)
    assert found.label("acl").equals(whole.label("acl").drop("0001"))
    assert found.label("meniscus").equals(whole.label("meniscus"))
    assert notes(found) == [
        "0001: stands for 2 files or lines (train-acl.csv, line 2, train-acl.csv, line 9); all left out, remove or "
        "rename the extra copies",
        "0001: not in train-acl.csv, so without that label",
    ]


def test_exam_in_both_parts_is_left_out(root, whole):
    path = root / "valid-acl.csv"
    put(path, path.read_text() + "0003,1\n")
    found = read(root)
    assert_kept(found, whole, ids(whole, exam=["0003"]))
    assert notes(found)[0] == "0003: in tables of train and of valid; left out, nobody can say which part is meant"
    assert len(notes(found)) == 4 and all("0003" in note for note in notes(found))


def test_labels_that_contradict_each_other_are_kept_and_noted(root, whole, truth):
    exam = truth.index[(truth["acl"] == 1) & (truth["part"] == "train")][0]
    path = root / "train-abnormal.csv"
    put(path, path.read_text().replace(f"{exam},1", f"{exam},0"))
    found = read(root)
    assert found.label("abnormal")[exam] == 0 and found.label("acl").equals(whole.label("acl"))
    assert notes(found) == [f"{exam}: abnormal = 0 beside a tear; all labels are kept as the tables have them"]


def test_tables_of_another_release_or_without_a_line(root):
    for path in root.glob("*.csv"):
        put(path, path.read_text().replace("0", "9"))
    with pytest.raises(
        OrthoError, match=r"no \.npy file has a label; the tables name exams such as 9\d+, the files are"
    ):
        read(root)
    for path in root.glob("*.csv"):
        put(path, "exam,label\n")
    with pytest.raises(OrthoError, match=r"no table \{train,valid\}-\{abnormal,acl,meniscus\}\.csv holds a line"):
        read(root)
