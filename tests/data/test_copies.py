"""Copies: exactly the phantom's known ones are found, whatever the block size, and the rule equals its definition."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ortholib.data import copies as duplicates
from ortholib.data import datasets
from ortholib.data.files import Plane, read


def groups(frame: pd.DataFrame, column: str) -> set[frozenset]:
    members = frame.groupby(column)["image_id"].agg(frozenset)
    return {group for group in members if len(group) > 1}


@pytest.fixture(scope="module")
def copies(phantom, sound) -> pd.DataFrame:
    usable = sound["fracatlas"].usable
    return duplicates.find({r.image_id: Plane(phantom / "FracAtlas" / r.path) for r in usable.itertuples()})


def test_the_known_copies_are_found_and_nothing_else(copies, films):
    made = films[films["copy_of"] != ""]
    assert groups(copies, "near") == {frozenset(pair) for pair in zip(made["image_id"], made["copy_of"], strict=True)}
    exact = made[made["defect"].str.startswith("identical")]
    assert len(exact) == 4
    assert groups(copies, "identical") == {frozenset(p) for p in zip(exact["image_id"], exact["copy_of"], strict=True)}


def test_the_opposite_labels_are_one_group(phantom, films):
    image_set = datasets.load("fracatlas", root=phantom)
    y = image_set.images["image_id"].map(image_set.label("fractured"))
    opposite = image_set.images[image_set.images.assign(y=y).groupby("group")["y"].transform("nunique") > 1]
    copy = films[films["defect"] == "reencoded_opposite_label"].iloc[0]
    assert set(opposite["image_id"]) == {copy["image_id"], copy["copy_of"]}


def test_groups_are_named_after_their_smallest_id(copies):
    for column in ("near", "identical"):
        assert (copies.groupby(column)["image_id"].transform("min") == copies[column]).all()


def planted(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Random fingerprints among which a third are copies with 0 to 24 bits turned and a little noise added."""
    rng = np.random.default_rng(0)
    bits = rng.random((n, 256)) < 0.5
    thumbs = rng.integers(0, 256, (n, 1024)).astype(float)
    for i in range(0, n, 3):
        source = rng.integers(n)
        bits[i] = bits[source]
        bits[i, rng.choice(256, rng.integers(0, 25), replace=False)] ^= True
        thumbs[i] = thumbs[source] + rng.choice([2, 15]) * rng.normal(size=1024)
    return np.packbits(bits, axis=1), np.clip(thumbs, 0, 255).round().astype(np.uint8)


def test_pairs_equal_the_definition(monkeypatch):
    hashes, thumbs = planted()
    bits = (np.unpackbits(hashes[:, None] ^ hashes[None], axis=2)).sum(2, dtype=int)
    alike = (bits <= 12) & (np.corrcoef(thumbs.astype(float)) >= 0.998)
    truth = {(int(i), int(j)) for i, j in zip(*np.nonzero(alike), strict=True) if i < j}
    by_bits = int((bits <= 12).sum() - len(bits)) // 2
    assert 10 < len(truth) < by_bits  # both thresholds decide something
    for tile, pairs in ((4096, 8192), (7, 3), (1, 1)):
        monkeypatch.setattr(duplicates, "TILE", tile)
        monkeypatch.setattr(duplicates, "PAIRS", pairs)
        found = [tuple(pair) for pair in duplicates.near_pairs(hashes, thumbs).tolist()]
        assert set(found) == truth and len(found) == len(truth)


def test_small_tiles_give_the_same_groups(phantom, sound, copies, monkeypatch):
    monkeypatch.setattr(duplicates, "TILE", 9)
    usable = sound["fracatlas"].usable
    again = duplicates.find({r.image_id: Plane(phantom / "FracAtlas" / r.path) for r in usable.itertuples()})
    assert again.equals(copies)


def test_many_empty_images_do_not_fill_the_memory(monkeypatch):
    """400 equal hashes are 79,800 candidate pairs, whose thumbnails would be 650 MB; 4,000 would be 65 GB."""
    largest = []
    product = np.einsum

    def watched(rule, a, b):
        largest.append(a.nbytes)
        return product(rule, a, b)

    monkeypatch.setattr(duplicates.np, "einsum", watched)
    hashes = np.zeros((400, 32), np.uint8)
    assert len(duplicates.near_pairs(hashes, np.zeros((400, 1024), np.uint8))) == 0
    assert sum(largest) > 300 * 2**20 and max(largest) <= 32 * 2**20  # bytes


def test_empty_images_that_are_identical_stay_together(tmp_path):
    """They correlate with nothing, not even with themselves; their copies are copies all the same."""
    files = {}
    for name, value, shape in (("a", 0, (20, 30)), ("b", 0, (20, 30)), ("c", 90, (20, 30)), ("d", 0, (30, 20))):
        files[name] = Plane(tmp_path / f"{name}.png")
        Image.fromarray(np.full(shape, value, np.uint8)).save(files[name].path)
    assert groups(duplicates.find(files), "near") == {frozenset("ab")}
    assert groups(duplicates.find(files), "identical") == {frozenset("ab")}


def test_same_pixels_in_another_file_format_and_orientation_are_identical(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "b.png")
    Image.fromarray(pixels[::-1, ::-1].copy()).save(tmp_path / "c.png", exif=exif)
    Image.fromarray(pixels[:, ::-1].copy()).save(tmp_path / "d.png")  # mirrored: another image
    files = {name: Plane(tmp_path / f"{name}.png") for name in "abcd"}
    assert np.array_equal(read(files["a"].path), read(files["c"].path))
    assert groups(duplicates.find(files), "identical") == {frozenset("abc")}


def test_copies_of_one_image_are_compared_once(tmp_path, monkeypatch):
    asked = []
    near_pairs = duplicates.near_pairs
    monkeypatch.setattr(duplicates, "near_pairs", lambda h, t: asked.append(len(h)) or near_pairs(h, t))
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60), np.uint8)
    planes = {}
    for i in range(6):
        planes[f"i{i}"] = Plane(tmp_path / f"{i}.png")
        Image.fromarray(pixels if i % 2 else pixels[::-1]).save(planes[f"i{i}"].path)
    assert groups(duplicates.find(planes), "near") == {frozenset(["i0", "i2", "i4"]), frozenset(["i1", "i3", "i5"])}
    assert asked == [2]


def test_planes_of_a_volume_are_told_apart(tmp_path):
    volume = np.random.default_rng(2).integers(0, 256, (3, 40, 60), np.uint8)
    volume[2] = volume[0]
    np.save(tmp_path / "v.npy", volume)
    found = duplicates.find({f"v{k}": Plane(tmp_path / "v.npy", k) for k in range(3)})
    assert groups(found, "identical") == {frozenset(["v0", "v2"])}


def test_no_image_and_one_image(tmp_path):
    assert len(duplicates.find({})) == 0
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    assert duplicates.find({"a": Plane(tmp_path / "a.png")}).to_numpy().tolist() == [["a", "a", "a"]]


def test_the_search_is_kept_until_a_file_changes(fracatlas, monkeypatch):
    first = datasets.load("fracatlas", root=fracatlas)
    assert first.grouped_by == "copies"
    asked = []
    find = duplicates.find
    monkeypatch.setattr(duplicates, "find", lambda planes: asked.append(len(planes)) or find(planes))
    assert datasets.load("fracatlas", root=fracatlas).images.equals(first.images)
    assert not asked
    next((fracatlas / "images" / "Fractured").iterdir()).touch()
    assert datasets.load("fracatlas", root=fracatlas).images.equals(first.images)
    assert asked == [len(first.usable)]
