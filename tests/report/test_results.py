"""Results: what may be promoted, what is left out of it, and the table of all runs."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import madeup
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score, roc_curve

from ortholib.dino import export, shards
from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import compare, evaluation
from ortholib.report import chapter, results
from ortholib.settings import Pretrain
from ortholib.study import fits, verdicts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    return madeup.project(tmp_path, monkeypatch)


def rewrite(run: Path, name: str, change) -> None:
    change(pd.read_parquet(run / name)).to_parquet(run / name)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


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


def of_arms(run: Path, **about) -> pd.DataFrame:
    """Give a finished run three arms and their paired differences; `about` goes into every table."""
    first = madeup.predictions().assign(arm="SL")
    frames = [first, first.assign(arm="DINO + SL", score_1=lambda f: f["score_1"].to_numpy()[::-1])]
    frames.append(first.assign(arm="DINO + DINO-Ortho + SL", score_1=lambda f: 0.8 * f["y_true"] + 0.1))
    for frame in frames:
        frame["score_0"] = 1 - frame["score_1"]
    predictions = pd.concat(frames, ignore_index=True).assign(**about)
    predictions.to_parquet(run / "predictions.parquet")
    one = predictions.iloc[0][["dataset", "task", "split", "part"]].to_dict()
    initial = ["resnet50", "dino-resnet50", "dino-resnet50, then DINO on mura and fracatlas"]
    arms = zip(predictions.groupby("arm", sort=False), initial, strict=True)
    metrics = [
        evaluation.evaluate(rows, draws=200, threshold=0.5).assign(arm=arm, backbone="resnet50", initial=start, **one)
        for (arm, rows), start in arms
    ]
    pd.concat(metrics, ignore_index=True).assign(paper="A paper").to_parquet(run / "metrics.parquet")
    names = [frame["arm"].iloc[0] for frame in frames]
    thresholds = dict.fromkeys(names, 0.5)
    pairs = [(names[2], names[0]), (names[2], names[1])]
    made = compare.compare(predictions, ["roc_auc", "accuracy"], pairs=pairs, draws=400, thresholds=thresholds)
    made.assign(**one).to_parquet(run / "differences.parquet")
    return made


def test_differences_must_recompute_in_their_family(home):
    run = madeup.finished(home)
    made = of_arms(run)
    assert (results.record(run) / "differences.parquet").is_file() and len(made) == 4
    for column in ("difference", "low", "p_holm", "high_holm", "n_groups"):
        of_arms(run)
        rewrite(run, "differences.parquet", lambda frame, c=column: frame.assign(**{c: frame[c] + 1e-6}))
        with pytest.raises(OrthoError, match=rf"difference in \w+ \({column}\) of blobs.*does not recompute"):
            results.record(run)
    made = of_arms(run)
    smaller = (made["p"] * 2).clip(upper=1)  # as if each metric had been a family of its own
    rewrite(run, "differences.parquet", lambda frame: frame.assign(p_holm=smaller))
    with pytest.raises(OrthoError, match=r"difference in .* \(p_holm\)"):
        results.record(run)
    of_arms(run)
    rewrite(run, "differences.parquet", lambda frame: frame.assign(split="clean"))
    with pytest.raises(OrthoError, match=r"differences of blobs, .*clean.* stand without predictions"):
        results.record(run)


def test_claims_beside_ours(home):
    shutil.copyfile(ROOT / "params/published.yaml", home / "params/published.yaml")
    nothing = results.claims()
    assert set(nothing["verdict"]) == {verdicts.UNTESTABLE} and nothing["claim"].nunique() == 60 + 18
    of_arms(madeup.finished(home), dataset="fracatlas", task="fracture", split="clean")
    of_arms(madeup.finished(home, "phantom"), dataset="fracatlas", task="fracture", split="clean")
    madeup.finished(home, "real", "00-data")  # an arm named by its fit: "resnet10t, random"
    table = results.claims().set_index("claim")
    best = table.loc["dino-ortho: best-on-fracatlas"]
    assert best["verdict"] == verdicts.REPRODUCED and best["edition"] == "real" and best["run"] == "30-knee-oa"
    value = table.loc["dino-ortho: fracture, DINO + DINO-Ortho + SL, specificity"]
    assert value["verdict"] == verdicts.NOT_REPRODUCED or value["low"] <= 0.996 <= value["high"]
    assert table.loc["dino-ortho: abnormal, SL, roc_auc", "verdict"] == verdicts.UNTESTABLE
    assert table.loc["fractuvision: fracture, ViT, fine-tuned, accuracy", "verdict"] == verdicts.RELATED
    assert set(results.claims(local=False)["verdict"]) == {verdicts.UNTESTABLE}  # nothing is promoted
    results.record(home / "runs" / "real" / "00-data")
    assert set(results.claims(local=False)["edition"]) <= {"real", ""}
    phantom = results.claims("phantom")
    assert set(phantom["verdict"]) == {verdicts.NONE} and not (phantom["edition"] == "real").any()
    with pytest.raises(UsageError, match="'reel' is unknown"):
        results.claims("reel")


OWN, FIXED = {0: 0.4, 1: 0.7}, {0: 0.6, 1: 0.8}  # thresholds of each seed, for all calls and for a wanted specificity


def of_seeds(run: Path, columns: bool = True, fixed: dict | float = FIXED) -> pd.DataFrame:
    """Give a finished run two seeds, each called by its own thresholds, which stand in the predictions if `columns`."""
    again = [madeup.predictions(), madeup.predictions().assign(seed=1, score_1=lambda f: f["score_1"] ** 2)]
    again = pd.concat(again, ignore_index=True).assign(score_0=lambda f: 1 - f["score_1"])
    about = {"paper": "A paper", **again.iloc[0][["arm", "dataset", "split", "part", "task"]].to_dict()}
    made = evaluation.evaluate(again, draws=50, threshold=OWN, specificity_threshold=fixed).assign(**about)
    made.to_parquet(run / "metrics.parquet")
    if columns:
        at = again["seed"].map(fixed) if isinstance(fixed, dict) else fixed
        again = again.assign(threshold=again["seed"].map(OWN), specificity_threshold=at)
    again.to_parquet(run / "predictions.parquet")
    return made.set_index("metric")


def test_each_seed_recomputes_by_its_own_threshold(home):
    run = madeup.finished(home)
    of_seeds(run, columns=False)
    with pytest.raises(OrthoError, match=r"sensitivity|specificity|accuracy|f1"):
        results.record(run)
    made = of_seeds(run)
    target = results.record(run)
    kept = pd.read_parquet(target / "metrics.parquet").set_index("metric")
    pd.testing.assert_frame_equal(kept, made)
    assert {*evaluation.FIXED} <= set(kept.index) and kept.loc["specificity_reached", "threshold"] == 0.7


@pytest.mark.parametrize("metric", [*evaluation.FIXED, "sensitivity", "ppv"])
@pytest.mark.parametrize("column", ["value", "low", "high", "seed_sd", "threshold"])
def test_rows_at_a_threshold_must_recompute(home, metric, column):
    run = madeup.finished(home)
    of_seeds(run)

    def tamper(frame):
        frame.loc[frame["metric"] == metric, column] += 1e-6
        return frame

    rewrite(run, "metrics.parquet", tamper)
    with pytest.raises(OrthoError, match=rf"{metric} \({column}\) of .* does not recompute"):
        results.record(run)


@pytest.mark.parametrize("column", ["threshold", "specificity_threshold"])
def test_another_threshold_of_a_seed_is_refused(home, column):
    run = madeup.finished(home)
    of_seeds(run)
    rewrite(run, "predictions.parquet", lambda f: f.assign(**{column: f[column].mask(f["seed"] == 1, 0.5)}))
    with pytest.raises(OrthoError, match="does not recompute"):
        results.record(run)
    of_seeds(run)
    rewrite(run, "predictions.parquet", lambda f: f.assign(**{column: f[column].mask(f.index == 3, 0.5)}))
    with pytest.raises(OrthoError, match=rf"seed 0 of resnet10t, random has 2 values of {column}, not one"):
        results.record(run)


def test_a_specificity_that_validation_could_not_choose_is_promoted_as_missing(home):
    run = madeup.finished(home)
    for columns in (True, False):
        made = of_seeds(run, columns, dict.fromkeys(OWN, np.nan))
        assert made.loc["sensitivity_at_specificity", "reason"].startswith("no threshold")
        if columns:
            assert (results.record(run) / "metrics.parquet").is_file()


def test_what_predictions_do_not_give_is_no_metric(home):
    run = madeup.finished(home)
    more = pd.DataFrame({"metric": ["temperature"], "value": [1.2]})
    rewrite(run, "metrics.parquet", lambda f: pd.concat([f, f.tail(1).assign(**more.iloc[0])], ignore_index=True))
    with pytest.raises(OrthoError, match=r"temperature of blobs.* is nothing that predictions\.parquet can give"):
        results.record(run)


def test_differences_of_arms_recompute_by_each_seeds_threshold(home):
    run = madeup.finished(home)
    of_seeds(run)
    arms = [pd.read_parquet(run / "predictions.parquet"), None]
    own = {"resnet10t, random": OWN, "another": {0: 0.3, 1: 0.45}}
    arms[1] = arms[0].assign(arm="another", score_1=arms[0]["score_0"], score_0=arms[0]["score_1"])
    arms[1]["threshold"] = arms[1]["seed"].map(own["another"])
    predictions = pd.concat(arms, ignore_index=True)
    predictions.to_parquet(run / "predictions.parquet")
    about = ["dataset", "task", "split", "part"]
    one = predictions.iloc[0][about].to_dict()
    metrics = [
        evaluation.evaluate(rows, draws=50, threshold=own[arm], specificity_threshold=FIXED).assign(arm=arm, **one)
        for arm, rows in predictions.groupby("arm")
    ]
    pd.concat(metrics).assign(paper="A paper").to_parquet(run / "metrics.parquet", index=False)
    made = compare.compare(predictions, ["sensitivity", "roc_auc"], draws=100, thresholds=own).assign(**one)
    made.to_parquet(run / "differences.parquet")
    assert (results.record(run) / "differences.parquet").is_file()
    rewrite(run, "differences.parquet", lambda f: f.assign(low=f["low"].mask(f["metric"] == "sensitivity", -1.0)))
    with pytest.raises(OrthoError, match=r"difference in sensitivity \(low\).* does not recompute"):
        results.record(run)


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
        for name in ("predictions.parquet", "history.parquet", "courses.parquet"):
            madeup.predictions().to_parquet(made / name)
        (made / "weights.safetensors").write_bytes(b"many")
        (made / "run.json").write_text(json.dumps({"key": key, "initial": f"{home}/w"}))
        (run / "run.json").write_text(json.dumps(record | {"fits": [key]}))
        results.record(run)
        return sorted(file.relative_to(home).as_posix() for file in (home / "results/real/fits").rglob("*.*"))

    names = ("courses.parquet", "history.parquet", "predictions.parquet", "run.json")  # all that a chapter reads
    assert promote("aa") == [f"results/real/fits/aa/{name}" for name in names]
    assert json.loads((home / "results/real/fits/aa/run.json").read_text())["initial"] == "./w"
    assert promote("bb") == [f"results/real/fits/bb/{name}" for name in names]
    results.record(run)  # and stay when the same chapter is promoted again
    assert (home / "results/real/fits/bb/run.json").is_file()
    kept = contents(home / "results")
    rewrite(home / "runs/real/fits/bb", "predictions.parquet", lambda frame: frame.assign(group="9001695"))
    with pytest.raises(OrthoError, match="group is not hashed"):
        results.record(run)
    assert contents(home / "results") == kept  # what is refused leaves all as it was


def test_pretrained_weights_go_along_in_parts_and_serve_as_before(home, monkeypatch):
    run = madeup.finished(home)
    record, made = json.loads((run / "run.json").read_text()), home / "runs/real/fits/aa"
    made.mkdir(parents=True)
    state = {f"layer{i}": torch.randn(64, 64, generator=torch.Generator().manual_seed(i)) for i in range(4)}
    file = export.write(state, Pretrain(("a:clean",), 32, 1), made)
    before = file.read_bytes()
    pd.DataFrame({"epoch": [1]}).to_parquet(made / "history.parquet")
    (made / "backbone.md").write_text("# a card")
    (made / "run.json").write_text(json.dumps({"key": "aa"}))
    (run / "run.json").write_text(json.dumps(record | {"fits": ["aa"]}))
    monkeypatch.setattr(shards, "SHARD", 10_000)
    results.record(run)
    parts = sorted((home / "results/weights/aa").glob("*.safetensors"))
    assert len(parts) == 4 and (home / "results/weights/aa/README.md").read_text() == "# a card"
    shutil.rmtree(made)
    promoted = fits.Fit("aa", home / "results/real/fits/aa", {})
    assert promoted.backbone.read_bytes() == before and promoted.backbone.is_relative_to(home / "runs")
    monkeypatch.setattr(results, "WEIGHTS_LIMIT", 20_000)
    kept = contents(home / "results")
    with pytest.raises(OrthoError, match="would hold 0 MiB of weights"):
        results.record(run)
    assert contents(home / "results") == kept
    monkeypatch.setattr(results, "WEIGHTS_LIMIT", 2**20)
    (run / "run.json").write_text(json.dumps(record))
    results.record(run)  # the chapter no longer names it
    assert not (home / "results/weights/aa").exists() and not (home / "results/real/fits/aa").exists()


def test_figures_of_unknown_origin_are_refused(home):
    run = madeup.finished(home)
    (run / "figures" / "grid-3.png").write_bytes(b"a knee?")
    with pytest.raises(OrthoError, match=r'"grid-3".*cannot be told whether it shows radiographs'):
        results.record(run)
    assert not list((home / "results").rglob("*.p*"))


@pytest.mark.parametrize(("name", "kept"), [('f"grid-{i}"', True), ('f"{part}-3"', False), ("name", False)])
def test_figures_of_a_loop_are_known_by_how_their_names_begin(home, name, kept):
    run = madeup.finished(home)
    (run / "figures" / "grid-3.png").write_bytes(b"a plot")
    notebook = nbformat.read(run / "notebook.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(f"run.figure(plot, {name}, alt)", id="loop"))
    nbformat.write(notebook, run / "notebook.ipynb")
    if kept:
        assert (results.record(run) / "figures" / "grid-3.png").is_file()
        notebook.cells[-1].metadata["tags"] = ["radiographs"]  # the same of a gallery: left out
        nbformat.write(notebook, run / "notebook.ipynb")
        assert not (results.record(run) / "figures" / "grid-3.png").exists()
    else:
        with pytest.raises(OrthoError, match=r'"grid-3".*cannot be told whether it shows radiographs'):
            results.record(run)


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
    assert not table.duplicated(["edition", "run", "metric"]).any()
    assert set(counts.values()) == {len(pd.read_parquet(home / "results/real/30-knee-oa/metrics.parquet"))}
    assert set(table["arm"]) == {"resnet10t, random"}  # the promoted one stands for the edition
    assert results.table("real")["edition"].unique().tolist() == ["real"] and len(results.table("paper")) == 0
    with pytest.raises(UsageError, match="'reel' is unknown"):
        results.table("reel")
    assert chapter.EDITIONS == ("phantom", "real", "paper")


def test_the_readme_counts_the_images_of_the_recorded_pretraining():
    root = Path(__file__).parents[2]
    record = json.loads((root / "results/real/10-pretrain-dino/run.json").read_text())
    made = [json.loads((root / f"results/real/fits/{key}/run.json").read_text()) for key in record["fits"]]
    (pretraining,) = [fit for fit in made if fit["recipe"].startswith("pretrain")]
    told = " ".join((root / "README.md").read_text().split())
    assert f"a DINO pretraining on {pretraining['images']:,} unlabelled radiographs" in told


def test_cells_of_the_dino_ortho_table_are_those_of_scikit_learn():
    """Areas of two arms on two sets, and calls at thresholds that scikit-learn finds on the validation rows."""
    folder = Path(__file__).parents[2] / "results/real/20-dino-ortho"
    predictions, stored = (pd.read_parquet(folder / f"{name}.parquet") for name in ("predictions", "metrics"))
    cells = (("random + SL", "fracture", "roc_auc"), ("DINO-Ortho + SL", "oa", "average_precision"))
    areas = {"roc_auc": roc_auc_score, "average_precision": average_precision_score}
    for arm, task, metric in cells:
        own = (predictions["arm"] == arm) & (predictions["task"] == task) & (predictions["split"] != "random")
        found, sensitivity = [], []
        for _, rows in predictions[own].groupby("seed"):
            val, test = (rows[rows["part"] == part] for part in ("val", "test"))
            found.append(areas[metric](test["y_true"], test["score_1"]))
            false, true, thresholds = roc_curve(val["y_true"], val["score_1"], drop_intermediate=False)
            called = test["score_1"] >= thresholds[np.argmax(true - false)]
            sensitivity.append(recall_score(test["y_true"], called))
        assert len(found) == 3
        shown = stored[(stored["arm"] == arm) & (stored["task"] == task)].set_index("metric")["value"]
        assert shown[metric] == pytest.approx(np.mean(found), abs=1e-12)
        assert shown["sensitivity"] == pytest.approx(np.mean(sensitivity), abs=1e-12)
