"""The data path is tested on a small phantom in the layouts of the real sets; tests that damage it get a copy."""

import hashlib
import shutil
from pathlib import Path

import pandas as pd
import pytest

from ortholib.data import datasets
from ortholib.data.datasets import ImageSet


@pytest.fixture(scope="session")
def films(phantom) -> pd.DataFrame:
    """Truth of the FracAtlas phantom, indexed by image id; `path` relative to the set."""
    table = pd.read_parquet(phantom / "truth" / "bones.parquet")
    folder = table["fractured"].map({True: "Fractured", False: "Non_fractured"})
    table["path"] = "images/" + folder + "/" + table["image_id"]
    table["copy_of"] = table["copy_of"].str.removesuffix(".jpg")
    return table.assign(image_id=table["image_id"].str.removesuffix(".jpg")).set_index("image_id", drop=False)


@pytest.fixture(scope="session")
def sound(phantom) -> dict[str, ImageSet]:
    """Both phantom sets as read before anything is damaged."""
    return {name: datasets.SETS[name].read(datasets.locate(name, root=phantom)) for name in ("fracatlas", "kneekl")}


@pytest.fixture
def fracatlas(phantom, tmp_path) -> Path:
    """A copy of the FracAtlas phantom that a test may damage."""
    return Path(shutil.copytree(phantom / "FracAtlas", tmp_path / "FracAtlas"))


@pytest.fixture
def kneekl(phantom, tmp_path) -> Path:
    """A copy of the knee phantom that a test may damage."""
    return Path(shutil.copytree(phantom / "kneeKL224", tmp_path / "kneeKL224"))


@pytest.fixture(scope="session")
def tree():
    """Function: state of everything below a folder (content, permissions, time of change), folders included."""

    def state(root: Path) -> dict[str, tuple]:
        found = {}
        for path in (root, *sorted(root.rglob("*"))):
            stat = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found[str(path.relative_to(root))] = (content, stat.st_mode, stat.st_mtime_ns, stat.st_size)
        return found

    return state
