"""The phantoms of MURA and GRAZPEDWRI-DX: published layouts, truth, the faults on purpose."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from smallsets import COUNTS

from ortholib.errors import UsageError
from ortholib.phantom import grazpedwri, mura

FILMS, WRISTS = COUNTS["limbs"], COUNTS["wrists"]


def test_mura_tables_agree_with_the_folders(limbs):
    root, truth = limbs
    assert len(truth) == FILMS
    for part in ("train", "valid"):
        own = truth[truth["part"] == part]
        lines = (root / f"{part}_image_paths.csv").read_text().splitlines()
        assert lines == [f"MURA-v1.1/{path}" for path in own["path"]]
        studies = dict(line.split(",") for line in (root / f"{part}_labeled_studies.csv").read_text().splitlines())
        assert set(studies) == {line.rpartition("/")[0] + "/" for line in lines}
        assert all((value == "1") == ("_positive/" in study) for study, value in studies.items())
    files = {p.relative_to(root).as_posix() for p in root.rglob("image*.png")}
    assert files == set(truth["path"][truth["defect"] != "missing"])
    pattern = r"(train|valid)/XR_[A-Z]+/patient\d{5}/study\d_(positive|negative)/image\d\.png"
    assert truth["path"].str.fullmatch(pattern).all()


def test_mura_studies_and_patients():
    truth = mura.plan(0, 150)
    assert 50 <= truth["patient"].nunique() <= 70
    studies = truth.groupby(["part", "region", "patient", "study"])
    assert (studies["abnormal"].nunique() == 1).all() and 1 < studies.size().mean() < 3 and studies.size().max() <= 4
    assert (studies["image"].apply(lambda n: list(n) == list(range(1, len(n) + 1)))).all()
    assert (truth.groupby("patient")["part"].nunique() == 1).all()
    assert (truth.groupby("patient")["region"].nunique() > 1).sum() >= 5
    assert truth.groupby(["part", "region"])["abnormal"].nunique().tolist() == [2] * 14
    assert truth["patient"][truth["part"] == "train"].max() < truth["patient"][truth["part"] == "valid"].min()


def test_mura_abnormal_is_what_is_drawn(limbs):
    _, truth = limbs
    assert set(truth["finding"]) == {"", "fracture", "metal"}
    assert (truth["abnormal"] == ((truth["fracture_count"] > 0) | truth["hardware"])).all()
    assert ((truth["finding"] == "fracture") == (truth["fracture_count"] > 0)).all()
    assert truth.loc[truth["finding"] == "metal", "hardware"].all()


def test_mura_faults_are_there(limbs):
    root, truth = limbs
    assert truth["defect"].value_counts().to_dict() == {"": FILMS - 2, "truncated": 1, "missing": 1}
    bad = truth[truth["defect"] != ""].set_index("defect")
    assert (bad["part"] == "train").all() and not (root / bad.loc["missing", "path"]).exists()
    with pytest.raises(OSError, match="truncated"), Image.open(root / bad.loc["truncated", "path"]) as image:
        image.load()
    hidden = list(root.rglob("._*"))
    assert len(hidden) >= 2
    for path in hidden:
        with pytest.raises(OSError, match="cannot identify"):
            Image.open(path)


def test_grazpedwri_table(wrists):
    root, truth = wrists
    assert (root / "dataset.csv").read_bytes()[:3] == b"\xef\xbb\xbf"
    lines = (root / "dataset.csv").read_text(encoding="utf-8-sig").splitlines()
    assert lines[0] == (
        "filestem,patient_id,study_number,timehash,gender,age,laterality,projection,initial_exam,ao_classification,cast,"
        "diagnosis_uncertain,osteopenia,fracture_visible,metal,pixel_spacing,device_manufacturer"
    )
    table = pd.read_csv(root / "dataset.csv", encoding="utf-8-sig").set_index("filestem")
    assert list(table.index) == list(truth["filestem"]) and len(table) == WRISTS
    for flag in ("initial_exam", "cast", "fracture_visible", "metal"):
        assert set(table[flag].dropna()) == {1.0} and table[flag].isna().any()  # a zero is an empty cell
        assert (table[flag].fillna(0).to_numpy() == truth[flag].to_numpy()).all()
    assert truth["filestem"].str.fullmatch(r"\d{4}_\d{10}_\d{2}_WRI-[LR][12]_[MF]\d{3}").all()
    assert not truth.duplicated(["patient_id", "study_number", "projection"]).any()
    assert {path.parent.name for path in root.glob("*/*.png")} == {f"images_part{n}" for n in (1, 2, 3, 4)}
    assert {path.relative_to(root).as_posix() for path in root.glob("*/*.png")} == set(truth["path"])


def test_grazpedwri_boxes(wrists):
    root, truth = wrists
    classes = {"fracture": "fracture_visible", "metal": "metal"}
    for row in truth.itertuples():
        boxes = json.loads(row.boxes)
        for name, column in classes.items():
            assert (name in [box[0] for box in boxes]) == getattr(row, column)
        assert [box[0] for box in boxes].count("text") == 1
        for _, x0, y0, x1, y1 in boxes:
            assert 0 <= x0 < x1 <= row.width and 0 <= y0 < y1 <= row.height
        lines = np.loadtxt(root / grazpedwri.YOLO / "labels" / f"{row.image_id}.txt", ndmin=2)
        assert [grazpedwri.CLASSES[int(line[0])] for line in lines] == [box[0] for box in boxes]
        size = np.array([row.width, row.height])
        corners = np.hstack([(lines[:, 1:3] - lines[:, 3:] / 2) * size, (lines[:, 1:3] + lines[:, 3:] / 2) * size])
        np.testing.assert_allclose(corners, np.array([box[1:] for box in boxes]), atol=0.01)


def test_grazpedwri_pixels_have_sixteen_bits(wrists):
    root, truth = wrists
    assert truth["defect"].value_counts().to_dict() == {"": WRISTS - 1, "truncated": 1}
    for row in truth.itertuples():
        data = (root / row.path).read_bytes()
        assert data[24:26] == bytes([16, 0])  # bit depth and colour type of the PNG header
        if row.defect:
            continue
        with Image.open(root / row.path) as image:
            values = np.asarray(image)
        assert values.dtype == np.uint16 and np.rint(values / 257).mean() == pytest.approx(row.gray)
        assert len(np.unique(values)) > 5000


@pytest.mark.parametrize(("plan", "fewest"), [(mura.plan, mura.FEWEST), (grazpedwri.plan, grazpedwri.FEWEST)])
def test_too_few_images_are_refused_and_the_fewest_hold_all_kinds(plan, fewest):
    with pytest.raises(UsageError, match=rf"count={fewest - 1}: .*at least {fewest} images"):
        plan(0, fewest - 1)
    for seed in range(20):
        table = plan(seed, fewest)
        assert len(table) == fewest and table["path"].is_unique
        if plan is mura.plan:
            assert table.loc[table["part"] == "train", "abnormal"].nunique() == 2
            assert set(table["defect"]) == {"", "truncated", "missing"}
        else:
            assert table["metal"].any() and table["fracture_visible"].nunique() == 2
