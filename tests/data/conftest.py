"""The data path is tested on a small phantom in the layouts of the real sets; tests that damage it get a copy."""

import hashlib
import shutil
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import trees

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


@pytest.fixture(scope="session")
def written(phantom, sound, tmp_path_factory):
    """Function: one of the six sets as generated and read, read only for the tests."""

    @cache
    def of(name: str) -> trees.Written:
        if name in trees.WRITERS:
            return trees.write(name, tmp_path_factory.mktemp(name))
        return trees.Written(datasets.locate(name, root=phantom), None, sound[name])

    return of


@pytest.fixture(scope="module")
def name(request) -> str:
    """The set that a module tests, its `SET`."""
    return request.module.SET


@pytest.fixture
def whole(written, name) -> ImageSet:
    """The set as read before anything is damaged."""
    return written(name).found


@pytest.fixture
def truth(written, name) -> pd.DataFrame:
    return written(name).truth


@pytest.fixture
def copied(written, tmp_path):
    """Function: a copy of a set that a test may damage; MRNet's files are links, so replace, never write into them."""

    def copy(name: str) -> Path:
        root = written(name).root
        linked = {"copy_function": lambda old, new: Path(new).hardlink_to(old)} if name == "mrnet" else {}
        return Path(shutil.copytree(root, tmp_path / root.name, **linked))

    return copy


@pytest.fixture
def root(copied, name) -> Path:
    """A copy of the module's set that a test may damage."""
    return copied(name)


@pytest.fixture
def fracatlas(copied) -> Path:
    """A copy of the FracAtlas phantom that a test may damage."""
    return copied("fracatlas")


@pytest.fixture
def kneekl(copied) -> Path:
    """A copy of the knee phantom that a test may damage."""
    return copied("kneekl")


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
