"""Networks that are kept for use: where they are, and how a trained one gets into `results/weights` with its card."""

import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from ortholib import paths, progress
from ortholib.classify import finetune, model
from ortholib.classify.model import Facts, Model
from ortholib.data import datasets, ids, tasks
from ortholib.data.labelled import Labelled
from ortholib.dino import shards
from ortholib.encoders import registry
from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import calibration, evaluation
from ortholib.metrics.scores import youden_threshold
from ortholib.report import results, tables

NAME = re.compile(r"(?![0-9a-f]+$)[a-z][a-z0-9-]{2,39}")  # no fit's key
LIMITS = (
    "For research on methods only. It is no medical device and must not be used for diagnosis or treatment.",
    "It answers for every picture, also for one that shows something else or is turned.",
    "It was tested on images of the same source as those that it learned from; nothing is known about other hospitals, "
    "devices and patients. Try it on labelled images of yours first: `ortholib predict`, then `ortholib evaluate`.",
    "The intervals are of this one trained network: they hold the luck of the test sample, not that of the training.",
)
SHOWN = {
    "ordinal": ("kappa_quadratic_expectation", "accuracy_expectation", "mae_expectation", "auc_ovr_macro", "ece"),
    "binary": ("roc_auc", "average_precision", "sensitivity", "specificity", "ppv", "npv", "ece"),
}


def find(name: str) -> Path:
    """Where MODEL of the command line is: a file or folder, a name under `results/weights`, or a fit by its key.

    Raises UsageError with the names that are known.
    """
    if (place := Path(name).expanduser()).exists():
        return place
    if (kept := _weights() / name).is_dir() and "/" not in name:
        return kept
    return fit(name)


def fit(key: str) -> Path:
    """Folder of a finished fit of this machine by the beginning of its key, 4 digits or more."""
    found = {}
    if re.fullmatch(r"[0-9a-f]{4,16}", key):
        folders = (file.parent for file in sorted(paths.runs().glob(f"*/fits/{key}*/run.json")))
        found = {folder.name: folder for folder in folders if "." not in folder.name}  # no .partial, no .failed
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise UsageError(f"'{key}' is the beginning of several keys: {', '.join(found)}; give more digits.")
    promoted = sorted(file.parent.name for file in _weights().glob("*/model.json"))
    raise UsageError(
        f"'{key}' is no file, no folder, no fit under {paths.runs()} and no promoted network; promoted: "
        f"{', '.join(promoted) or 'none yet'}."
    )


def promote(key: str, name: str) -> Path:
    """Keep a finished classifier for use under `results/weights/<name>`, and return that folder.

    `model.safetensors` (see `classify.model`; kernels and matrices bfloat16, at most 15 MiB), `model.json` with all
    facts and metrics, `README.md`, the card, and `predictions.parquet`: validation and test images scored again by
    these very weights, where the images are on this machine, else as the training stored them. Threshold, temperature
    and metrics are of these scores. What stood under the name is replaced.
    Raises OrthoError for a fit that is no finished classifier on real images, for ids that are not hashed, and for
    weights that are too large; then nothing is left.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"name '{name}': expected 3 to 40 small letters, digits and -, such as knee-kl.")
    folder = fit(key)
    record = json.loads((folder / "run.json").read_text())
    if record["edition"] == "phantom" or record["status"] != "done":
        raise OrthoError(f"{folder}: a {record['status']} {record['edition']} fit; only real and paper ones are kept.")
    whole = model.read(folder)
    stored = results.check_hashed(folder / "predictions.parquet")
    state = model.rounded(whole.network.state_dict())
    small = Model(whole.facts, model.filled(folder, whole.facts, state))
    scores = _scored_again(small, stored, record)
    frame = stored if scores is None else stored.assign(**dict(zip(_columns(stored), scores.T, strict=True)))
    facts = _with_choices(whole.facts, frame)
    told = _told(facts, frame, record) | _rounding(facts, stored, scores)
    target = _weights() / name
    staging = target.with_name(name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        save_file(state, staging / model.NAMES[0], model.head(facts))
        _check_size(staging / model.NAMES[0], target)
        frame.to_parquet(staging / "predictions.parquet", index=False)
        (staging / "model.json").write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
        (staging / "README.md").write_text(card(name, facts, told))
        paths.put(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def card(name: str, facts: Facts, told: dict) -> str:
    """The model card, Markdown, of what `promote` wrote into `model.json`."""
    kept = pd.DataFrame(told["metrics"]).set_index("metric").loc[list(SHOWN[facts.kind])].reset_index()
    calibrated = pd.DataFrame(told["calibration"])
    calibrated = calibrated[calibrated["metric"].isin(["ece", "brier"]) & (calibrated["scaling"] != "after - before")]
    n = f"{told['n']:,} test images of {told['n_groups']:,} {told['groups']}"
    classes = "; ".join(f"{k}: {text}" for k, text in enumerate(facts.classes))
    start = f"{told['initial']}{' weights' if told['initial'] == 'random' else ''}{told['initial_licence']}"
    otherwise = ""
    if told["other_calls"] is not None:
        otherwise = (
            f", and {told['other_calls']:,} of {told['scored']:,} validation and test images are called otherwise"
        )
    rounding = (
        f"Beside the scores that the training stored ({told['precision']}), those of this file differ by at most "
        f"{told['rounding']:.2g}{otherwise}."
        if told["rounding"] is not None
        else "The scores below are those that the training stored: its images were not at hand when this was promoted, "
        "so how much the rounding to bfloat16 changes them was not measured."
    )
    lines = [
        f"# {name}: {facts.task} from radiographs",
        "",
        f"{facts.backbone}, {told['parameters']:,} weights, trained from {start}, recipe {facts.recipe}, seed "
        f"{told['seed']}. It gives the probability of each class ({classes}).",
        "",
        "```bash",
        f"ortholib predict {name} FOLDER",
        "```",
        "",
        f"Input: one grey channel, letterboxed to {facts.size} x {facts.size} px"
        f"{', left sides mirrored so that all lie as right ones' if facts.sides else ''}. Weights: kernels and "
        f"matrices bfloat16, Apache-2.0. {rounding}",
        "",
        "## Data and population",
        "",
        f"{told['dataset_title']}, release {told['version']}, split {told['split']}.",
        "",
        tables.markdown(pd.DataFrame(told["population"]).astype("object").map(_count)),
        "",
        "## Operating point",
        "",
        facts.rule,
        "",
        "## Calibration",
        "",
        f"Temperature {facts.temperature:.3f}, fitted on validation. Scores are given without it; the confidence of a "
        f"call is given with it. On {n}, with 95 % intervals:",
        "",
        tables.markdown(_rows(calibrated, ("metric", "scaling")), ("metric", "temperature", "value", "95 % interval")),
        "",
        "## On the test part",
        "",
        f"{n}; 95 % intervals by a bootstrap over {told['groups']}. All metrics: `model.json`; they recompute from "
        "`predictions.parquet`.",
        "",
        tables.markdown(_rows(kept, ("metric",)), ("metric", "value", "95 % interval")),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in told["limits"]),
        "",
    ]
    return "\n".join(lines)


def _weights() -> Path:
    return paths.project() / "results" / "weights"


def _columns(frame: pd.DataFrame) -> list[str]:
    return sorted(frame.filter(regex=r"^score_\d+$"), key=lambda c: int(c.removeprefix("score_")))


def _scored_again(small: Model, stored: pd.DataFrame, record: dict) -> np.ndarray | None:
    """Scores (n, k) of the rows of `stored`; None where its images are not on this machine."""
    asked = record["settings"]
    try:
        fraction = asked.get("fraction", 1.0)
        data = tasks.prepare(*(asked[k] for k in ("dataset", "task", "split", "size")), record["edition"], fraction)
    except OrthoError as error:
        print(f"not scored again: {error}")
        return None
    same = {**data.identity, "version": ""} == {**record["data"], "version": ""}
    if not same:
        print("not scored again: the images on this machine are others than the training's")
        return None
    return _scores(small, data, asked["dataset"]).loc[stored["unit_id"]].to_numpy()


def _scores(small: Model, data: Labelled, dataset: str) -> pd.DataFrame:
    """Scores of validation and test images by hashed id."""
    rows = np.flatnonzero(np.isin(data.part, ["val", "test"]))
    batches = finetune.Batches(data, torch.device("cpu"))
    parts = progress.bar(np.array_split(rows, -(-len(rows) // 64)), desc="scoring", unit="batch")
    proba = np.concatenate([small.scores(batches(part).numpy()) for part in parts])
    return pd.DataFrame(proba, index=ids.hashed(data.unit_id[rows], dataset))


def _rounding(facts: Facts, stored: pd.DataFrame, scores: np.ndarray | None) -> dict:
    """How far scores are from those that the training stored; None where they are those."""
    if scores is None:
        return {"rounding": None, "other_calls": None}
    before = stored[_columns(stored)].to_numpy()
    calls = [facts.called(proba) for proba in (before, scores)]
    other = None if calls[0] is None else int((calls[0] != calls[1]).sum())
    return {"rounding": float(np.abs(before - scores).max()), "other_calls": other}


def _with_choices(facts: Facts, frame: pd.DataFrame) -> Facts:
    """The facts with what the validation rows choose."""
    validation = frame[frame["part"] == "val"]
    threshold = None
    if facts.kind == "binary":
        best = youden_threshold(validation["y_true"], validation["score_1"])
        threshold = best if np.isfinite(best) else None
    return replace(facts, threshold=threshold, temperature=model.fitted_temperature(validation))


def _told(facts: Facts, frame: pd.DataFrame, record: dict) -> dict:
    """All that `model.json` says."""
    validation, test = (frame[frame["part"] == part] for part in ("val", "test"))
    metrics = evaluation.evaluate(test, threshold=facts.threshold)
    asked, known = record["settings"], datasets.SETS.get(record["settings"]["dataset"])
    start = registry.ENCODERS.get(asked["initial"]) if isinstance(asked["initial"], str) else None
    unit = "patients" if known and known.patients else "groups"
    population = [{"part": "train", "images": record["counts"]["train"]}]
    for part, rows in (("validation", validation), ("test", test)):
        counts = rows["y_true"].value_counts().reindex(range(len(facts.classes)), fill_value=0)
        row = {"part": part, "images": len(rows), unit: int(rows["group"].nunique())}
        population.append(row | {name: int(k) for name, k in zip(facts.classes, counts, strict=True)})
    limits = [*LIMITS, *(f"Of the set: {defect}" for defect in (known.defects if known else ()))]
    return asdict(facts) | {
        "rule": facts.rule,
        "fit": record["key"],
        "commit": record["made_by"]["commit"],
        "precision": record["precision"],
        "parameters": record["parameters"],
        "seed": asked["seed"],
        "initial": record["initial"]["source"],
        "initial_licence": f" ({start.published}, {start.licence})" if start else "",
        "dataset": asked["dataset"],
        "dataset_title": f"{known.title} ({known.citation}; {known.licence})" if known else asked["dataset"],
        "version": record["data"].get("version", "unknown"),
        "split": asked["split"],
        "population": population,
        "n": len(test),
        "n_groups": int(test["group"].nunique()),
        "groups": unit,
        "scored": len(frame),
        "metrics": _json_rows(metrics),
        "calibration": _json_rows(calibration.before_after(validation, test)),
        "limits": limits,
    }


def _count(value) -> str:
    """A cell of the population: what is not known (of the training part) is empty."""
    return value if isinstance(value, str) else "" if pd.isna(value) else f"{int(value):,}"


def _json_rows(table: pd.DataFrame) -> list[dict]:
    return json.loads(table.to_json(orient="records", double_precision=15))


def _rows(table: pd.DataFrame, named: tuple[str, ...]) -> list[list[str]]:
    """Names, value and interval of each row, as a card shows them."""
    shown = []
    for row in table.to_dict("records"):
        value = row["reason"] if pd.isna(row["value"]) else f"{row['value']:.3f}"
        interval = "none" if pd.isna(row["low"]) else f"{row['low']:.3f} to {row['high']:.3f}"
        shown.append([*(row[name] for name in named), value, interval])
    return shown


def _check_size(made: Path, target: Path) -> None:
    size = made.stat().st_size
    if size > shards.SHARD:
        raise OrthoError(
            f"the weights take {size / 2**20:.1f} MiB; at most {shards.SHARD / 2**20:.0f} are kept of a network. "
            "Promote a smaller one."
        )
    others = [f for f in _weights().rglob("*.safetensors") if target not in f.parents and made != f]
    held = size + sum(file.stat().st_size for file in others)
    if held > results.WEIGHTS_LIMIT:
        raise OrthoError(
            f"{_weights()} would hold {held / 2**20:.0f} MiB of weights; at most {results.WEIGHTS_LIMIT / 2**20:.0f} "
            "are kept. Delete those of an older pretraining."
        )
