"""Recorded chapters: they are current, and anybody who has the data can run them again and gets the same numbers."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from ortholib.report import chapter, results
from ortholib.study import fits

ROOT = Path(__file__).resolve().parents[2]
DATA = os.environ.get("ORTHOLIB_DATA")  # before the tests' own environment
RECORDED = sorted(file.parent for file in ROOT.glob("results/*/*/run.json"))
TABLES = ("metrics", "differences", "half", "subgroups", "speed", "shortcuts")
each = pytest.mark.parametrize("run", RECORDED, ids=lambda run: f"{run.parent.name}-{run.name}")


@pytest.fixture
def home(monkeypatch):
    monkeypatch.setenv("ORTHOLIB_HOME", str(ROOT))


@each
def test_is_current_and_recomputes(run, home):
    assert results.stale(run) == []


@each
def test_its_fits_are_promoted_with_all_that_it_reads(run):
    record = json.loads((run / "run.json").read_text())
    for key in record.get("fits", []):
        folder = fits.stored(ROOT / "results", record["edition"], key)
        assert (folder / "run.json").is_file(), f"{run.name}: fit {key} is not in results/"


@pytest.mark.recorded
@pytest.mark.timeout(900)
@pytest.mark.skipif(not DATA, reason="ORTHOLIB_DATA names no folder of real sets")
@each
def test_runs_again_from_a_clone_and_trains_nothing(run, home, tmp_path, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_DATA", DATA)
    monkeypatch.setenv("ORTHOLIB_RUNS", str(tmp_path / "runs"))
    record = json.loads((run / "run.json").read_text())
    again = chapter.execute(run.name, record["edition"])
    made = [json.loads(file.read_text())["recipe"] for file in (tmp_path / "runs").glob("*/fits/*/run.json")]
    assert {recipe.split("/")[0] for recipe in made} <= {"embed"}, "a fit was trained anew"  # a map needs its points
    assert json.loads((again / "run.json").read_text()).get("fits") == record.get("fits")
    for name in TABLES:
        if (run / f"{name}.parquet").is_file():
            kept, made = (pd.read_parquet(folder / f"{name}.parquet") for folder in (run, again))
            pd.testing.assert_frame_equal(made, kept, rtol=0, atol=1e-9)
