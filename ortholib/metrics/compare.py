"""Differences between arms: the paired group-clustered bootstrap, Holm's correction, and what a test set could show.

All arms and seeds are weighted by the same draws, so what makes a draw easy or hard is easy or hard for every arm and
cancels in the difference. An arm's value is the mean over its seeds, in every draw.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import norm

from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import bootstrap
from ortholib.metrics.evaluation import CALLS, ONE_OF, Arm, read_arm, same_units
from ortholib.metrics.frames import need, one_each, refuse

ALPHA = 0.05  # two-sided
POWER = 0.80
ROUNDING = 1e-12  # equal values summed in another order differ by some 1e-16, which is no difference
DETECTABLE = float(norm.ppf(1 - ALPHA / 2) + norm.ppf(POWER))  # 2.80 standard errors
COLUMNS = ["metric", "arm", "reference", "value_arm", "value_reference", "difference", "low", "high", "se", "p"]
COLUMNS += ["p_holm", "low_holm", "high_holm", "detectable", "n", "n_groups", "draws", "n_undefined_draws", "reason"]


def compare(
    predictions: pd.DataFrame,
    names: Iterable[str],
    *,
    pairs: Iterable[tuple[str, str]] | None = None,
    draws: int = bootstrap.DRAWS,
    seed: int = 0,
    thresholds: Mapping[str, float | Mapping[int, float]] | None = None,
) -> pd.DataFrame:
    """Difference of every metric in `names` between every pair of arms, with interval and test: one row each.

    `predictions`: as for `evaluation.evaluate`, with the column `arm`; every arm scored the same units.
    `pairs`: (arm, reference), the difference is arm minus reference; default: every two arms, in their order.
    `thresholds`: arm -> threshold, as for `evaluate`. The rows of the table are the family of Holm's correction, so ask
    for the metrics and pairs that will be spoken of, no more.

    Columns: those of `paired`, then seeds and seeds_reference. Beside the errors of `evaluate`, OrthoError is raised
    for arms that scored different units, for units of one group or one class, and UsageError for an unknown metric or
    arm, and for a metric of calls without thresholds.
    """
    arms, names = read_arms(predictions, thresholds), list(names)
    if not names:
        raise UsageError("no metric was named; expected some of those of `evaluate`, such as roc_auc")
    pairs = pairs_of(arms, pairs)
    needed = [name for name in arms if any(name in pair for pair in pairs)]
    for name in needed:
        arms[name].mean(names)  # refuses an unknown metric before anything is drawn
        if arms[name].n_classes == 2 and set(names) & set(CALLS) and name not in (thresholds or {}):
            raise UsageError(f"{sorted(set(names) & set(CALLS))} need a threshold; none is given for the arm '{name}'")
    computes = {name: partial(arms[name].mean, names) for name in needed}
    drawn = {name: arms[name].redrawn(names, seed) for name in needed}
    table = paired(computes, arms[needed[0]].runs[0]["group"], pairs, draws, seed, drawn)
    table["reason"] = [_no_threshold(row, arms) or row.reason for row in table.itertuples()]
    for column, arm in (("seeds", "arm"), ("seeds_reference", "reference")):
        table[column] = [len(arms[name].runs) for name in table[arm]]
    return table


def _no_threshold(row, arms: dict[str, Arm]) -> str:
    if row.metric not in CALLS or arms[row.arm].n_classes > 2:
        return ""
    blind = [name for name in (row.arm, row.reference) if np.isnan(arms[name].thresholds).any()]
    return f"no threshold for {', '.join(blind)}" if blind else ""


def paired(
    computes: Mapping[str, bootstrap.Compute],
    groups,
    pairs=None,
    draws: int = bootstrap.DRAWS,
    seed: int = 0,
    drawn: Mapping[str, bootstrap.Compute] | None = None,
) -> pd.DataFrame:
    """The same from functions, for any metric: arm -> function of weights (D, n) giving metric -> (D,).

    `groups` (n,): of the rows that the weights belong to, two at least (OrthoError). `pairs` as in `compare`. `drawn`:
    what gives the draws, where they vary more than the groups; default: `computes`.

    Columns: metric, arm, reference, value_arm, value_reference, difference, low, high (95 % interval: order statistics
    of the draws, so that it leaves out 0 exactly where p <= 0.05), se (standard deviation of the draws), p (two-sided,
    `two_sided_p`), p_holm, low_holm, high_holm (interval at the level at which Holm's step tests the row: it leaves out
    0 exactly where p_holm <= 0.05; it says what the test says and is no simultaneous interval), detectable, n,
    n_groups, draws, n_undefined_draws, reason (empty, or why a number is missing or to be read with care).

    detectable = (z_0.975 + z_0.80) se = 2.80 se: the true difference that a two-sided test at 0.05 finds with 80 %
    power when the difference has this standard error. It is printed beside a difference so that "no difference shown"
    is not read as "no difference": a smaller one would have been missed.
    """
    pairs = pairs_of(computes, pairs)
    n, n_groups = count_groups(groups)

    def together(computes, weights):
        return {(name, arm): v for arm, f in computes.items() for name, v in f(weights).items()}

    point = together(computes, np.ones((1, n)))
    drawn = bootstrap.bootstrap_draws(partial(together, drawn or computes), groups, draws, seed)
    rows, differences = [], []
    for name in dict.fromkeys(name for name, _ in point):
        for arm, reference in pairs:
            values = [float(point[name, one][0]) for one in (arm, reference)]
            difference = drawn[name, arm] - drawn[name, reference]
            row, kept = _row(values, difference, n_groups)
            rows.append({"metric": name, "arm": arm, "reference": reference, **row, "n": n})
            differences.append(kept)
    return _family(pd.DataFrame(rows).assign(n_groups=n_groups, draws=draws), differences)[COLUMNS]


def count_groups(groups) -> tuple[int, int]:
    """(units, groups); fewer than 2 groups raise OrthoError: every draw would be the whole set again."""
    codes, n_groups = bootstrap.group_codes(groups)
    if n_groups < 2:
        raise OrthoError(
            f"the {len(codes)} units are of {n_groups} group; draws of groups need 2 at least: "
            "check the column 'group', or take a part with more patients"
        )
    return len(codes), n_groups


def _row(values: list[float], difference: np.ndarray, n_groups: int) -> tuple[dict, np.ndarray]:
    """One pair's numbers from its draws (D,), and the draws to test with (none where there is no interval)."""
    value = values[0] - values[1]
    difference = np.where(np.abs(difference) < ROUNDING, 0.0, difference)
    low, _, n_undefined, reason = bootstrap.percentile_interval(value, difference, n_groups)
    kept = difference[~np.isnan(difference)] if np.isfinite(low) else np.empty(0)
    low, high = order_interval(kept, ALPHA)
    se = float(kept.std(ddof=1)) if len(kept) > 1 else np.nan
    if se < ROUNDING:  # equal arms: nothing varies, so no standard error to judge by
        se, reason = np.nan, "the difference is the same in every draw"
    row = dict(zip(("value_arm", "value_reference"), values, strict=True)) | {"difference": value}
    row |= {"low": low, "high": high, "se": se, "p": two_sided_p(kept), "detectable": DETECTABLE * se}
    return row | {"n_undefined_draws": n_undefined, "reason": reason}, kept


def _family(table: pd.DataFrame, differences: list[np.ndarray]) -> pd.DataFrame:
    """With Holm's p and the interval at the level of each row's step."""
    table["p_holm"] = holm(table["p"])
    table["low_holm"], table["high_holm"] = np.nan, np.nan
    tested = table["p"].dropna().sort_values(kind="stable")
    # Holm stops at the first that is not called: the rest is tested no more, and keeps that step's level
    stop = int((table.loc[tested.index, "p_holm"] <= ALPHA).sum())
    for step, row in enumerate(tested.index):
        level = ALPHA / (len(tested) - min(step, stop))
        table.loc[row, ["low_holm", "high_holm"]] = order_interval(differences[row], level)
    made = min((len(differences[row]) for row in tested.index), default=0)
    needed = int(np.ceil(2 * len(tested) / ALPHA)) - 1
    if made < needed:
        few = f"{made} draws cannot reach {ALPHA} in a family of {len(tested)}, {needed} can"
        table["reason"] = ["; ".join(filter(None, [reason, few])) for reason in table["reason"]]
    return table


def two_sided_p(drawn: np.ndarray) -> float:
    """p of "no difference" from draws of the difference (D,): twice the smaller tail, each counted with one draw more.

    (1 + #{d <= 0}) / (1 + D) inverts the percentile interval and is never 0 (Davison and Hinkley, 1997, Bootstrap
    Methods and their Application, 4.2 and 5.4). NaN for no draws.
    """
    if not len(drawn):
        return np.nan
    return float(min(1.0, 2 * (1 + min((drawn <= 0).sum(), (drawn >= 0).sum())) / (1 + len(drawn))))


def order_interval(drawn: np.ndarray, alpha: float) -> tuple[float, float]:
    """Percentile interval of level 1 - alpha from draws (D,): their ((D + 1) alpha / 2)-th smallest and largest.

    Whole draws instead of interpolation make it leave out 0 exactly where `two_sided_p` <= alpha. NaN for no draws, and
    infinite where D is too small for the level: such an interval leaves out nothing.
    """
    if not len(drawn):
        return np.nan, np.nan
    rank = int(np.floor((len(drawn) + 1) * alpha / 2 * (1 + 1e-12)))  # 1e-12: 0.025 x 2,000 is 49.999...
    if rank < 1:
        return -np.inf, np.inf
    ordered = np.sort(drawn)
    return float(ordered[rank - 1]), float(ordered[-rank])


def holm(p) -> np.ndarray:
    """Holm-adjusted p (m,): the family-wise error stays under alpha where those <= alpha are called, under any
    dependence. NaN, a test that was not made, stays NaN and is not counted. Outside 0..1 raises OrthoError.

    Holm, 1979, Scandinavian Journal of Statistics 6, 65.
    """
    p = np.asarray(p, dtype=np.float64)
    made = np.flatnonzero(~np.isnan(p))
    if ((p[made] < 0) | (p[made] > 1)).any():
        raise OrthoError(f"p = {p[made][(p[made] < 0) | (p[made] > 1)][0]} is no probability; expected 0 to 1, or NaN")
    order = made[np.argsort(p[made], kind="stable")]
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted


def pairs_of(arms: Iterable[str], pairs: Iterable[tuple[str, str]] | None) -> list[tuple[str, str]]:
    """The pairs asked for, or every two arms; an unknown arm, one arm or an arm with itself raises UsageError."""
    arms = list(arms)
    pairs = list(combinations(arms, 2) if pairs is None else pairs)
    unknown = sorted({str(name) for pair in pairs for name in pair} - set(map(str, arms)))
    if unknown:
        raise UsageError(f"no arm {unknown} among the predictions; there are: {arms}")
    if not pairs:
        raise UsageError(f"nothing to compare: the arms are {arms}; two are needed")
    same = [pair for pair in pairs if len(pair) != 2 or pair[0] == pair[1]]
    if same:
        raise UsageError(f"{same[0]} is no pair of two arms; expected (arm, reference)")
    return pairs


def read_arms(
    predictions: pd.DataFrame, thresholds: Mapping[str, float | Mapping[int, float]] | None = None
) -> dict[str, Arm]:
    """The arms in their order, each checked by `evaluation.read_arm` and all against the first; errors as `compare`.

    The runs of all arms and seeds then hold the same units, groups and truth in the same order.
    """
    need(predictions, ["unit_id", "arm"], "predictions")
    refuse(predictions, predictions["arm"].isna(), "arm is missing", "name the arm of each")
    one_each(predictions, [column for column in ONE_OF if column != "arm"])
    unknown = [name for name in thresholds or {} if name not in set(predictions["arm"])]
    if unknown:
        raise UsageError(f"thresholds are given for {unknown}; the arms are {list(predictions['arm'].unique())}")
    by_arm = predictions.groupby("arm", sort=False)
    arms = {name: read_arm(rows, (thresholds or {}).get(name)) for name, rows in by_arm}
    if not arms:
        raise OrthoError("the predictions hold no rows, so no arm; check that the fits wrote theirs")
    first_name, first = next((name, arm.runs[0]) for name, arm in arms.items())
    for name, arm in arms.items():
        same_units(f"arm '{first_name}'", first, f"arm '{name}'", arm.runs[0])
    for column, what, remedy in (("group", "group", "patients"), ("y_true", "class", "classes")):
        if first[column].nunique() < 2:
            only = f"all {len(first)} units are of one {what} ({first[column].iloc[0]})"
            raise OrthoError(f"{only}; a comparison needs 2 at least: take a part with more {remedy}")
    return arms
