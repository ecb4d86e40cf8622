"""Damaged tables and archives: a reader gives a set or an error in words, and never reads out of its root."""

import io
import shutil
import zipfile
from pathlib import Path

import hostile
import numpy as np
import pandas as pd
import pytest

from ortholib.data import datasets, manifest
from ortholib.data.datasets import ImageSet
from ortholib.data.unzip import unzip
from ortholib.errors import OrthoError
from ortholib.phantom import write

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
COUNTS = {"FracAtlas": 60, "kneeKL224": 4, "MURA-v1.1": 40, "GRAZPEDWRI-DX": 24, "MRNet-v1.0": 12, "OAI": 8}
TABLES = (".csv", ".txt", ".yaml", ".json", ".xml")
ROUNDS = 25  # per set
NONSENSE = ["nan", "inf", "-1", "1e308", "../../etc/passwd", "/etc/passwd", "\0", "", "9" * 400, "=1+1", "ÿþ"]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("tables") / "phantom"
    write(out, 0, COUNTS)
    return out


def cells(data: bytes, rng: np.random.Generator) -> bytes:
    """Some cells of a delimited table replaced by nonsense, some lines doubled or dropped."""
    text = data.decode("utf-8", "replace")
    lines = text.split("\n")
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(len(lines)))
        delimiter = "|" if "|" in lines[at] else ","
        row = lines[at].split(delimiter)
        row[rng.integers(len(row))] = str(rng.choice(NONSENSE))
        lines[at] = delimiter.join(row)
    if rng.random() < 0.3:
        lines.insert(0, lines[-1])
    return "\n".join(lines).encode()


@pytest.mark.parametrize("name", ["fracatlas", "kneekl", "mura", "grazpedwri", "mrnet", "oai"])
def test_readers_survive_their_tables(phantom, tmp_path, name):
    folder = Path(shutil.copytree(datasets.locate(name, root=phantom), tmp_path / datasets.SETS[name].folders[0]))
    tables = sorted(path for path in folder.rglob("*") if path.suffix.lower() in TABLES)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(ROUNDS):
        path = Path(str(rng.choice(tables or files)))
        before = path.read_bytes()
        change = (cells, hostile.cut, hostile.flip, hostile.blot)[rng.integers(4)] if before else hostile.lengthen
        if rng.random() < 0.15:
            path.unlink()
        else:
            path.write_bytes(change(before, rng))
        try:
            found = datasets.SETS[name].read(folder)
            assert isinstance(found, ImageSet)
            assert not found.labels["value"].isin([np.inf, -np.inf]).any()
            assert np.isfinite(found.boxes[["x0", "y0", "x1", "y1"]].to_numpy(float)).all()
            read += 1
        except OrthoError as error:
            assert len(str(error)) > 20
        path.write_bytes(before)
    assert read > 0


def test_manifests_survive_their_cells(tmp_path):
    for name, data in hostile.sound(0).items():
        (tmp_path / f"a{name}").write_bytes(data)
    names = sorted(path.name for path in tmp_path.iterdir())
    table = pd.DataFrame({"path": names, "group": [f"p{i}" for i in range(len(names))], "split": "train"})
    table = table.assign(frame=0, abnormal=1.0, boxes='[[1, 2, 3, 4, "fracture"]]')
    whole, file = table.to_csv(index=False).encode(), tmp_path / "manifest.csv"
    rng, read = np.random.default_rng(1), 0
    for change in [cells, hostile.cut, hostile.flip, hostile.blot, hostile.lengthen] * 40:
        file.write_bytes(change(whole, rng))
        try:
            found = manifest.read(file)
            inside = (tmp_path / path for path in found.images.loc[found.images["readable"], "path"])
            assert all(path.resolve().is_relative_to(tmp_path.resolve()) for path in inside)
            assert not found.labels["value"].isin([np.inf, -np.inf]).any()
            read += 1
        except OrthoError as error:
            assert "manifest.csv" in str(error)
    assert 20 < read < 200


def test_parquet_manifests_survive(tmp_path):
    (tmp_path / "a.png").write_bytes(hostile.sound(0)[".png"])
    buffer = io.BytesIO()
    pd.DataFrame({"path": ["a.png"] * 3, "group": ["p", None, "q"], "x": [1.0, np.nan, np.inf]}).to_parquet(buffer)
    rng, file = np.random.default_rng(2), tmp_path / "manifest.parquet"
    for change in [hostile.cut, hostile.flip, hostile.lie, hostile.blot] * 25:
        file.write_bytes(change(buffer.getvalue(), rng))
        try:
            assert isinstance(manifest.read(file), ImageSet)
        except OrthoError as error:
            assert "manifest.parquet" in str(error)


def test_archives_never_leave_their_folder(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in hostile.sound(0).items():
            archive.writestr(f"set/a{name}", data)
    rng = np.random.default_rng(3)
    place = tmp_path / "place"
    place.mkdir()
    for change in [hostile.cut, hostile.flip, hostile.lie, hostile.blot, hostile.lengthen] * 40:
        archive = place / "a.zip"
        archive.write_bytes(change(buffer.getvalue(), rng))
        try:
            unzip(archive, place / "out", 10**7)
            shutil.rmtree(place / "out")
        except OrthoError:
            pass
        assert sorted(path.name for path in place.iterdir()) == ["a.zip"]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["place"] or (tmp_path / "runs").exists()
