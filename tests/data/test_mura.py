"""The MURA reader: equal to the phantom's truth, ids without the label, and what folders and tables say together."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from trees import assert_kept, edit, new_notes, state

from ortholib.data.sets.mura import read
from ortholib.phantom.mura import APPLE_DOUBLE

SET, COUNT = "mura", 40
CSV = [f"{part}_{kind}.csv" for part in ("train", "valid") for kind in ("image_paths", "labeled_studies")]


@pytest.fixture
def truth(written) -> pd.DataFrame:
    truth = written(SET).truth
    exam = "XR_" + truth["region"] + "/patient" + truth["patient"] + "/study" + truth["study"].astype(str)
    image_id = exam.str.replace("/", "-") + "-image" + truth["image"].astype(str)
    return truth.assign(exam=exam, image_id=image_id).set_index("image_id", drop=False)


def study(truth: pd.DataFrame, *, part: str = "train", abnormal: bool = True, least: int = 2) -> pd.DataFrame:
    """The images of one sound study."""
    rows = truth[(truth["part"] == part) & (truth["abnormal"] == abnormal)]
    for _, own in rows.groupby("exam"):
        if len(own) >= least and (own["defect"] == "").all():
            return own
    raise AssertionError("the phantom has no such study")


def test_equals_the_truth(whole, truth):
    found = state(whole, "abnormal")
    assert set(found.index) == set(truth.index) and len(found) == COUNT
    truth = truth.loc[found.index]
    assert (found["path"] == truth["path"]).all() and (found["abnormal"] == truth["abnormal"].astype(float)).all()
    assert (found["exam"] == truth["exam"]).all() and (found["group"] == truth["patient"]).all()
    assert (found["official_part"] == truth["part"].replace("valid", "test")).all()
    assert (found["body_part"] == truth["region"].str.lower()).all() and found["body_part"].nunique() == 7
    reasons = truth["defect"].replace("missing", "missing file")
    assert (found["reason"] == reasons).all() and sorted(set(reasons)) == ["", "missing file", "truncated"]
    sound = found["readable"]
    assert (found.loc[sound, ["width", "height"]] == truth.loc[sound, ["width", "height"]]).all(axis=None)
    assert whole.grouped_by == "patient" and whole.boxes.empty and whole.version == "unknown release"
    gone = truth.index[truth["defect"] == "missing"].item()
    assert whole.notes == [f"{gone}: in train_image_paths.csv but not on disk; listed as unreadable"]


def test_a_patient_is_one_group_across_body_parts(whole):
    regions = whole.images.groupby("group")["body_part"].nunique()
    assert regions.max() > 1 and whole.images["group"].str.fullmatch(r"\d{5}").all()
    assert (whole.images.groupby("group")["official_part"].nunique() == 1).all()


def test_one_label_for_all_images_of_a_study(whole):
    assert (state(whole, "abnormal").groupby("exam")["abnormal"].nunique() == 1).all()


def test_no_id_carries_the_label(root, whole):
    """With every label turned round, folders and csv files alike, nothing changes but labels and paths."""
    for folder in sorted(root.glob("*/*/*/study*")):
        sign = "negative" if folder.name.endswith("positive") else "positive"
        folder.rename(folder.with_name(folder.name.split("_")[0] + "_" + sign))
    for name in CSV:
        text = (root / name).read_text()
        for old, new in (("positive", "\0"), ("negative", "positive"), ("\0", "negative")):
            text = text.replace(old, new)
        for old, new in (("/,0\n", "\0"), ("/,1\n", "/,0\n"), ("\0", "/,1\n")):
            text = text.replace(old, new)
        (root / name).write_text(text)
    before, now = (state(s, "abnormal") for s in (whole, read(root)))
    assert (now["abnormal"] == 1 - before["abnormal"]).all()
    pd.testing.assert_frame_equal(now.drop(columns=["abnormal", "path"]), before.drop(columns=["abnormal", "path"]))
    assert not whole.images[["image_id", "exam", "group"]].apply(lambda c: c.str.contains("itive|ative")).any(axis=None)


def test_hidden_files_of_macos_are_no_data(root, whole):
    assert list(root.rglob("._*"))  # the phantom has some
    for folder in root.glob("*/*/*/study*"):
        (folder / "._image1.png").write_bytes(APPLE_DOUBLE)
    (root / "train" / ".DS_Store").write_bytes(b"\0")
    found = read(root)
    assert_kept(found, whole)
    assert found.notes == whole.notes


@pytest.mark.parametrize("part", ["train", "valid"])
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00\x01" * 50, b"a,b\nc,d\n"])
def test_labels_without_their_table_are_the_names_of_the_folders(root, whole, part, content):
    name = f"{part}_labeled_studies.csv"
    (root / name).unlink()
    if content is not None:
        (root / name).write_bytes(content)
    found = read(root)
    assert_kept(found, whole)
    (said,) = new_notes(found, whole)
    assert said.startswith(name) and said.endswith("; labels are the names of the folders")
    assert "No such file" in said if content is None else f"line like MURA-v1.1/{part}/XR_WRIST" in said


def test_images_without_their_table_are_those_on_disk(root, whole, truth):
    (root / "train_image_paths.csv").unlink()
    found = read(root)
    assert_kept(found, whole, set(truth.index[truth["defect"] == "missing"]))
    assert found.notes == [
        "train_image_paths.csv cannot be read (No such file or directory); the images are those on disk"
    ]


def test_no_table_at_all(root, whole, truth):
    for name in CSV:
        (root / name).unlink()
    found = read(root)
    assert_kept(found, whole, set(truth.index[truth["defect"] == "missing"]))
    assert len(found.notes) == 4


BAD = ["Img_Path", "MURA-v1.1/train/XR_KNEE/patient00001/study1_positive/image1.png", "train/XR_HAND/study1/image1.png"]
BAD += ["MURA-v1.1/valid/XR_HAND/patient00001/study1_positive/image9.png", "\x00\x01"]


def test_bad_lines_cost_only_themselves(root, whole):
    path = root / "train_image_paths.csv"
    path.write_bytes("\n".join([*BAD, path.read_text()]).encode() + b"\xff\xfe\n")
    found = read(root)
    assert_kept(found, whole)
    said = new_notes(found, whole)
    assert len(said) == len(BAD) + 1 and said[0].startswith(
        "train_image_paths.csv, line 1: 'Img_Path' is not like MURA"
    )
    path = root / "valid_labeled_studies.csv"
    path.write_text("Img_Path,Label\n" + path.read_text() + "MURA-v1.1/valid/XR_HAND/patient00001/study1_positive/,2\n")
    said = [note for note in read(root).notes if note.startswith(path.name)]
    assert len(said) == 2 and "line 1: 'Img_Path,Label' is not like MURA-v1.1/valid/XR_WRIST/" in said[0]


def test_line_endings_blank_lines_repeats_and_paths_without_the_folder_of_the_release(root, whole):
    for name in CSV:
        text = (root / name).read_text().replace("MURA-v1.1/", "")
        (root / name).write_bytes(b"\xef\xbb\xbf" + (text + text).replace("\n", "\r\n\r\n").encode())
    found = read(root)
    assert_kept(found, whole)
    assert found.notes == whole.notes


@pytest.mark.parametrize("abnormal", [True, False])
def test_table_that_contradicts_the_folder_is_the_label(root, whole, truth, abnormal):
    own = study(truth, abnormal=abnormal)
    folder = own["path"].iloc[0].rpartition("/")[0]
    edit(root / "train_labeled_studies.csv", f"{folder}/,{int(abnormal)}", f"{folder}/,{1 - abnormal}")
    found = read(root)
    before, now = state(whole, "abnormal"), state(found, "abnormal").loc[state(whole, "abnormal").index]
    changed = before.index[before["abnormal"] != now["abnormal"]]
    assert set(changed) == set(own.index) and (now.loc[changed, "abnormal"] == 1 - abnormal).all()
    (said,) = new_notes(found, whole)
    exam = own["exam"].iloc[0]
    assert said.startswith(f"{exam}: its folder says") and said.endswith("the csv file, the published label, is used")


def test_renamed_folder_keeps_the_published_label(root, whole, truth):
    """The ids carry no label, so the images are still found; only the paths change."""
    own = study(truth)
    old = (root / own["path"].iloc[0]).parent
    old.rename(old.with_name(old.name.replace("positive", "negative")))
    found = read(root)
    before, now = state(whole, "abnormal"), state(found, "abnormal").loc[state(whole, "abnormal").index]
    pd.testing.assert_frame_equal(now.drop(columns="path"), before.drop(columns="path"))
    assert [note.split(":")[0] for note in new_notes(found, whole)] == [own["exam"].iloc[0]]


def test_study_both_positive_and_negative_is_left_out(root, whole, truth):
    own = study(truth)
    folder = (root / own["path"].iloc[0]).parent
    shutil.copytree(folder, folder.with_name(folder.name.replace("positive", "negative")))
    found = read(root)
    assert_kept(found, whole, set(own.index))
    (said,) = new_notes(found, whole)
    assert said.startswith(f"{own['exam'].iloc[0]}: stands in several folders (") and said.endswith("left out")
    assert "_negative, " in said and "_positive)" in said


def test_study_that_the_table_calls_both_is_left_out(root, whole, truth):
    own = study(truth)
    folder = own["path"].iloc[0].rpartition("/")[0]
    with (root / "train_labeled_studies.csv").open("a") as file:
        file.write(f"MURA-v1.1/{folder}/,0\n")
    found = read(root)
    assert_kept(found, whole, set(own.index))
    (said,) = new_notes(found, whole)
    assert said.startswith(f"{own['exam'].iloc[0]}: called both normal and abnormal (train_labeled_studies.csv, line")


def test_study_that_stands_in_both_parts_is_left_out(root, whole, truth):
    own = study(truth)
    folder = (root / own["path"].iloc[0]).parent
    shutil.copytree(folder, root / "valid" / folder.relative_to(root / "train"))
    assert_kept(read(root), whole, set(own.index))


def test_patient_in_both_parts_is_noted(root, whole, truth):
    own = study(truth, part="valid", abnormal=False, least=1)
    patient = truth["patient"][truth["part"] == "train"].iloc[0]
    new = f"valid/XR_{own['region'].iloc[0]}/patient{patient}/study7_negative"
    old = own["path"].iloc[0].rpartition("/")[0]
    (root / new).parent.mkdir(parents=True)
    (root / old).rename(root / new)
    for name in ("valid_image_paths.csv", "valid_labeled_studies.csv"):
        edit(root / name, old, new)
    found = read(root)
    assert new_notes(found, whole) == [
        f"patient{patient}: stands in train and in valid; the official parts share this patient"
    ]
    assert set(found.images.loc[found.images["group"] == patient, "official_part"]) == {"train", "test"}


def test_studies_that_only_one_side_knows(root, whole, truth):
    own = study(truth)
    folder = own["path"].iloc[0].rpartition("/")[0]
    edit(root / "train_labeled_studies.csv", f"MURA-v1.1/{folder}/,1\n", "")
    found = read(root)
    assert_kept(found, whole)
    exam = own["exam"].iloc[0]
    assert new_notes(found, whole) == [f"{exam}: not in train_labeled_studies.csv; labelled by its folder's name"]
    with (root / "train_labeled_studies.csv").open("a") as file:
        file.write("MURA-v1.1/train/XR_HAND/patient09999/study1_positive/,1\n")
    said = "XR_HAND/patient09999/study1: in train_labeled_studies.csv, but none of its images is there; left out"
    assert said in read(root).notes


def test_links_out_of_the_root(root, whole, truth, tmp_path):
    own = study(truth)
    folder = (root / own["path"].iloc[0]).parent
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    found = read(root)
    assert_kept(found, whole, set(own.index), listed=True)
    assert set(state(found, "abnormal").loc[own.index, "reason"]) == {"a link out of the data root"}


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("train/{study}/image9.png", "{image}-image9: on disk but not in train_image_paths.csv; left out"),
        ("train/{study}/scan.png", "train/{study}/scan.png: not named like train/XR_WRIST/patient00006/"),
        ("train/{study}/more/image1.png", "train/{study}/more/image1.png: not named like train/XR_WRIST/"),
        ("train/XR_HAND/patient1/study1_positive/image1.png", "train/XR_HAND/patient1/study1_positive/image1.png: not"),
        ("train/XR_HAND/image1.png", "train/XR_HAND/image1.png: not named like"),
        ("train/XR_KNEE/patient00001/study1_positive/image1.png", "train/XR_KNEE: no body part of MURA; left out"),
        ("valid/list.txt", "valid/list.txt: no body part of MURA; left out"),
    ],
)
def test_extra_files_are_left_out_and_noted(root, whole, truth, where, said):
    own = study(truth)
    folder = "/".join(own["path"].iloc[0].split("/")[1:-1])
    image = own.index[0].rpartition("-")[0]
    path = root / where.format(study=folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / own["path"].iloc[0], path)
    found = read(root)
    assert_kept(found, whole)
    (note,) = new_notes(found, whole)
    assert note.startswith(said.format(study=folder, image=image))


def test_copy_as_jpeg_has_the_same_ids(root, whole):
    for path in root.glob("valid/*/*/*/image*.png"):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    found = read(root)
    before, now = state(whole, "abnormal"), state(found, "abnormal").loc[state(whole, "abnormal").index]
    assert (now.drop(columns="path") == before.drop(columns="path")).all(axis=None) and found.notes == whole.notes


def test_body_part_or_part_without_a_folder_is_one_note(root, whole, truth):
    lost = truth[(truth["part"] == "train") & (truth["region"] == "HAND")]
    shutil.rmtree(root / "train" / "XR_HAND")
    found = read(root)
    assert_kept(found, whole, set(lost.index))
    assert f"train/XR_HAND: no such folder; its {len(lost)} images in train_image_paths.csv are left out" in found.notes
    assert len(found.notes) <= 2
    shutil.rmtree(root / "train")
    found = read(root)
    assert_kept(found, whole, set(truth.index[truth["part"] == "train"]))
    assert found.notes == ["no folder train/: the train part is left out"]


def test_pixels_of_colour_and_grey_files(whole):
    from ortholib.data import files

    modes = set()
    for path in whole.usable["path"]:
        with Image.open(whole.root / path) as image:
            modes.add(image.mode)
        assert np.ptp(files.read(whole.root / path)) > 100
    assert modes == {"L", "RGB"}
