"""Results: what the runs found, as one table, and the promotion of a run into the repository."""

import json
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

from ortholib import paths
from ortholib.errors import OrthoError, UsageError
from ortholib.evaluation import evaluate

COLUMNS = ["edition", "paper", "arm", "dataset", "split", "part", "task"]
COLUMNS += ["metric", "value", "low", "high", "n", "n_groups", "seeds", "run"]
LIMIT = 25 * 2**20  # bytes of one promoted run
WITHHELD = "*Radiographs are not redistributed; the book shows this gallery from the local data, or from the phantom.*"


def table(edition: str | None = None) -> pd.DataFrame:
    """Rows of every promoted run, and of every local run that is not promoted, in the columns `COLUMNS`."""
    folders = [*(paths.project() / "results").glob("*/*/metrics.parquet"), *paths.runs().glob("*/*/metrics.parquet")]
    rows, seen = [], set()
    for file in folders:
        where, chapter = file.parts[-3:-1]
        run = file.parent / "run.json"
        if where in ("phantom", "real", "paper") and run.is_file() and (where, chapter) not in seen:
            seen.add((where, chapter))
            rows.append(pd.read_parquet(file).assign(edition=where, run=chapter))
    found = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS)
    found = found.reindex(columns=COLUMNS)
    return found if edition is None else found[found["edition"] == edition].reset_index(drop=True)


def record(run: Path) -> Path:
    """Promote a finished real or paper run to `results/<edition>/<chapter>` and return that folder.

    Checked first: the record says done and not phantom, every metric recomputes from the stored predictions
    within 1e-9, ids are hashed, cells tagged `radiographs` hold no picture (their output is replaced here), and
    the whole is at most 25 MiB. Raises OrthoError naming what is wrong.
    """
    if not (run / "run.json").is_file():
        raise UsageError(f"{run} is no finished run: it holds no run.json. See runs/<edition>/<chapter>.")
    facts = json.loads((run / "run.json").read_text())
    if facts["status"] != "done" or facts["edition"] == "phantom":
        raise OrthoError(f"{run}: a {facts['status']} {facts['edition']} run; only finished real or paper runs count.")
    if (run / "predictions.parquet").is_file():
        _check_predictions(run)
    target = paths.project() / "results" / facts["edition"] / facts["notebook"]
    staging = target.with_name(target.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(run, staging, ignore=shutil.ignore_patterns("run.log", "*.svg", "private"))
    notebook = nbformat.read(staging / "notebook.ipynb", as_version=4)
    for cell in notebook.cells:
        if "radiographs" in cell.metadata.get("tags", []):
            cell.outputs = [nbformat.v4.new_output("display_data", {"text/markdown": WITHHELD})]
    nbformat.write(notebook, staging / "notebook.ipynb")
    size = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file())
    if size > LIMIT:
        shutil.rmtree(staging)
        raise OrthoError(f"{run} holds {size / 2**20:.0f} MiB; a promoted run may hold {LIMIT / 2**20:.0f}.")
    shutil.rmtree(target, ignore_errors=True)
    staging.replace(target)
    return target


def _check_predictions(run: Path) -> None:
    predictions = pd.read_parquet(run / "predictions.parquet")
    if not predictions["unit_id"].str.fullmatch("[0-9a-f]{12}").all():
        raise OrthoError(f"{run / 'predictions.parquet'}: unit ids are not hashed; save `runs.public(predictions)`.")
    stored = pd.read_parquet(run / "metrics.parquet")
    for (arm, part), rows in stored.groupby(["arm", "part"]):
        again = predictions[(predictions["arm"] == arm) & (predictions["part"] == part)]
        threshold = next(iter(rows["threshold"].dropna()), None)
        made = evaluate(again, draws=int(rows["draws"].iloc[0]), threshold=threshold)
        both = rows.merge(made, on="metric", suffixes=("", "_again"))
        for column in ("value", "low", "high"):
            gap = (both[column] - both[f"{column}_again"]).abs()
            apart = gap.gt(1e-9) | (both[column].isna() != both[f"{column}_again"].isna())
            if apart.any() or len(both) != len(rows):
                name = both.loc[apart, "metric"].iloc[0] if apart.any() else "a metric"
                raise OrthoError(
                    f"{run}: {name} ({column}) of {arm} on {part} does not recompute from predictions.parquet "
                    f"(gap {np.nanmax(gap):.2g}); run the chapter again."
                )
