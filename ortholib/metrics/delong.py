"""Areas under ROC curves with their covariance, without resampling: DeLong, and Obuchowski for units in groups.

Both rest on placements: the share of negatives that a positive outranks, and of positives that outrank a negative.
From mid-ranks they take O(n log n) (Sun and Xu, 2014, doi:10.1109/LSP.2014.2337313). A covariance holds every arm and
seed at once, so a difference of means over seeds is a contrast of it.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

from ortholib.errors import OrthoError
from ortholib.metrics import bootstrap
from ortholib.metrics.compare import ALPHA, DETECTABLE, holm, pairs_of, read_arms


class Areas(NamedTuple):
    """ROC AUC of k score columns (k,) and the covariance of these estimates (k, k)."""

    value: np.ndarray
    covariance: np.ndarray


def placements(y_true, scores) -> tuple[np.ndarray, np.ndarray]:
    """V10 (k, M) of the M positives and V01 (k, N) of the N negatives, ties one half; the mean of either is the AUC.

    y_true (n,) of 0 and 1, scores (k, n), higher = more positive. DeLong et al., 1988, eq. 5 ff. Scores that are not
    finite, other truths, or fewer than 2 units of a class (no variance) raise OrthoError.
    """
    y_true, scores = np.asarray(y_true), np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if y_true.ndim != 1 or scores.shape[1] != len(y_true) or not np.isin(y_true, (0, 1)).all():
        raise OrthoError(f"y_true {y_true.shape} must be 0 or 1, one for each column of scores {scores.shape}")
    bad = np.argwhere(~np.isfinite(scores))
    if len(bad):
        first = f"first: row {bad[0][1]} of column {bad[0][0]}"
        raise OrthoError(f"{len(bad)} of {scores.size} scores are not finite ({first}); rerun that fit")
    positive = y_true == 1
    counts = {c: int((y_true == c).sum()) for c in (1, 0)}
    for c, n in counts.items():
        if n < 2:
            raise OrthoError(f"{n} units of class {c}; a variance of ROC AUC needs 2 at least: take a larger part")
    among_all = rankdata(scores, axis=1)
    v10 = (among_all[:, positive] - rankdata(scores[:, positive], axis=1)) / counts[0]
    v01 = 1 - (among_all[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / counts[1]
    return v10, v01


def delong(y_true, scores) -> Areas:
    """ROC AUC of scores (k, n) and their covariance, for units that are independent of each other.

    Covariance = S10 / M + S01 / N (DeLong, DeLong and Clarke-Pearson, 1988, doi:10.2307/2531595, eq. 5 to 7). For
    several units a patient use `obuchowski`. Errors: those of `placements`.
    """
    v10, v01 = placements(y_true, scores)
    covariance = np.atleast_2d(np.cov(v10)) / v10.shape[1] + np.atleast_2d(np.cov(v01)) / v01.shape[1]
    return Areas(v10.mean(axis=1), covariance)


def obuchowski(y_true, scores, groups) -> Areas:
    """ROC AUC of scores (k, n) and their covariance where the units of one group depend on each other.

    The placements, less the AUC, are summed by group before they are squared; a group with units of both classes adds
    the covariance of its two sums. One unit a group gives `delong`. Obuchowski, 1997, doi:10.2307/2533958, section 2.
    Errors: those of `placements`, a missing group, and fewer than 2 groups with units of a class.
    """
    v10, v01 = placements(y_true, scores)
    positive = np.asarray(y_true) == 1
    codes, n_groups = bootstrap.group_codes(groups)
    value = v10.mean(axis=1)
    sums, n_with = [], []
    for c, placed, own in ((1, v10, codes[positive]), (0, v01, codes[~positive])):
        n_with.append(len(np.unique(own)))
        if n_with[-1] < 2:
            raise OrthoError(f"all units of class {c} are of one group; their variance needs 2: take a larger part")
        sums.append(np.stack([np.bincount(own, row, n_groups) for row in placed - value[:, None]]))
    (s10, s01), (n_pos, n_neg) = sums, (v10.shape[1], v01.shape[1])
    across = s10 @ s01.T * (n_groups / (n_groups - 1) / (n_pos * n_neg))
    covariance = s10 @ s10.T * (n_with[0] / (n_with[0] - 1) / n_pos**2) + across
    return Areas(value, covariance + s01 @ s01.T * (n_with[1] / (n_with[1] - 1) / n_neg**2) + across.T)


def contrast(areas: Areas, weights) -> dict[str, float]:
    """difference, se, low, high (95 %), z, p (two-sided, normal) of weights (k,) @ areas: (1, -1) takes one from the
    other. p and bounds are NaN where nothing varies, as between arms that rank every pair alike."""
    weights = np.asarray(weights, dtype=np.float64)
    difference, variance = float(weights @ areas.value), float(weights @ areas.covariance @ weights)
    # rounding leaves 1e-19 where the two arms rank alike; a true variance is far above a millionth of theirs
    enough = variance > 1e-9 * float(np.abs(weights) @ np.diag(areas.covariance))
    se = float(np.sqrt(variance)) if enough else np.nan
    z, half = difference / se, float(norm.ppf(1 - ALPHA / 2)) * se
    p = float(2 * norm.sf(abs(z)))
    return {"difference": difference, "se": se, "low": difference - half, "high": difference + half, "z": z, "p": p}


def compare_areas(predictions: pd.DataFrame) -> pd.DataFrame:
    """Difference in ROC AUC of every pair of arms: DeLong where every group is one unit, else Obuchowski.

    `predictions`: as for `compare.compare`, which raises the same errors; two classes. Columns: method, arm,
    reference, value_arm, value_reference, difference, low, high, se, z, p, p_holm (the rows are the family),
    detectable (2.80 se, as in `compare.paired`), n, n_groups, seeds, seeds_reference, reason.
    """
    arms = read_arms(predictions)
    units = next(iter(arms.values())).runs[0]
    runs = [(name, score) for name, arm in arms.items() for _, score in arm.binary("areas under ROC curves")]
    scores, n_groups = np.stack([score for _, score in runs]), units["group"].nunique()
    alone = n_groups == len(units)
    areas = delong(units["y_true"], scores) if alone else obuchowski(units["y_true"], scores, units["group"])
    mean_of = {name: np.array([name == of for of, _ in runs]) / len(arm.runs) for name, arm in arms.items()}
    rows = []
    for arm, reference in pairs_of(arms, None):
        row = {"method": "DeLong" if alone else "Obuchowski", "arm": arm, "reference": reference}
        values = {"value_arm": mean_of[arm] @ areas.value, "value_reference": mean_of[reference] @ areas.value}
        row |= values | contrast(areas, mean_of[arm] - mean_of[reference])
        row |= {"detectable": DETECTABLE * row["se"], "n": len(units), "n_groups": n_groups}
        row |= {"seeds": len(arms[arm].runs), "seeds_reference": len(arms[reference].runs)}
        rows.append(row | {"reason": "" if np.isfinite(row["se"]) else "the two rank alike: nothing to test"})
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(table["p"]))
    return table
