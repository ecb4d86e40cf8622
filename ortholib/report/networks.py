"""Networks that are kept for use: where they are, and how a trained one gets into `results/weights`."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from ortholib import paths, progress
from ortholib.classify import finetune, model
from ortholib.classify.model import Facts, Model
from ortholib.data import ids, tasks
from ortholib.data.labelled import Labelled
from ortholib.dino import shards
from ortholib.errors import OrthoError, UsageError
from ortholib.metrics.scores import youden_threshold
from ortholib.report import modelcard, results

NAME = re.compile(r"(?![0-9a-f]+$)[a-z][a-z0-9-]{2,39}")  # no fit's key


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
    told = modelcard.facts(facts, frame, record) | _rounding(facts, stored, scores)
    target = _weights() / name
    staging = target.with_name(name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        save_file(state, staging / model.NAMES[0], model.head(facts))
        _check_size(staging / model.NAMES[0], target)
        frame.to_parquet(staging / "predictions.parquet", index=False)
        (staging / "model.json").write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
        (staging / "README.md").write_text(modelcard.card(name, facts, told))
        paths.put(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


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
