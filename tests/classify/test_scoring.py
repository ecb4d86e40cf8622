"""Images of a folder, a file or a manifest get the scores that the trainer gave, or the reason why there are none."""

from pathlib import Path
from typing import NamedTuple

import madeup
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from refused import refused

from ortholib.classify import model, scoring
from ortholib.classify.model import Model
from ortholib.data import files, ids
from ortholib.data.labelled import Labelled
from ortholib.errors import UsageError
from ortholib.phantom.dicom import write_dicom
from ortholib.study.fits import Fit


class Knees(NamedTuple):
    folder: Path
    data: Labelled
    fit: Fit
    network: Model


@pytest.fixture
def knees(tmp_path, monkeypatch) -> Knees:
    madeup.project(tmp_path / "project", monkeypatch)
    data = madeup.knees(tmp_path / "knees")
    fit = madeup.knee_fit(data, monkeypatch)
    return Knees(tmp_path / "knees", data, fit, model.read(fit.folder))


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "images"
    made.mkdir()
    return made


def noise(seed: int = 0, shape: tuple = (32, 32)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def scores(frame: pd.DataFrame) -> np.ndarray:
    return frame.filter(regex=r"^score_").to_numpy(float)


def test_a_folder_gives_the_scores_that_the_trainer_stored(knees):
    table = scoring.score(knees.network, scoring.find(knees.folder))
    assert list(table["file"]) == sorted(f.name for f in knees.folder.iterdir())
    assert (table["reason"] == "").all() and (table["mirrored"] == table["file"].str.contains("L")).all()
    table["unit_id"] = ids.hashed([name.removesuffix(".png") for name in table["file"]], "kneekl")
    both = knees.fit.predictions.merge(table, on="unit_id", suffixes=("", "_now"), validate="one_to_one")
    stored = both[[f"score_{k}" for k in range(5)]].to_numpy()
    assert len(both) == 40
    np.testing.assert_allclose(both[[f"score_{k}_now" for k in range(5)]], stored, atol=1e-6)
    np.testing.assert_allclose(both["expected_grade"], stored @ np.arange(5), atol=1e-5)
    assert (both["call"] == [f"KL {k}" for k in np.floor(both["expected_grade"] + 0.5).astype(int)]).all()
    assert both["confidence"].between(0, 1).all()


def test_sides_are_of_the_name_of_all_or_of_none(knees):
    found = scoring.find(knees.folder)
    auto, left, plain, right = (scoring.score(knees.network, found, side) for side in ("auto", "L", "none", "R"))
    of_left = auto["file"].str.contains("L").to_numpy()
    np.testing.assert_array_equal(scores(plain), scores(right))
    np.testing.assert_allclose(scores(auto)[of_left], scores(left)[of_left], atol=1e-6)
    np.testing.assert_allclose(scores(auto)[~of_left], scores(plain)[~of_left], atol=1e-6)
    assert np.abs(scores(left) - scores(plain)).max() > 1e-3  # the side is seen
    assert set(plain["side"]) == {""} and left["mirrored"].all()
    refused("side 'left' is unknown", scoring.score, knees.network, found, "left", error=UsageError)


def test_sides_in_names(folder):
    known = {"9003175L": "L", "9003175r": "R", "knee_L": "L", "9003175L (1)": "L", "R": "R", "12 L_(2)": "L"}
    known |= dict.fromkeys(("hear", "ankle", "9003175", "L9003175", "LL"), "")
    for name in known:
        Image.fromarray(noise()).save(folder / f"{name}.png")
    assert scoring.find(folder).sides == {f"{name}.png": side for name, side in known.items()}


@pytest.mark.parametrize(
    ("elements", "side"),
    [({"ImageLaterality": "L"}, "L"), ({"Laterality": "R"}, "R"), ({"ImageLaterality": "B"}, ""), ({}, "L")],
)
def test_dicom_is_read_and_its_header_tells_the_side(knees, folder, elements, side):
    file = folder / "film-1L"  # no ending: files are known by their content
    write_dicom(file, noise(3).astype(np.uint16) * 16, "a", modality="DX", PatientName="Doe^Jane", **elements)
    found = scoring.find(folder)
    assert found.sides == {"film-1L": side}
    table = scoring.score(knees.network, found)
    pixels = files.read(file)
    wanted = knees.network.scores((pixels[:, ::-1] if side == "L" else pixels)[None])
    np.testing.assert_allclose(scores(table), wanted, atol=1e-6)
    assert "Doe" not in table.to_csv()


def test_what_cannot_be_read_is_left_out_with_its_reason(knees, folder):
    (folder / "a" / "b").mkdir(parents=True)
    Image.fromarray(noise()).save(folder / "a" / "b" / "good.jpg")
    Image.fromarray(noise(1, (24, 32))).save(folder / "wide.tif")
    pages = [Image.fromarray(noise(k)) for k in range(2)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    Image.new("L", (32, 32)).save(folder / "black.png")
    Image.fromarray(noise()).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:500])
    (folder / "empty.png").touch()
    (folder / "note.txt").write_text("no image")
    table = scoring.score(knees.network, scoring.find(folder)).set_index("file")
    scored = table[table["reason"] == ""]
    assert list(scored.index) == ["a/b/good.jpg", "black.png", "pages.tif#0", "pages.tif#1", "wide.tif"]
    reasons = table["reason"][table["reason"] != ""].to_dict()
    assert reasons == {"cut.png": "truncated", "empty.png": "empty file (0 bytes)", "note.txt": "not an image"}
    assert table.loc[list(reasons)].filter(like="score_").isna().all(axis=None)
    assert scored["doubt"].to_dict() == dict.fromkeys(scored.index, "") | {"black.png": "constant"}
    page = knees.network.scores(noise(1)[None])
    np.testing.assert_allclose(scores(scored.loc[["pages.tif#1"]]), page, atol=1e-6)


def test_one_file_and_a_manifest(knees, tmp_path):
    whole = scoring.score(knees.network, scoring.find(knees.folder)).set_index("file")
    one = scoring.score(knees.network, scoring.find(knees.folder / "9000000L.png"))
    np.testing.assert_allclose(scores(one), scores(whole.loc[["9000000L.png"]]), atol=1e-6)
    lines = ["path,group,plane", "9000000L.png,p1,", "9000001R.png,p2,L", "nowhere.png,p3,"]
    (tmp_path / "my.csv").write_text("\n".join(lines))
    found = scoring.find(tmp_path / "my.csv", knees.folder)
    assert found.sides == {"9000000L.png": "L", "9000001R.png": "L"}  # the column wins
    table = scoring.score(knees.network, found).set_index("file")
    assert table["reason"].to_dict() == {"9000000L.png": "", "9000001R.png": "", "nowhere.png": "missing file"}
    np.testing.assert_allclose(scores(table.iloc[:1]), scores(one), atol=1e-6)
    refused("--root is the folder of a manifest", scoring.find, knees.folder, knees.folder, error=UsageError)


def test_nothing_to_score_is_refused(knees, folder):
    refused("is an empty folder", scoring.find, folder)
    (folder / "note.txt").write_text("no image")
    (folder / "empty.png").touch()
    refused(r"none of its 2 files could be read: .*not an image \(1\)", scoring.find, folder)
    Image.fromarray(noise()).save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:500])
    found = scoring.find(folder)  # its head can be read
    refused(r"none of its 3 files could be read: .*truncated \(1\)", scoring.score, knees.network, found)
    refused("is not there; expected a folder", scoring.find, folder / "nowhere")


def test_pictures_show_images_as_they_lie_in_their_files(knees, folder):
    for name in ("1L", "2R"):
        Image.fromarray(noise(5, (16, 32))).save(folder / f"{name}.png")
    seen, again = [], []
    scoring.score(knees.network, scoring.find(folder), picture=seen.append)
    Image.fromarray(noise(5, (16, 32))[:, ::-1]).save(folder / "1L.png")
    scoring.score(knees.network, scoring.find(folder), picture=again.append)
    assert [one.name for one in seen] == ["1L.png", "2R.png"]
    for one in seen:
        np.testing.assert_array_equal(one.pixels, noise(5, (16, 32)))  # without the bars above and below
        assert one.heat.shape == (16, 32) and one.heat.min() >= 0 and one.heat.max() <= 1
    # a left knee that lies as the right one's mirror image is the same to the network: its heat lies mirrored
    np.testing.assert_allclose(again[0].heat, seen[1].heat[:, ::-1], atol=1e-5)
    assert again[0].call == seen[1].call and abs(again[0].confidence - seen[1].confidence) < 1e-6
