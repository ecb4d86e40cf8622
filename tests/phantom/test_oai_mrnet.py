"""OAI, MRNet and joint phantoms: their truth is in the pixels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from sklearn.metrics import roc_auc_score
from smallsets import COUNTS

from ortholib.data.files import frames, inspect, read
from ortholib.errors import UsageError
from ortholib.phantom import joints, knee, mri, mrnet, oai
from ortholib.phantom.dicom import SYNTAXES, write_dicom

FILMS, EXAMS, FILES = (COUNTS[name] for name in ("films", "exams", "files"))


def test_films_hold_what_was_drawn(films):
    root, truth = films
    plan = {film["path"]: film for film in oai.plan(0, FILMS)}
    rows = truth[truth["side"] == "R"]
    assert set(rows["syntax"]) == {"plain", "rle", "jpeg2000", "jpeg"} and rows["window"].nunique() == 2
    assert rows["photometric"].value_counts().min() >= 3
    for row in rows.itertuples():
        drawn, _ = oai.render(plan[row.path]["knees"], np.random.default_rng([0, 9, plan[row.path]["index"]]))
        file = pydicom.dcmread(root / row.path)
        assert file.file_meta.TransferSyntaxUID == SYNTAXES[row.syntax] and file.BitsStored == 12
        stored = file.pixel_array if row.photometric == "MONOCHROME2" else oai.TOP - file.pixel_array
        assert (stored == drawn).all() and drawn.max() > 2**11
        shown = read(root / row.path)
        assert shown.shape == (oai.SIZE, 2 * oai.SIZE) and frames(root / row.path) == 1
        assert np.corrcoef(shown.ravel(), drawn.ravel())[0, 1] > 0.99
        assert (file.PatientID, file.AccessionNumber) == (row.patient, row.barcode)
        assert ("WindowCenter" in file) == row.window


def test_right_knee_lies_on_the_left_with_its_fibula_outside(films):
    pair = oai.plan(0, FILMS)[0]["knees"]
    rng = np.random.default_rng(0)
    mild = {side: replace(one, shift_x=0.0, shift_y=0.0, rotation=0.0) for side, one in pair.items()}
    image, _ = oai.render(mild, rng)
    worn = replace(mild["R"], jsw_medial=0.3, jsw_lateral=0.3)
    changed = np.abs(oai.render(mild | {"R": worn}, np.random.default_rng(0))[0].astype(int) - image).mean(axis=0)
    assert changed[: oai.SIZE].mean() > 3 * changed[oai.SIZE :].mean()
    low = image[-oai.SIZE // 5 :].mean(axis=0)  # below the joint: tibia and fibula
    left, right = low[: oai.SIZE], low[oai.SIZE :]
    outer = oai.SIZE // 4
    assert left[:outer].mean() > left[-outer:].mean() and right[-outer:].mean() > right[:outer].mean()


def test_grades_follow_the_truth():
    pair = knee.draw_patient(np.random.default_rng(0))
    sound = replace(
        pair["L"], osteophytes=(0.0,) * 4, jsw_medial=5.0, jsw_lateral=5.0, jsw_normal=5.0, sclerosis=0.0, kl=0
    )
    assert set(oai.oarsi(sound).values()) == {0}
    worn = oai.oarsi(replace(sound, jsw_lateral=1.0, sclerosis=0.6, medial_disease=False, osteophytes=(0, 1.2, 3, 9)))
    assert (worn["xrjsm"], worn["xrjsl"]) == (0, 3)
    assert [worn[name] for name in oai.OSTEOPHYTES] == [0, 1, 2, 3]
    assert [worn[name] for name in oai.SCLEROSIS] == [0, 2, 0, 2]


def test_films_of_a_patient_and_their_tables(films):
    root, truth = films
    assert len(truth) == 2 * FILMS and truth["patient"].nunique() == FILMS - FILMS // 3
    visits = truth[truth["side"] == "R"].groupby("patient")["visit"].agg(list)
    assert set(map(tuple, visits)) == {("V00",), ("V00", "V03")}
    assert (truth.groupby(["patient", "side"])["kl"].nunique() == 1).all()  # another day, the same knee
    table = pd.read_csv(root / oai.READINGS / "kxr_sq_bu00.txt", sep="|", dtype=str)
    main = table[table["READPRJ"] == "15"].merge(truth[truth["visit"] == "V00"], left_on="ID", right_on="patient")
    main = main[main["SIDE"].map({"1": "R", "2": "L"}) == main["side"]]
    assert len(main) == (truth["visit"] == "V00").sum() and (main["V00XRKL"].astype(float) == main["kl"]).all()
    assert main["V00BARCDBU"].str.fullmatch(r"0166\d{8}").all()
    later = pd.read_csv(root / oai.READINGS / "kxr_sq_bu03.csv", dtype=str)
    assert set(later["SIDE"]) == {"1: Right", "2: Left"} and later["V03BARCDBU"].str.fullmatch(r"166\d{8}").all()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_dicom_of_any_shape_and_depth(tmp_path, syntax):
    pixels = np.random.default_rng(0).integers(0, 2**10, (21, 34)).astype(np.uint16)
    write_dicom(tmp_path / "a", pixels, "name", modality="MR", bits=10, syntax=syntax)
    file = pydicom.dcmread(tmp_path / "a")
    assert (file.pixel_array == pixels).all() and file.Modality == "MR" and file.BitsStored == 10
    write_dicom(tmp_path / "b", pixels, "other", modality="MR", bits=10, syntax=syntax)
    assert pydicom.dcmread(tmp_path / "b").SOPInstanceUID != file.SOPInstanceUID


def test_exams_have_the_layout_of_the_release(exams):
    root, truth = exams
    assert list(truth["exam"]) == [f"{i:04d}" for i in range(EXAMS)] and set(truth["part"]) == {"train", "valid"}
    for row in truth.itertuples():
        for plane in mri.AXES:
            volume = np.load(root / row.part / plane / f"{row.exam}.npy")
            assert volume.dtype == np.uint8 and volume.shape == (getattr(row, f"slices_{plane}"), 256, 256)
    for part, rows in truth.groupby("part"):
        for label in mrnet.LABELS:
            table = pd.read_csv(root / f"{part}-{label}.csv", header=None, dtype={0: str})
            assert list(table[0]) == list(rows["exam"]) and list(table[1]) == list(rows[label])
    both = mrnet.plan(0, 30)
    for part in ("train", "valid"):
        for label in mrnet.LABELS:
            assert {exam[label] for exam in both if exam["part"] == part} == {0, 1}
    assert all(exam["abnormal"] >= max(exam["acl"], exam["meniscus"]) for exam in both)
    with pytest.raises(UsageError, match="count=11: the MRNet phantom needs at least 12 exams"):
        mrnet.plan(0, 11)


def spot(root: Path, row, name: str) -> float:
    """Mean of the sagittal image where a structure is, in shares of fluid."""
    k, y, x = (round(getattr(row, f"{name}_{axis}")) for axis in ("slice", "row", "column"))
    volume = np.load(root / row.part / "sagittal" / f"{row.exam}.npy")
    return volume[k, y - 3 : y + 4, x - 3 : x + 4].mean() / row.gain


@pytest.mark.parametrize(("name", "label"), [("acl", "acl"), ("horn", "meniscus")])
def test_tears_are_seen_where_they_are_and_not_in_the_mean(generate, name, label):
    root, truth = generate("exams", 3, 24)
    local = [spot(root, row, name) for row in truth.itertuples()]
    whole = [np.load(root / r.part / "sagittal" / f"{r.exam}.npy").mean() for r in truth.itertuples()]
    assert roc_auc_score(truth[label], local) > 0.95
    assert 0.2 < roc_auc_score(truth[label], whole) < 0.8


@pytest.mark.parametrize("finding", ["acl", "meniscus", "effusion"])
def test_a_finding_changes_its_place_alone(finding):
    none = dict.fromkeys(("acl", "meniscus", "effusion"), False)
    for seed in range(3):
        images = []
        for found in (False, True):
            one = mri.draw_knee(np.random.default_rng(seed), **none | {finding: found})
            stack = mri.knee_stack(one, "sagittal", 8)
            images.append(mri.render_knee(one, stack, np.random.default_rng(9)).astype(int))
        changed = np.abs(images[1] - images[0]) > 40
        assert 30 < changed.sum() < 0.01 * changed.size
        if finding == "acl":
            k, y, x = (round(value) for value in stack.place(one.acl_middle))
            assert changed[k, y, x] and images[1][k, y, x] > images[0][k, y, x]


def test_a_place_is_where_it_is_painted():
    for plane in mri.AXES:
        stack = mri.Stack(plane, (-8.0, 0.0, 8.0), 128, 100.0, (3.0, -4.0, 5.0), 0.2, True)
        point, signal = [1.0, 2.0, 3.0], np.zeros(stack.shape, np.float32)
        mri.paint(signal, mri.ellipsoid(stack.points(), point, (5, 5, 5)), 1.0)
        image = mri.acquire(signal, stack, np.random.default_rng(0), 0.0)
        k, y, x = stack.place(point)
        weight = np.clip(image[k] - 0.5, 0, None)
        rows, columns = np.indices(weight.shape) + 0.5
        assert image[k].sum() == image.sum(axis=(1, 2)).max()
        assert (weight * rows).sum() / weight.sum() == pytest.approx(y, abs=0.5)
        assert (weight * columns).sum() / weight.sum() == pytest.approx(x, abs=0.5)


def test_joint_manifests_agree_with_the_truth(files):
    root, truth = files
    for joint, rows in truth.groupby("joint"):
        table = pd.read_csv(root / f"{joint}.csv")
        labels = list(joints.LABELS[joint])
        frame = [] if joint == "shoulder" else ["frame"]
        assert list(table.columns) == ["path", "group", "split", *frame, *labels] and len(table) == FILES
        assert (table["path"].to_numpy() == rows["path"].to_numpy()).all() and table["path"].is_unique
        assert (table.groupby("group")["split"].nunique() == 1).all()
        for label in labels:
            assert (table[label].to_numpy() == rows[label].to_numpy()).all()
        if frame:
            np.testing.assert_array_equal(table["frame"], rows["frame"])
        assert set(rows["format"]) == set(joints.FORMATS)
        for label, values in joints.LABELS[joint].items():
            for split in ("train", "val", "test"):
                planned = [file for file in joints.plan(0, joint, 24) if file["split"] == split]
                assert {file[label] for file in planned} == set(range(values)), (joint, label, split)


def test_joint_files_show_what_was_drawn(files):
    root, truth = files
    plan = {file["path"]: file for joint in joints.LABELS for file in joints.plan(0, joint, FILES)}
    for row in truth.itertuples():
        file, path = plan[row.path], root / row.path
        drawn = joints.render(
            file, np.random.default_rng([0, 15, sorted(joints.LABELS).index(row.joint), file["index"]])
        )
        assert inspect(path) == (file["size"], file["size"], "")
        assert frames(path) == row.planes == len(drawn)
        assert np.isnan(row.frame) == (row.planes == 1)
        for k in range(row.planes):
            shown = read(path, frame=k)
            assert shown.dtype == np.uint8 and np.corrcoef(shown.ravel(), drawn[k].ravel())[0, 1] > 0.99, row.path
        assert shown.max() > 60


@pytest.mark.parametrize("joint", joints.LABELS)
def test_a_joint_finding_changes_its_place_alone(joint):
    base = {"joint": joint, "planes": 3, "size": 128} | dict.fromkeys(joints.LABELS[joint], 0)
    sound = joints.render(base, np.random.default_rng(4))
    for label, values in joints.LABELS[joint].items():
        sizes = []
        for value in range(1, values):
            changed = np.abs(joints.render(base | {label: value}, np.random.default_rng(4)) - sound) > 0.25
            assert 10 < changed[1].sum() < 0.02 * changed[1].size
            sizes.append(changed[1].sum())
        assert sizes == sorted(sizes)  # a tear through the tendon is larger than one of its under side
