"""The MRNet reader: equal to the phantom's truth slice by slice, and a bad volume or line costs only itself."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ortholib.data import files
from ortholib.data.sets.mrnet import LABELS, PLANES, REMARKS, read
from ortholib.errors import OrthoError
from ortholib.phantom.mrnet import write_mrnet

EXAMS = 12


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """Read only for the tests: the phantom and its truth, indexed by exam."""
    root = tmp_path_factory.mktemp("mrnet") / "MRNet-v1.0"
    truth = write_mrnet(root, 1, EXAMS, lambda function, tasks: [function(task) for task in tasks])
    return root, truth.set_index("exam")


@pytest.fixture(scope="module")
def sound(written):
    return read(written[0])


@pytest.fixture
def mrnet(written, tmp_path) -> Path:
    """A copy that a test may damage: its files are linked to the phantom's, so replace, never write into them."""
    return Path(shutil.copytree(written[0], tmp_path / "MRNet-v1.0", copy_function=lambda a, b: Path(b).hardlink_to(a)))


def rewrite(path: Path, content: bytes | str) -> None:
    """Replace a file, which may be a link to the phantom's."""
    path.unlink()
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def assert_kept(damaged, sound, volumes: set[tuple[str, str]] = frozenset(), exams: set[str] = frozenset()) -> None:
    """All but these (exam, plane) and these exams is as before."""
    old, new = sound.images, damaged.images
    old = old[~old["exam"].isin(exams) & ~pd.Series(zip(old["exam"], old["plane"], strict=True)).isin(volumes)]
    kept = new[new["readable"]]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), old.reset_index(drop=True))
    before = sound.labels[~sound.labels["unit_id"].isin(exams)]
    sort = ["label", "unit_id"]
    pd.testing.assert_frame_equal(
        damaged.labels.sort_values(sort, ignore_index=True), before.sort_values(sort, ignore_index=True)
    )


def notes(found) -> list[str]:
    assert found.notes[: len(REMARKS)] == REMARKS
    return found.notes[len(REMARKS) :]


def test_equals_the_truth(written, sound):
    root, truth = written
    images = sound.images
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
        assert sound.label(label).sort_index().equals(truth[label].astype(float).rename("value").rename_axis("unit_id"))
    assert sound.notes == REMARKS and sound.grouped_by == "exam" and sound.boxes.empty
    assert sound.version == "unknown release"


SPELLINGS = {
    "zeros dropped": lambda lines: [line.lstrip("0") if line[3] != "0" else line[3:] for line in lines],
    "byte order mark": lambda lines: ["\ufeff" + lines[0], *lines[1:]],
    "Windows": lambda lines: [line + "\r" for line in lines],
    "quoted and spaced": lambda lines: [f'"{line[:4]}" , "{line[5:]}"' for line in lines],
    "blank lines": lambda lines: ["", *lines, "", " "],
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_spellings_of_a_table(mrnet, sound, spelling):
    path = mrnet / "train-acl.csv"
    rewrite(path, "\n".join(spelling(path.read_text().splitlines())))
    found = read(mrnet)
    assert_kept(found, sound)
    assert notes(found) == []


def save(path: Path, array: np.ndarray, **options) -> None:
    path.unlink()
    np.save(path, array, **options)


VOLUMES = {
    "gone": (lambda p: p.unlink(), "missing file"),
    "empty": (lambda p: rewrite(p, b""), "empty file (0 bytes)"),
    "cut": (lambda p: rewrite(p, p.read_bytes()[:90_000]), "truncated"),
    "cut in its header": (lambda p: rewrite(p, p.read_bytes()[:20]), None),
    "text": (lambda p: rewrite(p, "no array"), None),
    "pickle": (lambda p: rewrite(p, pickle.dumps([1, 2])), None),
    "objects": (
        lambda p: save(p, np.array([None, 1], object), allow_pickle=True),
        "an array of Python objects, which is never read",
    ),
    "float": (
        lambda p: save(p, np.zeros((5, 256, 256), np.float32)),
        "float32 of shape (5, 256, 256), expected uint8 (slices, 256, 256)",
    ),
    "small": (
        lambda p: save(p, np.zeros((5, 128, 128), np.uint8)),
        "uint8 of shape (5, 128, 128), expected uint8 (slices, 256, 256)",
    ),
    "one slice": (
        lambda p: save(p, np.zeros((256, 256), np.uint8)),
        "uint8 of shape (256, 256), expected uint8 (slices, 256, 256)",
    ),
    "no slice": (
        lambda p: save(p, np.zeros((0, 256, 256), np.uint8)),
        "an array of shape (0, 256, 256), expected (frames, height, width)",
    ),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "missing file"),
}


@pytest.mark.parametrize(("damage", "reason"), VOLUMES.values(), ids=VOLUMES.keys())
def test_one_bad_volume_costs_only_itself(mrnet, sound, damage, reason):
    damage(mrnet / "train" / "coronal" / "0002.npy")
    found = read(mrnet)
    assert_kept(found, sound, volumes={("0002", "coronal")})
    row = found.images[~found.images["readable"]]
    assert list(row["image_id"]) == ["0002-coronal-000"] and list(row["path"]) == ["train/coronal/0002.npy"]
    assert (row[["width", "height", "frame"]] == 0).all(axis=None)
    assert row["reason"].item() == reason or (reason is None and row["reason"].item())
    lost = ["0002: in train-*.csv, but no coronal volume on disk; listed as unreadable"]
    assert notes(found) == (lost if reason == "missing file" else [])


def test_link_out_of_the_root(mrnet, sound, tmp_path):
    path = mrnet / "valid" / "axial" / "0009.npy"
    path.rename(tmp_path / "away.npy")
    path.symlink_to(tmp_path / "away.npy")
    found = read(mrnet)
    assert_kept(found, sound, volumes={("0009", "axial")})
    assert list(found.images.loc[~found.images["readable"], "reason"]) == ["a link out of the data root"]


def test_missing_plane(mrnet, sound, written):
    shutil.rmtree(mrnet / "valid" / "axial")
    found = read(mrnet)
    exams = sorted(written[1].index[written[1]["part"] == "valid"])
    assert_kept(found, sound, volumes={(exam, "axial") for exam in exams})
    assert list(found.images.loc[~found.images["readable"], "image_id"]) == [f"{exam}-axial-000" for exam in exams]
    assert notes(found) == [
        f"{exam}: in valid-*.csv, but no axial volume on disk; listed as unreadable" for exam in exams
    ]


def test_missing_table(mrnet, sound, written):
    (mrnet / "valid-acl.csv").unlink()
    found = read(mrnet)
    assert found.images.equals(sound.images)
    train = written[1].index[written[1]["part"] == "train"]
    assert set(found.label("acl").index) == set(train) and found.label("abnormal").equals(sound.label("abnormal"))
    assert notes(found) == ["valid-acl.csv is missing: no exam of valid/ has the label acl"]


def test_part_without_tables_is_left_out(mrnet, sound, written):
    for label in LABELS:
        (mrnet / f"valid-{label}.csv").unlink()
    found = read(mrnet)
    exams = set(written[1].index[written[1]["part"] == "valid"])
    assert_kept(found, sound, exams=exams)
    assert len(notes(found)) == 3 + 3 * len(exams)
    assert notes(found)[-1] == f"valid/sagittal/{max(exams)}.npy: its exam has no label in valid-*.csv; left out"


def test_exam_without_files_and_file_without_exam(mrnet, sound):
    path = mrnet / "train-acl.csv"
    rewrite(path, path.read_text() + "1129,1\n")
    shutil.copy(mrnet / "train" / "axial" / "0000.npy", mrnet / "train" / "axial" / "0777.npy")
    (mrnet / "train" / "axial" / "README.txt").write_text("read me")
    (mrnet / "train" / "axial" / "._0000.npy").write_bytes(b"of macOS")
    found = read(mrnet)
    rest = found.images[found.images["exam"] != "1129"]
    pd.testing.assert_frame_equal(rest.reset_index(drop=True), sound.images)
    assert list(found.images.loc[found.images["exam"] == "1129", "image_id"]) == [f"1129-{p}-000" for p in PLANES]
    assert found.label("acl")["1129"] == 1 and set(found.label("meniscus").index) == set(sound.label("acl").index)
    assert set(notes(found)) == {
        "1129: not in train-abnormal.csv, so without that label",
        "1129: not in train-meniscus.csv, so without that label",
        "train/axial/README.txt: not named like train/axial/0000.npy; left out",
        "train/axial/0777.npy: its exam has no label in train-*.csv; left out",
        "1129: in train-*.csv, but no axial, coronal, sagittal volume on disk; listed as unreadable",
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
def test_bad_lines_are_left_out(mrnet, sound, line, note):
    path = mrnet / "train-acl.csv"
    rewrite(path, path.read_text() + line + "\n")
    found = read(mrnet)
    assert_kept(found, sound)
    assert notes(found) == [note]


def test_repeated_line_costs_that_label(mrnet, sound):
    path = mrnet / "train-acl.csv"
    rewrite(path, path.read_text() + "1,0\n")
    found = read(mrnet)
    assert found.images.equals(sound.images)
    assert found.label("acl").equals(sound.label("acl").drop("0001"))
    assert found.label("meniscus").equals(sound.label("meniscus"))
    assert notes(found) == [
        "0001: stands for 2 files or lines (train-acl.csv, line 2, train-acl.csv, line 9); all left out, remove or "
        "rename the extra copies",
        "0001: not in train-acl.csv, so without that label",
    ]


def test_exam_in_both_parts_is_left_out(mrnet, sound):
    path = mrnet / "valid-acl.csv"
    rewrite(path, path.read_text() + "0003,1\n")
    found = read(mrnet)
    assert_kept(found, sound, exams={"0003"})
    assert notes(found)[0] == "0003: in tables of train and of valid; left out, nobody can say which part is meant"
    assert len(notes(found)) == 4 and all("0003" in note for note in notes(found))


def test_labels_that_contradict_each_other_are_kept_and_noted(mrnet, sound, written):
    exam = written[1].index[(written[1]["acl"] == 1) & (written[1]["part"] == "train")][0]
    path = mrnet / "train-abnormal.csv"
    rewrite(path, path.read_text().replace(f"{exam},1", f"{exam},0"))
    found = read(mrnet)
    assert found.label("abnormal")[exam] == 0 and found.label("acl").equals(sound.label("acl"))
    assert notes(found) == [f"{exam}: abnormal = 0 beside a tear; all labels are kept as the tables have them"]


def test_release_is_recognised(mrnet):
    for part, numbers in (("train", range(1130)), ("valid", range(1130, 1250))):
        for label in LABELS:
            rewrite(mrnet / f"{part}-{label}.csv", "".join(f"{i:04d},{i % 2}\n" for i in numbers))
    found = read(mrnet)
    assert found.version == "MRNet-v1.0 (2018)" and found.images["exam"].nunique() == 1250
    assert set(found.usable["exam"]) == {f"{i:04d}" for i in range(8)}  # 8 to 11 lie in valid/, the tables say train


def test_wrong_or_empty_root(mrnet, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OrthoError, match=r"empty is not MRNet: it holds nothing; expected train/ and valid/ .*--root"):
        read(tmp_path / "empty")
    (tmp_path / "kneekl" / "train" / "0").mkdir(parents=True)
    with pytest.raises(OrthoError, match=r"kneekl is not MRNet: it holds train; expected train/"):
        read(tmp_path / "kneekl")
    for path in mrnet.glob("*.csv"):
        rewrite(path, path.read_text().replace("0", "9"))
    with pytest.raises(
        OrthoError, match=r"no \.npy file has a label; the tables name exams such as 9\d+, the files are"
    ):
        read(mrnet)
    for path in mrnet.glob("*.csv"):
        rewrite(path, "exam,label\n")
    with pytest.raises(OrthoError, match=r"no table \{train,valid\}-\{abnormal,acl,meniscus\}\.csv holds a line"):
        read(mrnet)
    for path in mrnet.rglob("*.npy"):
        path.unlink()
    rewrite(mrnet / "train-acl.csv", "0000,1\n")
    with pytest.raises(OrthoError, match=r"the folders of its planes hold no file\. Unpack the release again"):
        read(mrnet)


def test_reading_leaves_the_root_as_it_is(written, tree):
    before = tree(written[0])
    read(written[0])
    assert tree(written[0]) == before
