"""The written sets: layouts of the real ones, truth, and the faults on purpose."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from ortholib import paths
from ortholib.errors import OrthoError, UsageError
from ortholib.phantom import fracatlas
from ortholib.phantom import write as package_write
from ortholib.phantom.write import ensure, key, write

KNEES, BONES = 40, 60
COUNTS = {"FracAtlas": BONES, "kneeKL224": KNEES}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "a"
    write(out, 0, COUNTS)
    return out


@pytest.fixture(scope="module")
def films(phantom) -> pd.DataFrame:
    return pd.read_parquet(phantom / "truth" / "bones.parquet").set_index("image_id", drop=False)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("L"))


def image_path(phantom: Path, film) -> Path:
    return phantom / "FracAtlas" / "images" / fracatlas.subfolder(film.fractured) / film.image_id


def test_same_seed_same_bytes_other_seed_other_pixels(phantom, tmp_path):
    write(tmp_path / "b", 0, COUNTS)
    write(tmp_path / "c", 1, COUNTS)
    files = sorted(p.relative_to(phantom) for p in phantom.rglob("*.jpg"))
    assert len(files) == KNEES + BONES
    assert all((phantom / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    other = {p.read_bytes() for p in (tmp_path / "c").rglob("*.jpg")}
    assert not other & {(phantom / f).read_bytes() for f in files}


def test_tables_agree(phantom, films):
    root = phantom / "FracAtlas"
    table = pd.read_csv(root / "dataset.csv")
    assert ",".join(table.columns) == (
        "image_id,hand,leg,hip,shoulder,mixed,hardware,multiscan,fractured,fracture_count,frontal,lateral,oblique"
    )
    assert list(table.image_id) == [f"IMG{i:07d}.jpg" for i in range(BONES)]
    assert table.fractured.sum() == (table.fracture_count > 0).sum() - 1
    conflict = table[(table.fractured == 0) & (table.fracture_count > 0)].image_id.item()
    official = {p: list(pd.read_csv(root / "Utilities/Fracture Split" / f"{p}.csv").image_id) for p in fracatlas.SPLIT}
    assert conflict in official["test"]
    positives = set(table.image_id[table.fracture_count > 0])
    assert sorted(name for names in official.values() for name in names) == sorted(positives)
    assert {p.name for p in (root / "images" / "Fractured").iterdir()} == positives
    assert (films.fracture_count > 0).sum() == len(positives)
    assert table.groupby("hip").fractured.sum().min() > 0


def test_annotations_agree_and_lie_inside(phantom, films):
    root = phantom / "FracAtlas" / "Annotations"
    coco = json.loads((root / "COCO JSON" / "COCO_fracture_masks.json").read_text())
    vgg = json.loads((root / "VGG JSON" / "VGG_fracture_masks.json").read_text())
    assert coco["categories"] == [{"id": 0, "name": "fractured"}]
    assert [i["id"] for i in coco["images"]] == list(range(1, len(coco["images"]) + 1))
    assert [a["id"] for a in coco["annotations"]] == list(range(len(coco["annotations"])))
    assert {i["file_name"] for i in coco["images"]} == set(vgg) == set(films.image_id[films.fracture_count > 0])
    truth = pd.read_parquet(phantom / "truth" / "boxes.parquet").groupby("image_id")
    for image in coco["images"]:
        name, stem = image["file_name"], Path(image["file_name"]).stem
        size = np.array([image["width"], image["height"]])
        assert pixels(image_path(phantom, films.loc[name])).shape == tuple(size[::-1])
        boxes = np.array([a["bbox"] for a in coco["annotations"] if a["image_id"] == image["id"]])
        boxes[:, 2:] += boxes[:, :2]
        assert (boxes >= 0).all() and (boxes[:, :2] < boxes[:, 2:]).all() and (boxes <= np.tile(size, 2)).all()
        np.testing.assert_allclose(boxes, truth.get_group(name)[["x0", "y0", "x1", "y1"]])
        voc = ElementTree.parse(root / "PASCAL VOC" / f"{stem}.xml").findall("object/bndbox")
        assert [[int(v.text) for v in box] for box in voc] == boxes.astype(int).tolist()
        yolo = np.loadtxt(root / "YOLO" / f"{stem}.txt", ndmin=2)[:, 1:] * np.tile(size, 2)
        np.testing.assert_allclose(yolo[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2, atol=0.05)
        assert len(vgg[name]["regions"]) == len(boxes)
    assert len(list((root / "PASCAL VOC").iterdir())) == BONES
    empty = [p for p in (root / "YOLO").glob("IMG*.txt") if not p.read_text()]
    assert len(empty) == BONES - len(coco["images"])


def test_faults_are_there(phantom, films):
    kinds = films.defect.value_counts()
    assert kinds["truncated"] == 3 and kinds["exif_rotated"] == 3 and kinds["identical"] == 4
    for film in films.itertuples():
        path = image_path(phantom, film)
        assert path.exists()
        if film.defect == "truncated":
            assert not film.fractured
            with pytest.raises(OSError, match="truncated"), Image.open(path) as image:
                image.load()
            continue
        with Image.open(path) as image:
            assert image.getexif().get(0x0112, 1) == film.orientation
        assert pixels(path).shape == (film.height, film.width)
    rotated = films[films.defect == "exif_rotated"]
    assert (rotated.orientation != 1).all() and rotated.fractured.sum() == 1
    copies = films[films.copy_of != ""]
    assert (copies.defect.str.contains("opposite_label")).sum() == 1
    crossing = 0
    for copy in copies.itertuples():
        source = films.loc[copy.copy_of]
        a, b = pixels(image_path(phantom, copy)), pixels(image_path(phantom, source))
        if copy.defect == "identical":
            np.testing.assert_array_equal(a, b)
            crossing += {copy.official_part, source.official_part} == {"train", "valid"}
        else:
            thumbs = [np.asarray(Image.fromarray(i).resize((32, 32), Image.Resampling.BOX), float) for i in (a, b)]
            assert a.shape != b.shape or (a != b).any()
            assert np.corrcoef(thumbs[0].ravel(), thumbs[1].ravel())[0, 1] > 0.998
            hashes = [np.asarray(Image.fromarray(i).resize((17, 16), Image.Resampling.BOX)) for i in (a, b)]
            assert np.sum((hashes[0][:, 1:] > hashes[0][:, :-1]) != (hashes[1][:, 1:] > hashes[1][:, :-1])) <= 12
        assert (source.fractured != copy.fractured) == ("opposite" in copy.defect)
    assert crossing == 1


def test_both_knees_of_a_patient_in_one_part(phantom):
    root, truth = phantom / "kneeKL224", pd.read_parquet(phantom / "truth" / "knee.parquet")
    files = sorted(str(p.relative_to(root)) for p in root.rglob("*.jpg"))
    assert files == sorted(truth.path)
    assert (truth.groupby("patient").part.nunique() == 1).all() and (truth.groupby("patient").size() == 2).all()
    assert truth.image_id.str.fullmatch(r"\d{7}[LR]").all()
    assert all(path.split("/")[:2] == [part, str(kl)] for path, part, kl in truth[["path", "part", "kl"]].values)
    assert truth.part.value_counts()["train"] == pytest.approx(0.648 * KNEES, abs=2)
    assert (root / "train" / "4").is_dir()
    assert pixels(root / files[0]).shape == (128, 128)


def test_refusals_leave_nothing(phantom, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="not an empty folder"):
        write(phantom)
    with pytest.raises(UsageError, match="at least 60"):
        write(tmp_path / "few", counts={"FracAtlas": 10})
    with pytest.raises(UsageError, match="even number"):
        write(tmp_path / "odd", counts={"kneeKL224": 3})
    monkeypatch.setenv("ORTHOLIB_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="never written"):
        write(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_ensure_writes_once(tmp_path, monkeypatch):
    import importlib

    module = importlib.import_module("ortholib.phantom.write")
    monkeypatch.setenv("ORTHOLIB_HOME", str(tmp_path))
    monkeypatch.setenv("ORTHOLIB_PHANTOM", str(tmp_path / "gone"))
    monkeypatch.setattr(module, "write", lambda out, seed: calls.append(out) or out.mkdir())
    calls: list[Path] = []
    for root in (paths.data_root, paths.weights_root):
        with pytest.raises(OrthoError, match=r"ORTHOLIB_PHANTOM is .*gone; .*ensure\(\) .*data phantom --out DIR"):
            root("phantom")
    first = ensure(3)
    assert first == ensure(3) == tmp_path / "data" / "phantom" / key(3)
    assert calls == [first] and package_write is write
    assert paths.data_root("phantom") == first and paths.weights_root("phantom") == first / "weights"
    assert paths.data_root("real") is None and paths.weights_root("real") != first / "weights"
