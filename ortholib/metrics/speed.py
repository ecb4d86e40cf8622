"""How soon an arm's training gets as far as a reference arm's ends: epochs and minutes to its validation ROC AUC.

The target is the mean over seeds of the reference arm's ROC AUC after its last epoch. A training reaches it at its
first epoch with at least that, whether or not it stays there. One that does not reach it in E epochs counts as E + 1
epochs, in minutes as its whole time and one mean epoch more: that **understates how slow it is**. The same holds in
every draw of the bootstrap, where the target is taken anew. A reference arm of several seeds need not reach its own
mean in each, and then counts so too. Intervals are about other validation units, not about other trainings.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from ortholib import wording
from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import bootstrap, compare
from ortholib.metrics.frames import need, refuse
from ortholib.metrics.scores import Ranking

METRICS = {"epochs_to_reference": "epochs", "minutes_to_reference": "minutes"}  # metric -> its unit
COLUMNS = ["arm", "metric", "value", "low", "high", "reached", "seeds", "epochs", "n", "n_groups", "draws"]
COLUMNS += ["n_undefined_draws", "reference", "target", "reason"]


class Course(NamedTuple):
    """One training, epoch by epoch.

    scores: unit_id, group, y_true (0 or 1), epoch_1 ... epoch_E (probability of class 1 of each validation unit after
    that epoch), rows in any order. seconds: (E,), what each epoch took.
    """

    arm: str
    seed: int
    scores: pd.DataFrame
    seconds: np.ndarray


def table(courses: Iterable[Course], reference: str, draws: int = bootstrap.DRAWS) -> pd.DataFrame:
    """Epochs and minutes to the reference arm's final ROC AUC, one row an arm and metric, with 95 % intervals.

    All courses hold the same units and E; the arms may differ in the number of seeds. A seed that does not reach the
    target counts as E + 1 epochs, which understates how slow it is; `reason` then says so.

    Columns: arm, metric (epochs_to_reference, minutes_to_reference), value (mean over seeds), low, high (of the
    group-clustered bootstrap of the validation units; arms and seeds share draws), reached (how many seeds did, on the
    units as they are), seeds, epochs (E), n (units), n_groups, draws, n_undefined_draws, reference, target (ROC AUC),
    reason (empty, or why a number is missing or to be read with care).

    Raises OrthoError for courses of different units, missing epochs, scores that are no probabilities, seconds that are
    not positive, a repeated arm and seed, units of one class or one group; UsageError where no arm is the reference.
    """
    trainings = _read(courses, reference)

    def compute(weights):
        target = trainings.target(reference, weights)
        found = {arm: trainings.mean(arm, target, weights) for arm in trainings.of_arm}
        return {(arm, metric): value for arm, both in found.items() for metric, value in both.items()}

    found = bootstrap.bootstrap(compute, trainings.groups, draws, keys=("arm", "metric"))
    target = trainings.target(reference)
    first = {arm: [run.first_epoch(target)[0] for run in runs] for arm, runs in trainings.of_arm.items()}
    found["reached"] = [sum(bool(epoch <= trainings.epochs) for epoch in first[arm]) for arm in found["arm"]]
    found["seeds"] = [len(first[arm]) for arm in found["arm"]]
    found["epochs"], found["reference"], found["target"] = trainings.epochs, reference, float(target[0])
    found["reason"] = [_reason(row) for row in found.itertuples()]
    return found[COLUMNS]


def differences(courses: Iterable[Course], reference: str, draws: int = bootstrap.DRAWS) -> pd.DataFrame:
    """Every other arm minus the reference in both metrics of `table`, rows and columns as of `compare.paired`.

    Negative = the arm is sooner there. All rows are one family of Holm's correction. Errors: those of `table`, and
    UsageError where the reference is the only arm.
    """
    trainings = _read(courses, reference)

    def compute_of(arm):
        return lambda weights: trainings.mean(arm, trainings.target(reference, weights), weights)

    computes = {arm: compute_of(arm) for arm in trainings.of_arm}
    pairs = [(arm, reference) for arm in computes if arm != reference]
    return compare.paired(computes, trainings.groups, pairs, draws)


def _reason(row) -> str:
    missed = row.seeds - row.reached
    if not missed:
        return row.reason
    verb = "does" if missed == 1 else "do"
    late = f"{missed} of {wording.count(row.seeds, 'training')} {verb} not reach it, counted as {row.epochs + 1} epochs"
    return "; ".join(filter(None, [f"{late}: slower than this says", row.reason]))


class _Training(NamedTuple):
    """A course as `_read` found it: units ranked by their score after each epoch, and seconds (E,)."""

    rankings: list[Ranking]
    seconds: np.ndarray

    def first_epoch(self, target: np.ndarray, weights=None) -> np.ndarray:
        """First epoch (D,) with ROC AUC >= target (D,), from 1; E + 1 for none, NaN where the target is undefined."""
        first = np.full(target.shape, len(self.rankings) + 1.0)
        for epoch in range(len(self.rankings), 0, -1):
            first[self.rankings[epoch - 1].areas(weights)[0] >= target - compare.ROUNDING] = epoch
        return np.where(np.isnan(target), np.nan, first)

    def minutes(self, epoch: np.ndarray) -> np.ndarray:
        """Minutes (D,) to the end of each epoch of `first_epoch`, NaN for NaN."""
        until = np.cumsum([*self.seconds, self.seconds.mean()]) / 60
        place = np.where(np.isnan(epoch), 1, epoch).astype(np.int64) - 1
        return np.where(np.isnan(epoch), np.nan, until[place])


class _Trainings(NamedTuple):
    of_arm: dict[str, list[_Training]]
    groups: np.ndarray  # (n,), of the units in the order of the rankings
    epochs: int

    def target(self, reference: str, weights=None) -> np.ndarray:
        """Mean over seeds of the reference's last ROC AUC (D,)."""
        return np.mean([run.rankings[-1].areas(weights)[0] for run in self.of_arm[reference]], axis=0)

    def mean(self, arm: str, target: np.ndarray, weights=None) -> dict[str, np.ndarray]:
        """Both metrics averaged over the seeds of an arm: metric -> (D,)."""
        first = [run.first_epoch(target, weights) for run in self.of_arm[arm]]
        minutes = [run.minutes(epoch) for run, epoch in zip(self.of_arm[arm], first, strict=True)]
        return dict(zip(METRICS, (np.mean(first, axis=0), np.mean(minutes, axis=0)), strict=True))


def _read(courses: Iterable[Course], reference: str) -> _Trainings:
    """The courses checked, units in one order in all; errors as `table`."""
    courses = list(courses)
    arms = list(dict.fromkeys(course.arm for course in courses))
    if reference not in arms:
        raise UsageError(f"no arm '{reference}' to be the reference; there are: {arms}")
    columns, by_key, frames = _columns(courses[0]), {}, []
    for course in courses:
        own = _columns(course)
        if own != columns:
            counts = f"{len(own)} epochs, {_name(courses[0])} has {len(columns)}"
            raise OrthoError(f"{_name(course)} has {counts}; epochs are missing: train all equally long")
        if (course.arm, course.seed) in by_key:
            raise OrthoError(f"{_name(course)} is given twice; give each training once")
        by_key[course.arm, course.seed] = np.asarray(course.seconds, dtype=np.float64)
        last = course.scores[columns[-1]]
        frames.append(course.scores.assign(arm=course.arm, seed=course.seed, score_0=1 - last, score_1=last))
    read = compare.read_arms(pd.concat(frames, ignore_index=True))
    of_arm = {
        arm: [
            _Training([Ranking(run["y_true"], run[c]) for c in columns], by_key[arm, run["seed"].iloc[0]])
            for run in read[arm].runs
        ]
        for arm in arms
    }
    return _Trainings(of_arm, read[reference].runs[0]["group"].to_numpy(), len(columns))


def _columns(course: Course) -> list[str]:
    """epoch_1 ... epoch_E of a course, checked together with its seconds (E,)."""
    scores, seconds = course.scores, np.asarray(course.seconds, dtype=np.float64)
    found = scores.filter(regex=r"^epoch_\d+$").shape[1]
    columns = [f"epoch_{e}" for e in range(1, max(found, 1) + 1)]
    need(scores, columns, f"{_name(course)} scores after every epoch")
    if seconds.shape != (found,) or not (np.isfinite(seconds) & (seconds > 0)).all():
        raise OrthoError(f"seconds of {_name(course)} are {seconds}; expected {found} positive, one an epoch")
    for column in columns:
        what, remedy = f"{column} of {_name(course)} is no probability", "apply softmax or sigmoid, or rerun that fit"
        refuse(scores, ~scores[column].between(0, 1), what, remedy, ["unit_id", column])
    return columns


def _name(course: Course) -> str:
    return f"arm '{course.arm}', seed {course.seed},"
