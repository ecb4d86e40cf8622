"""Results: what the runs found, as one table, and the promotion of a run into the repository."""

import ast
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
import pandas as pd

from ortholib import fits, paths
from ortholib.errors import OrthoError, UsageError
from ortholib.evaluation import ONE_OF, evaluate
from ortholib.paths import EDITIONS

COLUMNS = ["edition", "paper", "arm", "dataset", "split", "part", "task"]
COLUMNS += ["metric", "value", "low", "high", "n", "n_groups", "seeds", "run"]
LIMIT = 25 * 2**20  # bytes of one promoted run
WITHHELD = "*Radiographs are not redistributed; the book shows this gallery from the local data, or from the phantom.*"


def table(edition: str | None = None) -> pd.DataFrame:
    """Rows of every promoted run, and of every finished local run that is not promoted, in the columns `COLUMNS`."""
    if edition not in (None, *EDITIONS):
        raise UsageError(f"edition '{edition}' is unknown; expected one of {', '.join(EDITIONS)}.")
    folders = [*_promoted().glob("*/*/metrics.parquet"), *paths.runs().glob("*/*/metrics.parquet")]
    rows, seen = [], set()
    for file in sorted(folders, key=lambda file: file.is_relative_to(paths.runs())):  # promoted ones first
        where, chapter = file.parts[-3:-1]
        run = file.parent / "run.json"
        whole = run.is_file() and "." not in chapter  # not .partial, .failed or .old
        if where in EDITIONS and whole and (where, chapter) not in seen:
            seen.add((where, chapter))
            rows.append(pd.read_parquet(file).assign(edition=where, run=chapter))
    found = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS)
    found = found.reindex(columns=COLUMNS)
    return found if edition is None else found[found["edition"] == edition].reset_index(drop=True)


def record(run: Path) -> Path:
    """Promote a finished real or paper run to `results/<edition>/<chapter>` and return that folder.

    Checked first: the record says done and not phantom, every metric recomputes from the stored predictions
    within 1e-9, ids are hashed, and the whole is at most 25 MiB. Left out: the log, and what cells tagged
    `radiographs` drew, in the notebook and as figure files. Folders of this machine are named by what they are.
    The chapter's fits go along without weights, to `results/<edition>/fits`; those that only the run it replaces named
    are deleted.
    Raises OrthoError naming what is wrong.
    """
    if not (run / "run.json").is_file():
        raise UsageError(f"{run} is no finished run: it holds no run.json. See runs/<edition>/<chapter>.")
    facts = json.loads((run / "run.json").read_text())
    if "notebook" not in facts or not (run / "notebook.ipynb").is_file():
        raise UsageError(f"{run} is no run of a chapter: it holds no notebook.ipynb. See runs/<edition>/<chapter>.")
    if facts["status"] != "done" or facts["edition"] == "phantom":
        raise OrthoError(f"{run}: a {facts['status']} {facts['edition']} run; only finished real or paper runs count.")
    _check_predictions(run)
    target = _promoted() / facts["edition"] / facts["notebook"]
    staging = target.with_name(target.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _stage(run, staging)
        size = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file())
        if size > LIMIT:
            raise OrthoError(f"{run} holds {size / 2**20:.0f} MiB; a promoted run may hold {LIMIT / 2**20:.0f}.")
        _stage_fits(facts)
        before = _named_fits(target.parent)
        paths.put(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    for key in before - _named_fits(target.parent):
        shutil.rmtree(fits.stored(_promoted(), facts["edition"], key), ignore_errors=True)
    return target


def _stage_fits(facts: dict) -> None:
    """Copy record, history and predictions of a chapter's fits to where promoted fits lie."""
    for key in (fit["key"] for fit in facts.get("fits", [])):
        made, target = (fits.stored(root, facts["edition"], key) for root in (paths.runs(), _promoted()))
        if not made.is_dir() and target.is_dir():
            continue  # this run used the promoted one
        _check_hashed(made / "predictions.parquet")
        target.mkdir(parents=True, exist_ok=True)
        for name in ("history.parquet", "predictions.parquet"):
            shutil.copyfile(made / name, target / name)
        (target / "run.json").write_text(_anywhere((made / "run.json").read_text()))


def _named_fits(edition: Path) -> set[str]:
    """Keys of the fits that the promoted chapters of an edition were made with."""
    records = [json.loads(file.read_text()) for file in edition.glob("*/run.json")]
    return {fit["key"] for record in records for fit in record.get("fits", [])}


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
    unknown = {file.stem for file in (run / "figures").glob("*")} - shown - withheld
    if unknown:
        raise OrthoError(
            f'{run / "figures"}: no cell holds `run.figure(..., "{min(unknown)}", ...)` with its name written out, so '
            "it cannot be told whether it shows radiographs. Write the name out and run the chapter again."
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
    """Names of the figures that a cell keeps with `run.figure(figure, "name", ...)`."""
    calls = ast.walk(ast.parse(cell.source)) if cell.cell_type == "code" else []
    kept = [c for c in calls if isinstance(c, ast.Call) and getattr(c.func, "attr", "") == "figure" and len(c.args) > 1]
    return {call.args[1].value for call in kept if isinstance(call.args[1], ast.Constant)}


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


def _check_predictions(run: Path) -> None:
    if not (run / "metrics.parquet").is_file():
        if (run / "predictions.parquet").is_file():
            raise OrthoError(f"{run} holds predictions.parquet and no metrics.parquet; run the chapter again.")
        return
    if not (run / "predictions.parquet").is_file():
        raise OrthoError(
            f"{run}: metrics.parquet without predictions.parquet cannot be checked; run the chapter again."
        )
    predictions = _check_hashed(run / "predictions.parquet")
    stored = pd.read_parquet(run / "metrics.parquet")
    for one, rows in stored.groupby([*ONE_OF], dropna=False):
        again = predictions[(predictions[[*ONE_OF]] == pd.Series(one, index=ONE_OF)).all(axis=1)]
        if again.empty:
            raise OrthoError(f"{run}: metrics of {', '.join(map(str, one))} stand without predictions of it.")
        threshold = next(iter(rows["threshold"].dropna()), None)
        made = evaluate(again, draws=int(rows["draws"].iloc[0]), threshold=threshold)
        both = rows.merge(made, on="metric", suffixes=("", "_again"))
        for column in ("value", "low", "high", "n", "n_groups", "seeds", "seed_sd"):
            gap = (both[column] - both[f"{column}_again"]).abs()
            apart = gap.gt(1e-9) | (both[column].isna() != both[f"{column}_again"].isna())
            if apart.any() or len(both) != len(rows):
                name = both.loc[apart, "metric"].iloc[0] if apart.any() else "a metric"
                raise OrthoError(
                    f"{run}: {name} ({column}) of {', '.join(map(str, one))} does not recompute from "
                    f"predictions.parquet (gap {gap.max():.2g}); run the chapter again."
                )


def _check_hashed(file: Path) -> pd.DataFrame:
    """The predictions in a file. Raises OrthoError where they carry ids that are not hashed."""
    predictions = pd.read_parquet(file)
    for column in ("unit_id", "group"):
        if not predictions[column].astype(str).str.fullmatch("[0-9a-f]{12}").all():
            raise OrthoError(f"{file}: {column} is not hashed; see `ortholib.ids`.")
    return predictions
