"""Small sets of seed 0, each written once: (their folder, their truth). The tests read them only."""

from pathlib import Path

import pandas as pd
import pytest
from smallsets import COUNTS, WRITERS, serial


@pytest.fixture(scope="session")
def generate(tmp_path_factory):
    """Function: (folder, truth) of a set by its name, seed and, where it is not the usual one, count."""

    def make(name: str, seed: int, count: int | None = None) -> tuple[Path, pd.DataFrame]:
        root = tmp_path_factory.mktemp(name)
        return root, WRITERS[name](root, seed, count or COUNTS[name], serial)

    return make


def once(name: str):
    return pytest.fixture(scope="session", name=name)(lambda generate: generate(name, 0))


films, exams, files, limbs, wrists = map(once, COUNTS)
