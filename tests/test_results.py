"""Results: what may be promoted, what is left out of it, and the table of all runs."""

import json
import sys
import tempfile
from pathlib import Path

import madeup
import nbformat
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from ortholib import results, runs
from ortholib.errors import OrthoError, UsageError


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    return madeup.project(tmp_path, monkeypatch)


def rewrite(run: Path, name: str, change) -> None:
    change(pd.read_parquet(run / name)).to_parquet(run / name)


def outputs(notebook: Path) -> dict:
    return {cell["id"]: cell.get("outputs") for cell in nbformat.read(notebook, 4).cells}


def test_promoted_whole_but_for_radiographs_log_and_places(home):
    run = madeup.finished(home)
    target = results.record(run)
    assert target == home / "results" / "real" / "30-knee-oa"
    left = {"figures/headline.json", "figures/headline.png"}
    left |= {"metrics.parquet", "notebook.ipynb", "predictions.parquet", "run.json"}
    assert {str(f.relative_to(target)) for f in target.rglob("*") if f.is_file()} == left
    for name in ("metrics.parquet", "predictions.parquet", "figures/headline.png"):
        assert (target / name).read_bytes() == (run / name).read_bytes()
    before, after = outputs(run / "notebook.ipynb"), outputs(target / "notebook.ipynb")
    assert after["gallery"] == [{"output_type": "display_data", "metadata": {}, "data": after["gallery"][0]["data"]}]
    assert after["gallery"][0]["data"] == {"text/markdown": results.WITHHELD}
    assert after["plot"][0] == before["plot"][0]
    assert after["plot"][1]["text"] == "./data/x.py:3: UserWarning: 1/3 of 2/3\n"
    sources = [[cell.source for cell in nbformat.read(f / "notebook.ipynb", 4).cells] for f in (run, target)]
    assert sources[0] == sources[1]
    assert json.loads((target / "run.json").read_text())["parameters"] == {"weights": "./w.safetensors"}
    assert "a knee" not in (target / "notebook.ipynb").read_text()
    for file in target.rglob("*"):
        assert not file.is_file() or str(home).encode() not in file.read_bytes(), file


def test_promotion_replaces_the_one_before(home):
    run = madeup.finished(home)
    target = results.record(run)
    (target / "stale.parquet").write_text("")
    results.record(run)
    assert not (target / "stale.parquet").exists()
    assert [f.name for f in target.parent.iterdir()] == ["30-knee-oa"]


def test_places_are_named_by_what_they_are(home, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_DATA", str(home.parent / "sets"))
    monkeypatch.setenv("ORTHOLIB_WEIGHTS", str(home.parent / "weights"))
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/tmp")
    here = {
        f"{home}/runs/real/x": "runs/real/x",
        f"in {home}, file://{home}/c": "in ., file://./c",
        f"{home}2/c": f"{home}2/c",
        f"{home.parent}/sets/a.png": "$ORTHOLIB_DATA/a.png",
        f"'{home.parent}/weights'": "'$ORTHOLIB_WEIGHTS'",
        f"{Path.home()}/x": "~/x",
        f"{sys.prefix}/lib": "$VIRTUAL_ENV/lib",
        "/nowhere/tmp/ipykernel_1/2.py": "$TMPDIR/ipykernel_1/2.py",
        "1/3 of 2/3, https://doi.org/10.1/x": "1/3 of 2/3, https://doi.org/10.1/x",
    }
    assert {text: results._anywhere(text) for text in here} == here


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"edition": "phantom"}, "done phantom run; only finished real or paper runs count"),
        ({"status": "failed"}, "failed real run"),
    ],
)
def test_phantom_and_unfinished_are_refused(home, change, words):
    run = madeup.finished(home)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | change))
    with pytest.raises(OrthoError, match=words):
        results.record(run)
    assert not (home / "results").exists()


def test_what_is_no_run_of_a_chapter_is_wrong_usage(home):
    with pytest.raises(UsageError, match=r"holds no run\.json"):
        results.record(home / "runs" / "real" / "nothing")
    fit = home / "runs" / "real" / "fits" / "abc"
    fit.mkdir(parents=True)
    (fit / "run.json").write_text(json.dumps({"status": "done", "edition": "real"}))
    with pytest.raises(UsageError, match="is no run of a chapter"):
        results.record(fit)


@pytest.mark.parametrize("column", ["unit_id", "group"])
def test_bare_ids_are_refused(home, column):
    run = madeup.finished(home)
    rewrite(run, "predictions.parquet", lambda frame: frame.assign(**{column: "9001695"}))
    with pytest.raises(OrthoError, match=rf"{column} is not hashed"):
        results.record(run)


@pytest.mark.parametrize("column", ["value", "low", "high", "n", "n_groups"])
def test_metrics_must_recompute(home, column):
    run = madeup.finished(home)

    def tamper(frame):
        frame[column] = frame[column].astype(float)
        frame.loc[frame["metric"] == "roc_auc", column] += 1e-6
        return frame

    rewrite(run, "metrics.parquet", tamper)
    with pytest.raises(OrthoError, match=rf"roc_auc \({column}\) of .* does not recompute"):
        results.record(run)
    assert not (home / "results").exists()


def test_missing_halves_are_refused(home):
    run = madeup.finished(home)
    rewrite(run, "metrics.parquet", lambda frame: frame.assign(arm="another"))
    with pytest.raises(OrthoError, match=r"metrics of .*, another stand without predictions"):
        results.record(run)
    (run / "metrics.parquet").rename(home / "m")
    with pytest.raises(OrthoError, match=r"no metrics\.parquet"):
        results.record(run)
    (home / "m").rename(run / "metrics.parquet")
    (run / "predictions.parquet").unlink()
    with pytest.raises(OrthoError, match=r"without predictions\.parquet cannot be checked"):
        results.record(run)


def test_a_chapter_without_numbers_is_promoted(home):
    run = madeup.finished(home)
    for name in ("metrics.parquet", "predictions.parquet"):
        (run / name).unlink()
    assert (results.record(run) / "notebook.ipynb").is_file()


def test_fits_go_along_without_weights_and_leave_with_their_chapter(home):
    run = madeup.finished(home)
    record = json.loads((run / "run.json").read_text())

    def promote(key: str) -> list[str]:
        made = home / "runs/real/fits" / key
        made.mkdir(parents=True)
        for name in ("predictions.parquet", "history.parquet"):
            madeup.predictions().to_parquet(made / name)
        (made / "weights.safetensors").write_bytes(b"many")
        (made / "run.json").write_text(json.dumps({"key": key, "initial": f"{home}/w"}))
        (run / "run.json").write_text(json.dumps(record | {"fits": [{"key": key}]}))
        results.record(run)
        return sorted(file.relative_to(home).as_posix() for file in (home / "results/real/fits").rglob("*.*"))

    names = ("history.parquet", "predictions.parquet", "run.json")
    assert promote("aa") == [f"results/real/fits/aa/{name}" for name in names]
    assert json.loads((home / "results/real/fits/aa/run.json").read_text())["initial"] == "./w"
    assert promote("bb") == [f"results/real/fits/bb/{name}" for name in names]
    results.record(run)  # and stay when the same chapter is promoted again
    assert (home / "results/real/fits/bb/run.json").is_file()
    rewrite(home / "runs/real/fits/bb", "predictions.parquet", lambda frame: frame.assign(group="9001695"))
    with pytest.raises(OrthoError, match="group is not hashed"):
        results.record(run)


def test_figures_of_unknown_origin_are_refused(home):
    run = madeup.finished(home)
    (run / "figures" / "grid-3.png").write_bytes(b"a knee?")
    with pytest.raises(OrthoError, match=r'"grid-3".*cannot be told whether it shows radiographs'):
        results.record(run)
    assert not list((home / "results").rglob("*.p*"))


def test_predictions_that_name_a_place_are_refused(home):
    run = madeup.finished(home)
    for name in ("metrics.parquet", "predictions.parquet"):
        rewrite(run, name, lambda frame: frame.assign(arm=f"resnet10t, {home}/w.safetensors"))
    with pytest.raises(OrthoError, match=r"column arm names a folder of this machine"):
        results.record(run)
    assert not list((home / "results").rglob("*.p*"))


def test_too_large_is_refused(home, monkeypatch):
    monkeypatch.setattr(results, "LIMIT", 1000)
    with pytest.raises(OrthoError, match=r"holds 0 MiB; a promoted run may hold 0"):
        results.record(madeup.finished(home))
    assert not list((home / "results").rglob("*.p*"))


def test_table_joins_promoted_and_local_runs_without_repeats(home):
    assert results.table().columns.tolist() == results.COLUMNS and results.table().empty
    results.record(madeup.finished(home))
    rewrite(home / "runs/real/30-knee-oa", "metrics.parquet", lambda frame: frame.assign(arm="later, not promoted"))
    madeup.finished(home, "phantom")
    madeup.finished(home, "phantom", "40-other")
    for name in ("40-other.failed", "40-other.partial"):
        madeup.finished(home, "phantom", name)
    madeup.finished(home, "lab")
    (madeup.finished(home, "paper") / "run.json").unlink()
    table = results.table()
    assert table.columns.tolist() == results.COLUMNS
    counts = table.groupby(["edition", "run"]).size().to_dict()
    assert set(counts) == {("real", "30-knee-oa"), ("phantom", "30-knee-oa"), ("phantom", "40-other")}
    assert not table.duplicated(["edition", "run", "metric"]).any() and set(counts.values()) == {8}
    assert set(table["arm"]) == {"resnet10t, random"}  # the promoted one stands for the edition
    assert results.table("real")["edition"].unique().tolist() == ["real"] and len(results.table("paper")) == 0
    with pytest.raises(UsageError, match="'reel' is unknown"):
        results.table("reel")
    assert runs.EDITIONS == ("phantom", "real", "paper")


def test_the_repeat_that_the_readme_tells_is_that_of_the_stored_predictions():
    root = Path(__file__).parents[1]
    told = (root / "README.md").read_text()
    found = []
    for file in (root / "results/real/fits").glob("*/predictions.parquet"):
        test = pd.read_parquet(file).query("part == 'test'")
        proba = test.filter(like="score_").to_numpy()
        calls = (proba.argmax(1), np.rint(proba @ np.arange(proba.shape[1])).astype(int))
        found.append([f"{cohen_kappa_score(test['y_true'], call, weights='quadratic'):.3f}" for call in calls])
    stored = pd.read_parquet(root / "results/real/30-knee-oa/metrics.parquet").set_index("metric")["value"]
    first = [f"{stored[name]:.3f}" for name in ("kappa_quadratic", "kappa_quadratic_expectation")]
    assert any(f"{' and '.join(one)} instead of {' and '.join(first)}" in " ".join(told.split()) for one in found)
