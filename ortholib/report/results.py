"""Results: what the runs found, as one table, and the promotion of a run into the repository."""

import ast
import json
import re
import shutil
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

from ortholib import paths, settings
from ortholib.errors import OrthoError, UsageError
from ortholib.metrics.compare import compare
from ortholib.metrics.evaluation import FIXED, ONE_OF, evaluate
from ortholib.paths import EDITIONS
from ortholib.study import fits, ledger, verdicts

COLUMNS = ["edition", "paper", "arm", "dataset", "split", "part", "task"]
COLUMNS += ["metric", "value", "low", "high", "n", "n_groups", "seeds", "run"]
LIMIT = 25 * 2**20  # bytes of one promoted run
WEIGHTS_LIMIT = 60 * 2**20  # bytes of all promoted weights
KEPT = (".parquet", ".json", ".md")  # of a fit's files; its weights and checkpoints are not
WITHHELD = "*Radiographs are not redistributed; the book shows this gallery from the local data, or from the phantom.*"


def table(edition: str | None = None) -> pd.DataFrame:
    """Rows of every promoted run, and of every finished local run that is not promoted, in the columns `COLUMNS`."""
    return _collected("metrics.parquet", edition).reindex(columns=COLUMNS)


def claims(edition: str | None = None, local: bool = True) -> pd.DataFrame:
    """Published | ours | verdict for every number and claim of the four papers, by the runs that `table` shows, or
    without `local` by the promoted ones alone.

    Columns as of `verdicts.judge`. A run's values are its `metrics.parquet`, its paired differences (`compare.compare`
    with dataset, task, split and part) its `differences.parquet`. Network and initial weights are the columns backbone
    and initial of the values.
    Raises OrthoError where the ledger breaks its schema, or where differences name an arm without a value.
    """
    values = _collected("metrics.parquet", edition, local)
    for column in ("backbone", "initial"):
        values[column] = values.get(column, pd.Series(ledger.UNSTATED, values.index)).fillna(ledger.UNSTATED)
    differences = _collected("differences.parquet", edition, local)
    if len(differences):
        differences = verdicts.with_networks(differences, values)
    known = ledger.table()
    values, differences = _with(values, verdicts.VALUES), _with(differences, verdicts.DIFFERENCES)
    return verdicts.judge(known[known["reproduction"] != ledger.CONTEXT], values, differences)


def _with(rows: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """The columns too where there are no rows; rows that lack one are left for `verdicts` to refuse."""
    return rows if len(rows) else rows.reindex(columns=list(columns))


def _collected(name: str, edition: str | None, local: bool = True) -> pd.DataFrame:
    """A table of every promoted run, and of every finished local run that is not promoted, with `edition` and `run`."""
    if edition not in (None, *EDITIONS):
        raise UsageError(f"edition '{edition}' is unknown; expected one of {', '.join(EDITIONS)}.")
    folders = [*_promoted().glob("*/*/metrics.parquet")]
    folders += paths.runs().glob("*/*/metrics.parquet") if local else []
    rows, seen = [], set()
    for file in sorted(folders, key=lambda file: file.is_relative_to(paths.runs())):  # promoted ones first
        where, chapter = file.parts[-3:-1]
        run = file.parent / "run.json"
        whole = run.is_file() and "." not in chapter  # not .partial, .failed or .old
        if where in (EDITIONS if edition is None else (edition,)) and whole and (where, chapter) not in seen:
            seen.add((where, chapter))
            if file.with_name(name).is_file():
                rows.append(pd.read_parquet(file.with_name(name)).assign(edition=where, run=chapter))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def record(run: Path) -> Path:
    """Promote a finished real or paper run to `results/<edition>/<chapter>` and return that folder.

    Checked first: the record says done and not phantom, every metric and every difference between arms recomputes from
    the stored predictions within 1e-9, ids are hashed, and the whole is at most 25 MiB; what is refused leaves nothing.
    Where several seeds had their own thresholds, the predictions carry them in the columns threshold and
    specificity_threshold. Left out: the log,
    and what cells tagged `radiographs` drew, in the notebook and as figure files. Folders of this machine are named by
    what they are. The chapter's fits go along, to `results/<edition>/fits`, of their weights only pretrained backbones,
    to `results/weights`; those that only the run it replaces named are deleted.
    Raises OrthoError naming what is wrong.
    """
    if not (run / "run.json").is_file():
        raise UsageError(f"{run} is no finished run: it holds no run.json. See runs/<edition>/<chapter>.")
    facts = json.loads((run / "run.json").read_text())
    if "notebook" not in facts or not (run / "notebook.ipynb").is_file():
        raise UsageError(f"{run} is no run of a chapter: it holds no notebook.ipynb. See runs/<edition>/<chapter>.")
    if facts["status"] != "done" or facts["edition"] == "phantom":
        raise OrthoError(f"{run}: a {facts['status']} {facts['edition']} run; only finished real or paper runs count.")
    check(run)
    target = _promoted() / facts["edition"] / facts["notebook"]
    staging = target.with_name(target.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    staged = {staging: target}
    try:
        _stage(run, staging)
        size = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file())
        if size > LIMIT:
            raise OrthoError(f"{run} holds {size / 2**20:.0f} MiB; a promoted run may hold {LIMIT / 2**20:.0f}.")
        for key in facts.get("fits", []):
            _stage_fit(key, facts["edition"], staged)
        held = sum(file.stat().st_size for file in _weights("").rglob("*.safetensors"))
        if held > WEIGHTS_LIMIT:
            raise OrthoError(
                f"{_weights('')} would hold {held / 2**20:.0f} MiB of weights; at most {WEIGHTS_LIMIT / 2**20:.0f} are "
                "kept. Delete those of an older pretraining."
            )
        before = _named_fits(target.parent)
        for made, place in reversed(staged.items()):  # the chapter last: its fits are there when it is
            paths.put(made, place)
    finally:
        for made in staged:
            shutil.rmtree(made, ignore_errors=True)
    for key in before - _named_fits(target.parent):
        for gone in (fits.stored(_promoted(), facts["edition"], key), _weights(key)):
            shutil.rmtree(gone, ignore_errors=True)
    return target


def _stage_fit(key: str, edition: str, staged: dict[Path, Path]) -> None:
    """Copy all that chapters read of a fit, and pretrained weights in parts, beside where promoted ones lie, and add
    staging folder and place to `staged`; nothing where this run used the promoted fit."""
    from ortholib.dino import export, shards  # torch, which takes seconds to import

    made, target = (fits.stored(root, edition, key) for root in (paths.runs(), _promoted()))
    if not made.is_dir() and target.is_dir():
        return
    staging = target.with_name(key + ".partial")
    staged[staging] = target
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(made, staging, ignore=lambda folder, names: {n for n in names if Path(n).suffix not in KEPT})
    for file in staging.glob("*.parquet"):
        check_hashed(file)
    (staging / "run.json").write_text(_anywhere((made / "run.json").read_text()))
    if (made / export.NAME).is_file():
        weights = _weights(key + ".partial")
        staged[weights] = _weights(key)
        shutil.rmtree(weights, ignore_errors=True)
        shards.split(made / export.NAME, weights)
        shutil.copyfile(made / "backbone.md", weights / "README.md")  # the card stands with its weights


def stale(run: Path) -> list[str]:
    """What is no longer as it was when a run was promoted, in words: notebook, parameters, the published values it
    compares with, the recipe of one of its fits, numbers that do not recompute. Empty for a current one.
    """
    from ortholib.report.chapter import parameters, sources  # papermill's world, which only this needs

    facts = json.loads((run / "run.json").read_text())
    chapter, edition, found = facts["notebook"], facts["edition"], []
    if sources(nbformat.read(run / "notebook.ipynb", as_version=4)) != sources(chapter):
        found.append("notebook")
    if facts["parameters"] != json.loads(_anywhere(json.dumps(parameters(chapter, edition)))):
        found.append("parameters")
    if facts.get("published", ledger.version()) != ledger.version():
        found.append("published values")
    known = {shape.recipe for shape in settings.KINDS.values()}
    for key in facts.get("fits", []):
        file = fits.stored(_promoted(), edition, key) / "run.json"
        fit = json.loads(file.read_text()) if file.is_file() else {"recipe": f"fit {key}, which is not there"}
        if fit["recipe"] not in known or fit["golden"] != settings.golden(fit["recipe"]):
            found.append(f"recipe {fit['recipe']}")
    try:
        check(run)
    except OrthoError as error:
        found.append(f"numbers: {error}")
    return list(dict.fromkeys(found))


def _weights(key: str) -> Path:
    """Where the weights of a promoted pretraining lie."""
    return _promoted() / "weights" / key


def _named_fits(edition: Path) -> set[str]:
    """Keys of the fits that the promoted chapters of an edition were made with."""
    records = [json.loads(file.read_text()) for file in edition.glob("*/run.json")]
    return {key for record in records for key in record.get("fits", [])}


def _promoted() -> Path:
    return paths.project() / "results"


def _stage(run: Path, staging: Path) -> None:
    """Copy what may be published."""
    notebook = nbformat.read(run / "notebook.ipynb", as_version=4)
    shown, withheld = set(), set()
    for cell in notebook.cells:
        if "radiographs" in cell.metadata.get("tags", []):
            cell.outputs = [nbformat.v4.new_output("display_data", {"text/markdown": WITHHELD})]
            withheld |= _figures(cell)
        else:
            shown |= _figures(cell)
    known = [name for name in (*shown, *withheld) if not name.startswith("*")]  # such a pattern fits too much
    unknown = [f.stem for f in (run / "figures").glob("*") if not any(fnmatch(f.stem, name) for name in known)]
    if unknown:
        raise OrthoError(
            f'{run / "figures"}: no cell holds `run.figure(..., "{min(unknown)}", ...)` with its name, or how it '
            "begins, written out, so it cannot be told whether it shows radiographs. Write it out and run it again."
        )
    hidden = [f"{name}.*" for name in withheld]
    shutil.copytree(run, staging, ignore=shutil.ignore_patterns("run.log", "*.svg", "private", *hidden))
    nbformat.write(notebook, staging / "notebook.ipynb")
    for file in [*staging.glob("*.json"), *staging.glob("*/*.json"), staging / "notebook.ipynb"]:
        file.write_text(_anywhere(file.read_text()))
    for file in staging.glob("*.parquet"):
        table = pd.read_parquet(file)
        for column in table.select_dtypes(["object", "string"]):
            local = [str(value) for value in table[column].unique() if _anywhere(str(value)) != str(value)]
            if local:
                raise OrthoError(f"{run / file.name}: column {column} names a folder of this machine, '{local[0]}'.")


def _figures(cell) -> set[str]:
    """Names of the figures that a cell keeps with `run.figure(figure, "name", ...)`, as patterns: `f"name-{i}"` is
    `name-*`, and a name from elsewhere `*`."""
    calls = ast.walk(ast.parse(cell.source)) if cell.cell_type == "code" else []
    kept = [c for c in calls if isinstance(c, ast.Call) and getattr(c.func, "attr", "") == "figure" and len(c.args) > 1]
    names = (call.args[1].values if isinstance(call.args[1], ast.JoinedStr) else [call.args[1]] for call in kept)
    return {"".join(part.value if isinstance(part, ast.Constant) else "*" for part in parts) for parts in names}


def _anywhere(text: str) -> str:
    """The text with this machine's folders named by what they are."""
    places = {
        paths.runs(): "runs",
        paths.weights_root(): "$ORTHOLIB_WEIGHTS",
        paths.data_root(): "$ORTHOLIB_DATA",
        paths.project(): ".",
        Path(sys.prefix): "$VIRTUAL_ENV",
        Path(tempfile.gettempdir()): "$TMPDIR",
        Path.home(): "~",
    }
    known = {str(place): name for place, name in places.items() if place and len(place.parts) > 1}
    for place in sorted(known, key=len, reverse=True):
        text = re.sub(rf"(?<![\w+]){re.escape(place)}(?![\w-])", known[place], text)
    return text


def check(run: Path) -> None:
    """Raise OrthoError where metrics or differences of a run do not recompute from its predictions within 1e-9, or ids
    are not hashed."""
    if not (run / "metrics.parquet").is_file():
        for name in ("predictions.parquet", "differences.parquet"):
            if (run / name).is_file():
                raise OrthoError(f"{run} holds {name} and no metrics.parquet; run the chapter again.")
        return
    if not (run / "predictions.parquet").is_file():
        raise OrthoError(
            f"{run}: metrics.parquet without predictions.parquet cannot be checked; run the chapter again."
        )
    predictions = check_hashed(run / "predictions.parquet")
    stored = pd.read_parquet(run / "metrics.parquet")
    for one, rows in stored.groupby([*ONE_OF], dropna=False):
        again = predictions[(predictions[[*ONE_OF]] == pd.Series(one, index=ONE_OF)).all(axis=1)]
        if again.empty:
            raise OrthoError(f"{run}: metrics of {', '.join(map(str, one))} stand without predictions of it.")
        chosen = {
            "threshold": _threshold(again, "threshold", rows[~rows["metric"].isin(FIXED)]),
            "specificity_threshold": _threshold(again, "specificity_threshold", rows[rows["metric"].isin(FIXED)]),
        }
        made = evaluate(again, draws=int(rows["draws"].iloc[0]), **chosen)
        numbers = ("value", "low", "high", "n", "n_groups", "seeds", "seed_sd", "threshold")
        _check_same(rows, made, ["metric"], numbers, f"{run}: ", f" of {', '.join(map(str, one))}")
    if (run / "differences.parquet").is_file():
        _check_differences(run, predictions, stored)


def _check_differences(run: Path, predictions: pd.DataFrame, metrics: pd.DataFrame) -> None:
    """Refuse differences that `compare` does not make again, in the family that the rows of one data set, task, split
    and part are. An arm's threshold is that of its metrics."""
    stored = pd.read_parquet(run / "differences.parquet")
    about = [column for column in ONE_OF if column != "arm"]
    for one, rows in stored.groupby(about, dropna=False):
        again, of_arms = (
            frame[(frame[about] == pd.Series(one, index=about)).all(axis=1)] for frame in (predictions, metrics)
        )
        if again.empty:
            raise OrthoError(f"{run}: differences of {', '.join(map(str, one))} stand without predictions of it.")
        pairs = [*dict.fromkeys(zip(rows["arm"], rows["reference"], strict=True))]
        named = {arm for pair in pairs for arm in pair}
        of_arms = of_arms[of_arms["arm"].isin(named) & ~of_arms["metric"].isin(FIXED)]
        chosen = {arm: _threshold(again[again["arm"] == arm], "threshold", its) for arm, its in of_arms.groupby("arm")}
        chosen = {arm: threshold for arm, threshold in chosen.items() if threshold is not None}
        settings = {"pairs": pairs, "draws": int(rows["draws"].iloc[0]), "thresholds": chosen}
        made = compare(again[again["arm"].isin(named)], [*rows["metric"].unique()], **settings)
        numbers = ("difference", "low", "high", "p_holm", "low_holm", "high_holm", "n", "n_groups")
        keys = ["metric", "arm", "reference"]
        _check_same(rows, made, keys, numbers, f"{run}: difference in ", f" of {', '.join(map(str, one))}")


def _threshold(predictions: pd.DataFrame, column: str, metrics: pd.DataFrame) -> dict | float | None:
    """What calls of one arm were made by: that of each seed where the predictions say it, else that of the metrics,
    which is a mean over seeds. None where nothing was called. Raises OrthoError for a seed with several."""
    if column in predictions and "seed" in predictions:
        of_seeds = predictions.groupby("seed")[column]
        several = of_seeds.nunique(dropna=False)
        if (several > 1).any():
            arm, seed = predictions["arm"].iloc[0], several.index[several > 1][0]
            raise OrthoError(
                f"predictions.parquet: seed {seed} of {arm} has {several[seed]} values of {column}, not one."
            )
        chosen = of_seeds.first().to_dict()
        missing = pd.isna([*chosen.values()]).all()
    else:
        chosen = next(iter(metrics["threshold"].dropna()), np.nan)
        missing = np.isnan(chosen)
    asked = metrics["metric"].isin(FIXED).any()  # then its rows stand there, as NaN where validation had one class
    return None if missing and not asked else chosen


def _check_same(rows: pd.DataFrame, made: pd.DataFrame, keys: list[str], numbers, before: str, after: str) -> None:
    """Refuse stored numbers that are more than 1e-9 from those made again."""
    unknown = sorted(set(rows["metric"]) - set(made["metric"]))
    if unknown:
        raise OrthoError(
            f"{before}{unknown[0]}{after} is nothing that predictions.parquet can give; store it elsewhere."
        )
    both = rows.merge(made, on=keys, suffixes=("", "_again"))
    for column in numbers:
        same = both[column] == both[f"{column}_again"]  # infinite ends of intervals too
        gap = (both[column] - both[f"{column}_again"]).abs().mask(same, 0)
        apart = gap.gt(1e-9) | (both[column].isna() != both[f"{column}_again"].isna())
        if apart.any() or len(both) != len(rows):
            name = both.loc[apart, "metric"].iloc[0] if apart.any() else "a metric"
            raise OrthoError(
                f"{before}{name} ({column}){after} does not recompute from predictions.parquet "
                f"(gap {gap.max():.2g}); run the chapter again."
            )


def check_hashed(file: Path) -> pd.DataFrame:
    """The table in a file. Raises OrthoError where it carries ids that are not hashed."""
    predictions = pd.read_parquet(file)
    for column in {"unit_id", "group"} & set(predictions):
        if not predictions[column].astype(str).str.fullmatch("[0-9a-f]{12}").all():
            raise OrthoError(f"{file}: {column} is not hashed; see `ortholib.data.ids`.")
    return predictions
