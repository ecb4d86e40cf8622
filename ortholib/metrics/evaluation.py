"""From predictions to a table: every metric with its group-clustered interval, in long form."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import bootstrap, scores
from ortholib.metrics import thresholds as of_calls
from ortholib.metrics.frames import need, one_each, refuse

ONE_OF = ("dataset", "task", "split", "part", "arm")  # a table is about one of each; mixing them would average apples
SUM_TOLERANCE = 1e-2  # of a row of probabilities: float16 and stored-with-three-digits rows pass, logits do not
CALLS = ("sensitivity", "specificity", "accuracy", "f1", "ppv", "npv", "mcc")  # what a threshold decides
FIXED = ("sensitivity_at_specificity", "specificity_reached")  # by what validation chose for a specificity

# why a point value is NaN, by the start of its metric's name
UNDEFINED = {
    "auc_ovr_macro": "undefined: needs units of every class",
    "auc_ovr": "undefined: needs units of that class and of the others",
    "roc_auc": "undefined: needs units of both classes",
    "average_precision": "undefined: needs units of both classes",
    "sensitivity": "undefined: needs units of class 1",
    "specificity": "undefined: needs units of class 0",
    "f1": "undefined: needs units of class 1",
    "ppv": "undefined: no unit is called class 1",
    "npv": "undefined: no unit is called class 0",
    "mcc": "undefined: truth or calls lie in one class",
    "balanced_accuracy": "undefined: needs units of every class",
    "recall": "undefined: needs units of that class",
    "kappa": "undefined: truth and calls lie in one class, chance agrees fully",
}


def evaluate(
    predictions: pd.DataFrame,
    *,
    names: Iterable[str] | None = None,
    draws: int = bootstrap.DRAWS,
    seed: int = 0,
    threshold: float | Mapping[int, float] | None = None,
    specificity_threshold: float | Mapping[int, float] | None = None,
) -> pd.DataFrame:
    """Every metric of one arm on one part, with interval: one row a metric.

    `predictions`: columns unit_id, group, y_true (0..k-1), score_0..score_{k-1} (probabilities), and `seed` where the
    arm was trained several times: then the value is the mean over seeds, which share units and draws, and in
    every draw seeds are drawn like groups, so that the interval holds the luck of the training (`bootstrap.luck`).
    `names`: the metrics wanted (default all). `draws`, `seed`: of the bootstrap.
    `threshold`: for k = 2, the rule score_1 >= threshold, chosen on validation (`scores.youden_threshold`), one for
    all or seed -> one. Without it the metrics of calls are NaN and say so: 0.5 is not taken silently.
    `specificity_threshold`: likewise for k = 2, chosen on validation for a wanted specificity
    (`thresholds.threshold_at_specificity`); given, it adds sensitivity_at_specificity, and specificity_reached: on test
    it is not exactly the one that was wanted.

    k = 2: roc_auc, average_precision, sensitivity, specificity, accuracy, f1, brier, ece, ppv, npv, mcc. k > 2:
    accuracy, balanced_accuracy, kappa_none, kappa_linear, kappa_quadratic by the most probable class and by the rounded
    expected grade (`*_expectation`), mae, mae_expectation (expected grade not rounded), recall_c and
    recall_expectation_c, auc_ovr_c, auc_ovr_macro, brier, ece.

    Columns: metric, value, low, high, n (units), n_groups, draws (made), n_undefined_draws, reason, seeds, seed_sd
    (standard deviation of the seeds' values, NaN for one), threshold (mean over seeds, where one was used).
    Predictions that cannot be meant raise OrthoError: missing or repeated units, scores that are no probabilities,
    several arms or parts, seeds that scored different units.
    """
    arm = read_arm(predictions, threshold, specificity_threshold)
    point = pd.DataFrame([compute(None) for compute in arm.computes]).map(np.ndarray.item)  # one row a seed
    wanted = list(point.columns if names is None else names)
    drawn = arm.redrawn(wanted, seed)
    table = bootstrap.bootstrap(partial(arm.mean, wanted), arm.runs[0]["group"], draws, seed, drawn=drawn)
    table["reason"] = [_reason(row, arm) for row in table.itertuples()]
    table["seeds"] = len(arm.runs)
    table["seed_sd"] = point[wanted].std().to_numpy()
    used = dict.fromkeys(CALLS, np.mean(arm.thresholds)) | dict.fromkeys(FIXED, np.mean(arm.specificity_thresholds))
    table["threshold"] = table["metric"].map(used).astype(np.float64)
    return table


class Arm(NamedTuple):
    """An arm as `read_arm` found it: for each seed its predictions, units in one order, its metrics and threshold."""

    runs: list[pd.DataFrame]
    computes: list[Callable]  # weights (D, n) or None -> every metric, name -> (D,)
    thresholds: list[float]  # NaN where none was given
    n_classes: int
    specificity_thresholds: list[float]  # likewise

    def scored(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(truth (n,), probabilities (n, k)) of each seed."""
        return [_arrays(run, self.n_classes) for run in self.runs]

    def binary(self, what: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """(truth, probability of class 1), (n,) each, of each seed; `what` needs it: UsageError for more classes."""
        if self.n_classes != 2:
            raise UsageError(f"{what}: for 2 classes; these predictions have {self.n_classes}")
        return [(y, proba[:, 1]) for y, proba in self.scored()]

    def mean(self, names: Iterable[str], weights=None) -> dict[str, np.ndarray]:
        """The metrics `names` averaged over seeds, name -> (D,). An unknown name raises UsageError."""
        values = [compute(weights) for compute in self.computes]
        unknown = [name for name in names if name not in values[0]]
        if unknown:
            raise UsageError(f"no metric {unknown} for {self.n_classes} classes; known: {list(values[0])}")
        return {name: np.mean([of_seed[name] for of_seed in values], axis=0) for name in names}

    def redrawn(self, names: Iterable[str], seed: int = 0) -> Callable:
        """The same for the next draws of a bootstrap, over trainings that are drawn too (`bootstrap.luck`)."""
        names, luck = list(names), bootstrap.luck(len(self.runs), seed)

        def compute(weights):
            values, shares = [of_seed(weights) for of_seed in self.computes], luck(len(weights))
            return {name: sum(shares[:, s] * of_seed[name] for s, of_seed in enumerate(values)) for name in names}

        return compute


def read_arm(
    predictions: pd.DataFrame,
    threshold: float | Mapping[int, float] | None = None,
    specificity_threshold: float | Mapping[int, float] | None = None,
) -> Arm:
    """Check the predictions of one arm and prepare its metrics; arguments and errors are those of `evaluate`."""
    runs, n_classes = _runs(predictions)
    for given in (threshold, specificity_threshold):
        if given is not None and n_classes > 2:
            raise UsageError(f"a threshold of {given} was given for {n_classes} classes; it is for 2")
    thresholds = [_threshold_of(threshold, key) for key in runs]
    fixed = [_threshold_of(specificity_threshold, key) for key in runs]
    runs = list(runs.values())
    computes = [
        _binary(*_arrays(run, 2), t, None if specificity_threshold is None else at)
        if n_classes == 2
        else _graded(*_arrays(run, n_classes))
        for run, t, at in zip(runs, thresholds, fixed, strict=True)
    ]
    return Arm(runs, computes, thresholds, n_classes, fixed)


def score_columns(predictions: pd.DataFrame) -> list[str]:
    """score_0 ... score_{k-1}, at least two; a table of several tasks has those of the most classes, all empty where a
    task has fewer, which do not count."""
    found = predictions.filter(regex=r"^score_\d+$")
    full = [column for column in found if column in ("score_0", "score_1") or found[column].notna().any()]
    return [f"score_{c}" for c in range(max(len(full), 2))]


def _arrays(run: pd.DataFrame, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    columns = [f"score_{c}" for c in range(n_classes)]
    return run["y_true"].to_numpy(dtype=np.int64), run[columns].to_numpy(dtype=np.float64)


def _runs(predictions: pd.DataFrame) -> tuple[dict, int]:
    """Checked predictions by seed, units in the same order in each, and the number of classes."""
    scores = score_columns(predictions)
    needed = ["unit_id", "group", "y_true", *scores]
    need(predictions, needed, "predictions")
    one_each(predictions, ONE_OF)
    for column in [*needed, *({"seed"} & set(predictions.columns))]:
        refuse(predictions, predictions[column].isna(), f"{column} is missing", "drop the unit or rerun the fit")
    proba = predictions[scores].to_numpy(dtype=np.float64)
    outside = ((proba < 0) | (proba > 1)).any(axis=1) | (np.abs(proba.sum(axis=1) - 1) > SUM_TOLERANCE)
    refuse(predictions, outside, "scores are no probabilities that sum to 1", "apply softmax or sigmoid before")
    unknown = ~predictions["y_true"].isin(range(len(scores)))
    refuse(predictions, unknown, f"y_true is not in 0..{len(scores) - 1}", "check the task's classes")

    by_seed = list(predictions.groupby("seed")) if "seed" in predictions.columns else []
    runs = {}
    for key, run in by_seed or [(None, predictions)]:
        refuse(run, run["unit_id"].duplicated(), f"repeated unit_id in seed {key}", "score each unit once")
        runs[key] = run.sort_values("unit_id", ignore_index=True)
    first_key, first = next(iter(runs.items()))
    for key, run in runs.items():
        same_units(f"seed {first_key}", first, f"seed {key}", run)
    return runs, len(scores)


def same_units(one: str, first: pd.DataFrame, other: str, second: pd.DataFrame) -> None:
    """Raise OrthoError where two tables of predictions in order of units differ in units, groups or truth; `one` and
    `other` are what they are called."""
    differs = set(first["unit_id"]) ^ set(second["unit_id"])
    if differs:
        example = f"{len(differs)} in one only, such as {min(differs)}"
        raise OrthoError(f"{one} and {other} scored different units ({example}); score the same part")
    for column in ("group", "y_true"):
        what = f"{column} in {other} is not that in {one}"
        refuse(second, (second[column] != first[column]).to_numpy(), what, "score the same part with the same task")


def _threshold_of(threshold, seed) -> float:
    if isinstance(threshold, Mapping):
        if seed not in threshold:
            raise UsageError(f"no threshold for seed {seed}; given for {list(threshold)}")
        threshold = threshold[seed]
    return np.nan if threshold is None else float(threshold)


def _binary(y, proba, threshold: float, fixed: float | None) -> Callable:
    ranking = scores.Ranking(y, proba[:, 1])

    def calls_at(at: float, weights):
        calls = scores.confusion(y, proba[:, 1] >= at, 2, weights)
        return np.full_like(calls, np.nan) if np.isnan(at) else calls

    def compute(weights):
        values = dict(zip(("roc_auc", "average_precision"), ranking.areas(weights), strict=True))
        calls = calls_at(threshold, weights)
        values |= {name: getattr(scores, name)(calls) for name in ("sensitivity", "specificity", "accuracy", "f1")}
        values |= {"brier": scores.brier(y, proba, weights), "ece": scores.ece(y, proba, weights)}
        values |= {name: getattr(of_calls, name)(calls) for name in ("ppv", "npv", "mcc")}
        if fixed is not None:
            calls = calls_at(fixed, weights)
            values |= dict(zip(FIXED, (scores.sensitivity(calls), scores.specificity(calls)), strict=True))
        return values

    return compute


def _graded(y, proba) -> Callable:
    n_classes = proba.shape[1]
    called = {"": proba.argmax(axis=1), "_expectation": scores.expected_grade(proba)}
    rankings = [scores.Ranking(y == c, proba[:, c]) for c in range(n_classes)]

    def compute(weights):
        values = {}
        for suffix, grade in called.items():
            calls = scores.confusion(y, grade, n_classes, weights)
            values[f"accuracy{suffix}"] = scores.accuracy(calls)
            values[f"balanced_accuracy{suffix}"] = scores.balanced_accuracy(calls)
            for weighting in (None, "linear", "quadratic"):
                values[f"kappa_{weighting or 'none'}{suffix}"] = scores.kappa(calls, weighting)
            values |= {f"recall{suffix}_{c}": recall for c, recall in enumerate(scores.per_class_recall(calls).T)}
        values["mae"] = scores.mae(y, called[""], weights)
        values["mae_expectation"] = scores.mae(y, scores.expectation(proba), weights)
        areas = [ranking.areas(weights)[0] for ranking in rankings]
        values |= {f"auc_ovr_{c}": area for c, area in enumerate(areas)} | {"auc_ovr_macro": np.mean(areas, axis=0)}
        return values | {"brier": scores.brier(y, proba, weights), "ece": scores.ece(y, proba, weights)}

    return compute


def _reason(row, arm: Arm) -> str:
    """Why the metric, and not the resampling, is missing or says little; otherwise what `bootstrap.bootstrap` said."""
    if row.n == 0:
        return row.reason
    runs, n_classes = arm.runs, arm.n_classes
    if np.isnan(row.value):
        by = {"scores.youden_threshold": (CALLS, arm.thresholds)} if n_classes == 2 else {}
        by |= {"thresholds.threshold_at_specificity": (FIXED, arm.specificity_thresholds)}
        for rule, (names, thresholds) in by.items():
            if row.metric in names and np.isnan(thresholds).any():
                return f"no threshold: choose it on validation rows with both classes ({rule})"
        why = next(text for start, text in UNDEFINED.items() if row.metric.startswith(start))
        per_class = runs[0]["y_true"].value_counts().reindex(range(n_classes), fill_value=0)
        return f"{why}; there are " + ", ".join(f"{n} of class {c}" for c, n in per_class.items())
    ranked = {"roc_auc": "score_1", "average_precision": "score_1"} if n_classes == 2 else {}
    ranked |= {f"auc_ovr_{c}": f"score_{c}" for c in range(n_classes)}
    if row.metric in ranked and any(run[ranked[row.metric]].nunique() == 1 for run in runs):
        return "; ".join(filter(None, ["all scores are equal, nothing is ranked", row.reason]))
    return row.reason
