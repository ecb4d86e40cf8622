"""From predictions to a table: every metric with its group-clustered interval, in long form."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from ortholib import metrics, operating, stats
from ortholib.errors import OrthoError, UsageError

ONE_OF = ("dataset", "task", "split", "part", "arm")  # a table is about one of each; mixing them would average apples
SUM_TOLERANCE = 1e-2  # of a row of probabilities: float16 and stored-with-three-digits rows pass, logits do not
CALLS = ("sensitivity", "specificity", "accuracy", "f1", "ppv", "npv", "mcc")  # what a threshold decides
FIXED = (
    "sensitivity_at_specificity",
    "specificity_reached",
)  # at the threshold that validation chose for a specificity

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
    draws: int = stats.DRAWS,
    seed: int = 0,
    threshold: float | Mapping[int, float] | None = None,
    specificity_threshold: float | Mapping[int, float] | None = None,
) -> pd.DataFrame:
    """Every metric of one arm on one part, with interval: one row a metric.

    `predictions`: columns unit_id, group, y_true (0..k-1), score_0..score_{k-1} (probabilities), and `seed` where the
    arm was trained several times: then value and every draw are the mean over seeds, which share units and draws.
    `names`: the metrics wanted (default all). `draws`, `seed`: of the bootstrap.
    `threshold`: for k = 2, the rule score_1 >= threshold, chosen on validation (`metrics.youden_threshold`), one for
    all or seed -> one. Without it the metrics of calls are NaN and say so: 0.5 is not taken silently.
    `specificity_threshold`: likewise for k = 2, chosen on validation for a wanted specificity
    (`operating.threshold_at_specificity`); given, it adds sensitivity_at_specificity, and specificity_reached: on test
    it is not exactly the one that was wanted.

    k = 2: roc_auc, average_precision, sensitivity, specificity, accuracy, f1, brier, ece, ppv, npv, mcc. k > 2:
    accuracy, balanced_accuracy, kappa_none, kappa_linear, kappa_quadratic by the most probable class and by the rounded
    expected grade (`*_expectation`), mae, mae_expectation (expected grade not rounded), recall_c, auc_ovr_c,
    auc_ovr_macro, brier, ece.

    Columns: metric, value, low, high, n (units), n_groups, draws (made), n_undefined_draws, reason, seeds, seed_sd
    (standard deviation of the seeds' values, NaN for one), threshold (mean over seeds, where one was used).
    Predictions that cannot be meant raise OrthoError: missing or repeated units, scores that are no probabilities,
    several arms or parts, seeds that scored different units.
    """
    arm = read_arm(predictions, threshold, specificity_threshold)
    point = pd.DataFrame([compute(None) for compute in arm.computes]).map(np.ndarray.item)  # one row a seed
    wanted = list(point.columns if names is None else names)
    table = stats.bootstrap(lambda weights: arm.mean(wanted, weights), arm.runs[0]["group"], draws, seed)
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

    def mean(self, names: Iterable[str], weights=None) -> dict[str, np.ndarray]:
        """The metrics `names` averaged over seeds, name -> (D,). An unknown name raises UsageError."""
        values = [compute(weights) for compute in self.computes]
        unknown = [name for name in names if name not in values[0]]
        if unknown:
            raise UsageError(f"no metric {unknown} for {self.n_classes} classes; known: {list(values[0])}")
        return {name: np.mean([of_seed[name] for of_seed in values], axis=0) for name in names}


def read_arm(
    predictions: pd.DataFrame,
    threshold: float | Mapping[int, float] | None = None,
    specificity_threshold: float | Mapping[int, float] | None = None,
) -> Arm:
    """Check the predictions of one arm and prepare its metrics; arguments and errors are those of `evaluate`."""
    runs, score_columns = _runs(predictions)
    for given in (threshold, specificity_threshold):
        if given is not None and len(score_columns) > 2:
            raise UsageError(f"a threshold of {given} was given for {len(score_columns)} classes; it is for 2")
    thresholds = [_threshold_of(threshold, key) for key in runs]
    fixed = [_threshold_of(specificity_threshold, key) for key in runs]
    runs = list(runs.values())
    computes = [
        _metrics_of(run, score_columns, t, None if specificity_threshold is None else at)
        for run, t, at in zip(runs, thresholds, fixed, strict=True)
    ]
    return Arm(runs, computes, thresholds, len(score_columns), fixed)


def _runs(predictions: pd.DataFrame) -> tuple[dict, list[str]]:
    """Checked predictions by seed, units in the same order in each, and the score columns in class order."""
    # a table of several tasks has columns for the most classes, empty where a task has fewer
    beyond = [column for column in predictions.columns if re.fullmatch(r"score_(?!0$|1$)\d+", str(column))]
    predictions = predictions.drop(columns=[column for column in beyond if predictions[column].isna().all()])
    found = sum(bool(re.fullmatch(r"score_\d+", str(column))) for column in predictions.columns)
    score_columns = [f"score_{c}" for c in range(max(found, 2))]
    needed = ["unit_id", "group", "y_true", *score_columns]
    absent = [column for column in needed if column not in predictions.columns]
    if absent:
        raise OrthoError(f"predictions lack the columns {absent}; needed: {needed}, and seed where there are several")
    for column in set(ONE_OF) & set(predictions.columns):
        if predictions[column].nunique(dropna=False) > 1:
            raise OrthoError(f"several {column} in one table: {list(predictions[column].unique()[:5])}; pick one")
    for column in [*needed, *({"seed"} & set(predictions.columns))]:
        _refuse(predictions, predictions[column].isna(), f"{column} is missing", "drop the unit or rerun the fit")
    proba = predictions[score_columns].to_numpy(dtype=np.float64)
    outside = ((proba < 0) | (proba > 1)).any(axis=1) | (np.abs(proba.sum(axis=1) - 1) > SUM_TOLERANCE)
    _refuse(predictions, outside, "scores are no probabilities that sum to 1", "apply softmax or sigmoid before")
    unknown = ~predictions["y_true"].isin(range(len(score_columns)))
    _refuse(predictions, unknown, f"y_true is not in 0..{len(score_columns) - 1}", "check the task's classes")

    by_seed = list(predictions.groupby("seed")) if "seed" in predictions.columns else []
    runs = {}
    for key, run in by_seed or [(None, predictions)]:
        _refuse(run, run["unit_id"].duplicated(), f"repeated unit_id in seed {key}", "score each unit once")
        runs[key] = run.sort_values("unit_id", ignore_index=True)
    first_key, first = next(iter(runs.items()))
    for key, run in runs.items():
        differs = set(run["unit_id"]) ^ set(first["unit_id"])
        if differs:
            example = f"{len(differs)} in one only, such as {min(differs)}"
            raise OrthoError(f"seeds {first_key} and {key} scored different units ({example}); score the same part")
        for column in ("group", "y_true"):
            what = f"{column} in seed {key} is not that in seed {first_key}"
            _refuse(run, run[column] != first[column], what, "score the same part with each")
    return runs, score_columns


def _refuse(frame: pd.DataFrame, bad, what: str, remedy: str) -> None:
    bad = np.asarray(bad, dtype=bool)
    if bad.any():
        unit = frame["unit_id"].iloc[int(bad.argmax())]
        raise OrthoError(f"{what}: {bad.sum()} of {len(frame)} rows, first unit {unit}; {remedy}")


def _threshold_of(threshold, seed) -> float:
    if isinstance(threshold, Mapping):
        if seed not in threshold:
            raise UsageError(f"no threshold for seed {seed}; given for {list(threshold)}")
        threshold = threshold[seed]
    return np.nan if threshold is None else float(threshold)


def _metrics_of(run: pd.DataFrame, score_columns: list[str], threshold: float, fixed: float | None) -> Callable:
    y, proba = run["y_true"].to_numpy(dtype=np.int64), run[score_columns].to_numpy(dtype=np.float64)
    return _binary(y, proba, threshold, fixed) if len(score_columns) == 2 else _graded(y, proba)


def _binary(y, proba, threshold: float, fixed: float | None) -> Callable:
    ranking = metrics.Ranking(y, proba[:, 1])

    def calls_at(at: float, weights):
        calls = metrics.confusion(y, proba[:, 1] >= at, 2, weights)
        return np.full_like(calls, np.nan) if np.isnan(at) else calls

    def compute(weights):
        values = dict(zip(("roc_auc", "average_precision"), ranking.areas(weights), strict=True))
        calls = calls_at(threshold, weights)
        values |= {name: getattr(metrics, name)(calls) for name in ("sensitivity", "specificity", "accuracy", "f1")}
        values |= {"brier": metrics.brier(y, proba, weights), "ece": metrics.ece(y, proba, weights)}
        values |= {name: getattr(operating, name)(calls) for name in ("ppv", "npv", "mcc")}
        if fixed is not None:
            calls = calls_at(fixed, weights)
            values |= dict(zip(FIXED, (metrics.sensitivity(calls), metrics.specificity(calls)), strict=True))
        return values

    return compute


def _graded(y, proba) -> Callable:
    n_classes = proba.shape[1]
    called = {"": proba.argmax(axis=1), "_expectation": metrics.expected_grade(proba)}
    rankings = [metrics.Ranking(y == c, proba[:, c]) for c in range(n_classes)]

    def compute(weights):
        values = {}
        for suffix, grade in called.items():
            calls = metrics.confusion(y, grade, n_classes, weights)
            values[f"accuracy{suffix}"] = metrics.accuracy(calls)
            values[f"balanced_accuracy{suffix}"] = metrics.balanced_accuracy(calls)
            for weighting in (None, "linear", "quadratic"):
                values[f"kappa_{weighting or 'none'}{suffix}"] = metrics.kappa(calls, weighting)
            if not suffix:
                values |= {f"recall_{c}": recall for c, recall in enumerate(metrics.per_class_recall(calls).T)}
        values["mae"] = metrics.mae(y, called[""], weights)
        values["mae_expectation"] = metrics.mae(y, metrics.expectation(proba), weights)
        areas = [ranking.areas(weights)[0] for ranking in rankings]
        values |= {f"auc_ovr_{c}": area for c, area in enumerate(areas)} | {"auc_ovr_macro": np.mean(areas, axis=0)}
        return values | {"brier": metrics.brier(y, proba, weights), "ece": metrics.ece(y, proba, weights)}

    return compute


def _reason(row, arm: Arm) -> str:
    """Why the metric, and not the resampling, is missing or says little; otherwise what `stats.bootstrap` said."""
    if row.n == 0:
        return row.reason
    runs, n_classes = arm.runs, arm.n_classes
    if np.isnan(row.value):
        if row.metric in CALLS and np.isnan(arm.thresholds).any() and n_classes == 2:
            return "no threshold: choose it on validation rows with both classes (metrics.youden_threshold)"
        if row.metric in FIXED and np.isnan(arm.specificity_thresholds).any():
            chosen = "operating.threshold_at_specificity"
            return f"no threshold: choose it on validation rows with both classes ({chosen})"
        why = next(text for start, text in UNDEFINED.items() if row.metric.startswith(start))
        per_class = runs[0]["y_true"].value_counts().reindex(range(n_classes), fill_value=0)
        return f"{why}; there are " + ", ".join(f"{n} of class {c}" for c, n in per_class.items())
    ranked = {"roc_auc": "score_1", "average_precision": "score_1"} if n_classes == 2 else {}
    ranked |= {f"auc_ovr_{c}": f"score_{c}" for c in range(n_classes)}
    if row.metric in ranked and any(run[ranked[row.metric]].nunique() == 1 for run in runs):
        return "; ".join(filter(None, ["all scores are equal, nothing is ranked", row.reason]))
    return row.reason
