"""Copies: exactly the phantom's known ones are found, whatever the block size, and the rule equals its definition."""

import tracemalloc

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


def all_pairs(hashes: np.ndarray, thumbs: np.ndarray) -> list[tuple[int, int]]:
    """What the search stood for before it had bands: every pair of hashes compared, by a product of +-1 bits."""
    found = []
    signs, unit = np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1, duplicates._unit(thumbs)
    for start in range(0, len(hashes), 4096):
        i, j = np.nonzero(signs[start : start + 4096] @ signs.T >= 256 - 2 * 12)
        i, j = i[i + start < j] + start, j[i + start < j]
        for at in range(0, len(i), 8192):
            a, b = i[at : at + 8192], j[at : at + 8192]
            alike = np.einsum("pd,pd->p", unit[a], unit[b]) >= 0.998
            found += zip(a[alike].tolist(), b[alike].tolist(), strict=True)
    return sorted(found)


def near_pairs(hashes: np.ndarray, thumbs: np.ndarray) -> list[tuple[int, int]]:
    return sorted(map(tuple, duplicates.near_pairs(hashes, thumbs).tolist()))


# all pairs listed, all in tiles, and sizes that leave a rest everywhere
ODD = {"FEW": 1, "TILE": 7, "TILES": 2, "PAIRS": 3}
WAYS = ({}, {"FEW": 10**6, "CANDIDATES": 5}, {"FEW": 0}, ODD, {"FEW": 0, "TILE": 1})


@pytest.fixture(params=WAYS, ids=str)
def way(request, monkeypatch):
    for name, value in request.param.items():
        monkeypatch.setattr(duplicates, name, value)


def test_pairs_equal_the_definition(way):
    hashes, thumbs = planted()
    bits = (np.unpackbits(hashes[:, None] ^ hashes[None], axis=2)).sum(2, dtype=int)
    alike = (bits <= 12) & (np.corrcoef(thumbs.astype(float)) >= 0.998)
    truth = [(int(i), int(j)) for i, j in zip(*np.nonzero(alike), strict=True) if i < j]
    by_bits = int((bits <= 12).sum() - len(bits)) // 2
    assert 10 < len(truth) < by_bits  # both thresholds decide something
    assert near_pairs(hashes, thumbs) == truth == all_pairs(hashes, thumbs)


BANDS = [np.arange(256)[band::13] for band in range(13)]
SKEWED = {
    "all hashes equal": np.arange(256),
    "one band constant": BANDS[4],
    "all bands but one constant": np.concatenate(BANDS[1:]),
    "black rows above": np.arange(100),
    "black columns left": np.flatnonzero(np.arange(256) % 16 < 9),
}


@pytest.mark.parametrize("share", [1, 0.5])
@pytest.mark.parametrize("case", SKEWED)
def test_skewed_hashes_give_the_pairs_of_the_old_search(case, share, way):
    """The bits of the case are 0 in all images or in half of them."""
    hashes, thumbs = planted(400)
    bits = np.unpackbits(hashes, axis=1)
    rows = np.flatnonzero(np.random.default_rng(1).random(len(bits)) < share)
    bits[np.ix_(rows, SKEWED[case])] = 0
    hashes = np.packbits(bits, axis=1)
    hashes[5], thumbs[6] = ~hashes[4], 90  # 256 bits apart; an image of one grey
    truth = all_pairs(hashes, thumbs)
    assert len(truth) > 10 and near_pairs(hashes, thumbs) == truth


def test_exactly_the_distance_and_one_more(way):
    """Wherever the bits lie that differ: one in each band but one, one in each, in runs across the bands' borders."""
    rng = np.random.default_rng(2)
    one_each = np.array([rng.choice(bits) for bits in BANDS])
    turned = [(np.delete(one_each, band), True) for band in range(13)] + [(one_each, False)]
    turned += [(rng.choice(256, n, replace=False), n <= 12) for n in (1, 12, 13, 14, 128, 256) for _ in range(5)]
    turned += [(np.arange(at, at + n), n <= 12) for at in range(0, 243, 3) for n in (12, 13)]
    turned += [(bits[:n], n <= 12) for bits in BANDS for n in (12, 13)]
    n = len(turned)
    hashes = rng.integers(0, 256, (2 * n, 32), np.uint8)
    thumbs = rng.integers(0, 256, (2 * n, 1024), np.uint8)
    thumbs[n:] = thumbs[:n]
    for k, (which, _) in enumerate(turned):
        hashes[n + k] = hashes[k] ^ np.packbits(np.isin(np.arange(256), which))
    assert near_pairs(hashes, thumbs) == [(k, n + k) for k, (_, near) in enumerate(turned) if near]


def test_sketches_never_say_less_than_the_thumbnails():
    rng = np.random.default_rng(3)
    smooth = np.kron(rng.integers(0, 230, (150, 4, 4)), np.ones((8, 8))).reshape(150, 1024)
    thumbs = np.concatenate([smooth + rng.normal(0, sd, (150, 1024)) for sd in (0, 1, 3, 9)]).clip(0, 255)
    thumbs = np.concatenate([thumbs.astype(np.uint8), np.eye(50, 1024, dtype=np.uint8)])
    sketch = duplicates._sketch(thumbs, np.arange(len(thumbs)))
    excess = sketch @ sketch.T - np.corrcoef(thumbs.astype(float))
    assert excess.min() > (duplicates.BOUND - duplicates.CORRELATION) / 10
    assert 2 - 2 * (sketch @ sketch.T).max() > -1e-5  # unit vectors


@pytest.mark.parametrize("case", [*SKEWED, "none"])
def test_few_pairs_are_compared(case, monkeypatch):
    """Of 8 million pairs of 4,000 images, however skewed the hashes are."""
    compared = []
    confirm = duplicates._Search.confirm
    monkeypatch.setattr(
        duplicates._Search, "confirm", lambda self, i, j, band: compared.append(len(i)) or confirm(self, i, j, band)
    )
    rng = np.random.default_rng(4)
    bits = rng.integers(0, 2, (4000, 256), np.uint8)
    bits[:, SKEWED.get(case, [])] = 0
    tall = np.cos(np.pi * np.outer(np.arange(6), np.arange(32) + 0.5) / 32)
    thumbs = 128 + 40 * np.einsum("nfg,fy,gx->nyx", rng.normal(size=(4000, 6, 6)), tall, tall, optimize=True)
    near_pairs(np.packbits(bits, axis=1), thumbs.clip(0, 255).astype(np.uint8).reshape(-1, 1024))
    assert sum(compared) < 8e6 / 20


def test_small_tiles_give_the_same_groups(phantom, sound, copies, monkeypatch):
    monkeypatch.setattr(duplicates, "FEW", 1)
    monkeypatch.setattr(duplicates, "TILE", 9)
    usable = sound["fracatlas"].usable
    again = duplicates.find({r.image_id: Plane(phantom / "FracAtlas" / r.path) for r in usable.itertuples()})
    assert again.equals(copies)


def test_many_pairs_do_not_fill_the_memory():
    """400 equal hashes whose thumbnails are nearly alike: 79,800 pairs to correlate, 650 MB at once; none is left."""
    rng = np.random.default_rng(5)
    common = 1000 * np.cos(np.arange(1024) / 1024 * np.pi) + rng.normal(0, 100, (400, 1024))
    thumbs = (128 + common / 10).clip(0, 255).astype(np.uint8)
    tracemalloc.start()
    found = near_pairs(np.zeros((400, 32), np.uint8), thumbs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not found and peak < 200 * 2**20


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
    monkeypatch.setattr(duplicates, "near_pairs", lambda h, t, rows: asked.append(len(rows)) or near_pairs(h, t, rows))
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
