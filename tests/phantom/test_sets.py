"""What holds of every set: one seed gives the same bytes, its truth can be stored, its files are as it says."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from smallsets import COUNTS

pytestmark = pytest.mark.parametrize("name", COUNTS)


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def pictures(root: Path) -> set[bytes]:
    tables, hidden = (".csv", ".yaml", ".txt"), "/._"
    return {data for path, data in content(root).items() if not path.endswith(tables) and hidden not in path}


def test_same_seed_same_bytes_other_seed_other_pixels(name, generate, request):
    root, truth = request.getfixturevalue(name)
    again, same = generate(name, 0)
    pd.testing.assert_frame_equal(same, truth)
    assert content(again) == content(root)
    assert not pictures(root) & pictures(generate(name, 1)[0])
    if "defect" in truth:
        assert len(pictures(root)) == (truth["defect"] != "missing").sum()
    else:
        assert len(pictures(root)) >= COUNTS[name]


def test_truth_can_be_stored_and_files_are_small(name, request, tmp_path):
    root, truth = request.getfixturevalue(name)
    truth.to_parquet(tmp_path / "truth.parquet")
    assert len(pd.read_parquet(tmp_path / "truth.parquet")) == len(truth)
    if "defect" in truth:
        assert truth[["width", "height"]].max(axis=None) <= 320 and truth["path"].is_unique
        for row in truth[truth["defect"] == ""].itertuples():
            with Image.open(root / row.path) as image:
                assert image.size == (row.width, row.height)
