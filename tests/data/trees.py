"""Trees of the six sets as generated, what damages them, and what has to hold of a set read from a damaged one."""

import os
import zlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image

from ortholib.data import datasets
from ortholib.data.datasets import ImageSet
from ortholib.phantom.grazpedwri import write_grazpedwri
from ortholib.phantom.mrnet import write_mrnet
from ortholib.phantom.mura import write_mura
from ortholib.phantom.oai import write_oai

WRITERS = {
    "grazpedwri": partial(write_grazpedwri, seed=3, count=24),
    "mura": partial(write_mura, seed=3, count=40),
    "mrnet": partial(write_mrnet, seed=1, count=12),
    "oai": partial(write_oai, seed=9, count=9),
}
TITLES = {
    "fracatlas": "FracAtlas",
    "grazpedwri": "GRAZPEDWRI-DX",
    "kneekl": "the knee KL set",
    "mrnet": "MRNet",
    "mura": "MURA",
    "oai": "the OAI as released",
}


class Written(NamedTuple):
    """A generated set, read only for the tests: its folder, its truth (None: see `conftest`), and as it is read."""

    root: Path
    truth: pd.DataFrame | None
    found: ImageSet


def write(name: str, folder: Path) -> Written:
    """Generate one of `WRITERS` below a folder."""
    root = folder / datasets.SETS[name].folders[0]
    root.mkdir()
    truth = WRITERS[name](root, run=lambda function, tasks: [function(task) for task in tasks])
    return Written(root, truth, datasets.SETS[name].read(root))


def put(path: Path, content: bytes | str) -> None:
    """Replace a file, which may be a link to the phantom's."""
    path.unlink(missing_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def edit(path: Path, old: str, new: str) -> None:
    """Replace what a text file has to hold."""
    text = path.read_text()
    assert old in text
    put(path, text.replace(old, new))


def _huge(path: Path) -> None:
    Image.new("1", (8, 8)).save(path.with_name("huge.png"))
    data = bytearray(path.with_name("huge.png").read_bytes())
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.with_name("huge.png").unlink()
    put(path, bytes(data))


def _link_out(path: Path) -> None:
    root = next(folder for folder in path.parents if folder.name in {c.folders[0] for c in datasets.SETS.values()})
    path.rename(root.parent / "away")
    path.symlink_to(root.parent / "away")


# what becomes of one image file -> (how, the reason it is listed with)
DAMAGES = {
    "cut": (lambda path: put(path, path.read_bytes()[: path.stat().st_size // 2]), "truncated"),
    "empty": (lambda path: put(path, b""), "empty file (0 bytes)"),
    "text": (lambda path: put(path, "no image"), "not an image"),
    "huge": (_huge, "more than the 89,478,485 pixels accepted"),
    "gone": (lambda path: path.unlink(), "missing file"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "missing file"),
    "pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "no plain file"),
    "link out": (_link_out, "a link out of the data root"),
    "link to nothing": (lambda path: (path.unlink(), path.symlink_to("nowhere.jpg")), "missing file"),
    "circle": (lambda path: (path.unlink(), path.symlink_to(path)), "a link out of the data root"),
}


def victim(whole: ImageSet) -> tuple[str, set[str]]:
    """The path of a sound file, of an image with a box where there are boxes, and the ids of its images."""
    usable = whole.usable
    drawn = usable[usable["image_id"].isin(whole.boxes["image_id"])] if len(whole.boxes) else usable
    path = drawn["path"].iloc[0]
    return path, set(whole.images.loc[whole.images["path"] == path, "image_id"])


def state(found: ImageSet, *labels: str) -> pd.DataFrame:
    """The images by id, each with its values of some labels."""
    images = found.images.set_index("image_id").sort_index()
    return images.assign(**{name: found.label(name).reindex(images.index) for name in labels})


def boxes(found: ImageSet, without: set[str] = frozenset()) -> pd.DataFrame:
    table = found.boxes[~found.boxes["image_id"].isin(without)]
    return table.sort_values(["image_id", "class", "x0", "y0"], ignore_index=True)


def labels(found: ImageSet, without: set[str] = frozenset()) -> pd.Series:
    table = found.labels[~found.labels["unit_id"].str.split("/").str[0].isin(without)]
    return table.set_index(["label", "unit_id"])["value"].sort_index()


def assert_kept(damaged: ImageSet, whole: ImageSet, lost: set[str] = frozenset(), *, listed: bool = False, moved=False):
    """All but the images `lost` is as before, labels and boxes too; these are gone, or listed as unreadable, a file
    once, and keep their labels. moved: whether paths may differ."""
    before, now = (state(found).drop(columns=["path"] if moved else []) for found in (whole, damaged))
    pd.testing.assert_frame_equal(now.drop(lost & set(now.index)), before.drop(lost))
    bad = damaged.images[damaged.images["image_id"].isin(lost)]
    once = whole.images[whole.images["image_id"].isin(lost) & (whole.images["frame"] == 0)]
    assert set(bad["image_id"]) == (set(once["image_id"]) if listed else set())
    assert not bad["readable"].any() and (bad[["width", "height"]] == 0).all(axis=None) and (bad["reason"] != "").all()
    pd.testing.assert_frame_equal(boxes(damaged), boxes(whole, lost))
    exams = whole.images.groupby("exam")["image_id"].agg(set)
    units = set() if listed else lost | {exam for exam, ids in exams.items() if ids <= lost}
    pd.testing.assert_series_equal(labels(damaged), labels(whole, units))


def new_notes(damaged: ImageSet, whole: ImageSet) -> list[str]:
    return [note for note in damaged.notes if note not in whole.notes]


def table(root: Path) -> pd.DataFrame:
    """The cells of `dataset.csv` as text."""
    return pd.read_csv(root / "dataset.csv", encoding="utf-8-sig", dtype=str)


def save(root: Path, rows: pd.DataFrame) -> None:
    rows.to_csv(root / "dataset.csv", index=False, encoding="utf-8-sig")
