"""Arms ranked over several blocks (body parts, tasks): Friedman, Nemenyi, and Wilcoxon for two arms.

Rank 1 is best (Demšar, 2006, JMLR 7, 1). Blocks from one data set share images and patients, so these tests are
exploratory; and few blocks show little: with fewer than 5, nothing is computed, and the reason is stated.
"""

from itertools import combinations
from math import factorial
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats as tests

from ortholib.errors import OrthoError, UsageError
from ortholib.metrics.compare import ALPHA, read_arms
from ortholib.metrics.frames import need, refuse

MIN_BLOCKS = 5
MIN_UNITS = 20  # positives, and negatives; a block with fewer gives a value that is mostly noise


def blocks(predictions: pd.DataFrame, by: str) -> pd.DataFrame:
    """The blocks of a test part, one row a value of the column `by`: block, n_pos, n_neg, n_groups, used, reason.

    Used are those with >= 20 positive and >= 20 negative units. `predictions`: unit_id, group, y_true (0 or 1) and
    `by`; a unit scored by several arms and seeds counts once. Missing columns or another truth raise OrthoError.
    """
    need(predictions, ("unit_id", "group", "y_true", by), f"predictions by {by}")
    refuse(predictions, ~predictions["y_true"].isin((0, 1)), "y_true is not 0 or 1", "take a binary task", ["y_true"])
    refuse(predictions, predictions[by].isna(), f"{by} is missing", "fill or drop them")
    rows = []
    for name, units in predictions.drop_duplicates([by, "unit_id"]).groupby(by):
        counts = {"positives": int((units["y_true"] == 1).sum()), "negatives": int((units["y_true"] == 0).sum())}
        few = [f"{n} {what}, {MIN_UNITS} needed" for what, n in counts.items() if n < MIN_UNITS]
        rows.append((name, *counts.values(), units["group"].nunique(), not few, "; ".join(few)))
    return pd.DataFrame(rows, columns=["block", "n_pos", "n_neg", "n_groups", "used", "reason"])


def block_values(predictions: pd.DataFrame, by: str, metric: str) -> pd.DataFrame:
    """The metric of every arm, seeds averaged, in every block that `blocks` uses: index block, a column an arm.

    Raises what `blocks` and `compare.compare` raise, and OrthoError for a block that lacks an arm.
    """
    arms = list(predictions["arm"].unique()) if "arm" in predictions.columns else []
    used, values = blocks(predictions, by).query("used")["block"], []
    for block in used:
        here = read_arms(predictions[predictions[by] == block])
        if set(here) != set(arms):
            raise OrthoError(f"block '{block}' lacks the arms {sorted(set(arms) - set(here))}; score it with every arm")
        values.append([here[arm].mean([metric])[metric][0] for arm in arms])
    return pd.DataFrame(values, columns=arms, index=pd.Index(used, name="block"), dtype=np.float64)


class Friedman(NamedTuple):
    """chi2 (tie-corrected), Iman and Davenport's f with df, its p; mean_ranks by arm; reason where not computed."""

    chi2: float
    f: float
    df: tuple[int, int]
    p: float
    mean_ranks: pd.Series
    n_blocks: int
    reason: str


def friedman(values: pd.DataFrame) -> Friedman:
    """Do the arms' ranks differ over the blocks? `values`: a row a block, a column an arm, 3 at least; higher = better.

    F = (N - 1) chi2 / (N (k - 1) - chi2) with k - 1 and (k - 1)(N - 1) degrees of freedom: Iman and Davenport, 1980,
    doi:10.1080/03610928008827904; less conservative than chi2. Where every block ranks alike, F is infinite and p is
    the exact chance of that. Errors: NaN (OrthoError), fewer than 3 arms (UsageError).
    """
    table = _checked(values, at_least=3)
    ranks, (n, k) = _ranks(table), table.shape
    mean_ranks = ranks.mean().rename("mean_rank")
    df = (k - 1, (k - 1) * (n - 1))
    if n < MIN_BLOCKS:
        return Friedman(np.nan, np.nan, df, np.nan, mean_ranks, n, too_few(n))
    if ranks.nunique(axis=1).max() == 1:
        return Friedman(np.nan, np.nan, df, np.nan, mean_ranks, n, "not computed: all arms are equal in every block")
    chi2 = float(tests.friedmanchisquare(*ranks.to_numpy().T).statistic)
    if np.isclose(chi2, n * (k - 1), rtol=1e-12):
        orders = factorial(k) / np.prod([factorial(m) for m in np.unique(ranks.iloc[0], return_counts=True)[1]])
        return Friedman(chi2, np.inf, df, float(orders) ** (1 - n), mean_ranks, n, "")
    f = (n - 1) * chi2 / (n * (k - 1) - chi2)
    return Friedman(chi2, f, df, float(tests.f.sf(f, *df)), mean_ranks, n, "")


class Nemenyi(NamedTuple):
    """Two arms differ where their mean ranks are critical_difference apart; pairs: arm, other, rank_difference, p."""

    critical_difference: float
    pairs: pd.DataFrame
    mean_ranks: pd.Series
    n_blocks: int
    reason: str


def nemenyi(values: pd.DataFrame) -> Nemenyi:
    """Which arms differ, after a Friedman test that says that some do; `values` and errors as there.

    CD = q_0.05(k, inf) / sqrt(2) sqrt(k (k + 1) / (6 N)) with the studentized range q (Demšar, 2006, 3.2.2). p is that
    of the same statistic. rank_difference < 0: `arm` ranks better than `other`.
    """
    table = _checked(values, at_least=3)
    n, k = table.shape
    mean_ranks = _ranks(table).mean().rename("mean_rank")
    pairs = pd.DataFrame(combinations(table.columns, 2), columns=["arm", "other"])
    pairs["rank_difference"] = [mean_ranks[a] - mean_ranks[b] for a, b in combinations(table.columns, 2)]
    if n < MIN_BLOCKS:
        return Nemenyi(np.nan, pairs.assign(p=np.nan), mean_ranks, n, too_few(n))
    unit = np.sqrt(k * (k + 1) / (12 * n))  # in which the difference of two mean ranks is a studentized range
    pairs["p"] = tests.studentized_range.sf(pairs["rank_difference"].abs() / unit, k, np.inf)
    critical = float(tests.studentized_range.ppf(1 - ALPHA, k, np.inf) * unit)
    return Nemenyi(critical, pairs, mean_ranks, n, "")


class Wilcoxon(NamedTuple):
    """statistic (smaller rank sum), p, least_p that so many unequal blocks could give, n_unequal; reason."""

    statistic: float
    p: float
    least_p: float
    n_blocks: int
    n_unequal: int
    reason: str


def wilcoxon(values: pd.DataFrame) -> Wilcoxon:
    """Do two arms differ over the blocks? Wilcoxon's signed-rank test, two-sided, of `values` (N, 2).

    Exact without ties, by permutation of signs with ties up to 13 blocks, normal beyond (scipy). Equal blocks are
    dropped. `least_p` = 2 / 2^n_unequal: with 5 blocks even five wins of five give 0.0625. Errors: NaN (OrthoError),
    other than 2 arms (UsageError).
    """
    table = _checked(values, at_least=2)
    if table.shape[1] != 2:
        raise UsageError(f"Wilcoxon's test is for 2 arms, given: {list(table.columns)}; use friedman")
    difference = (table.iloc[:, 0] - table.iloc[:, 1]).to_numpy()
    # values such as 0.9 - 0.8 and 0.8 - 0.7 differ by rounding; as ranks they would be taken for different
    difference = np.round(difference, 12)
    n, n_unequal = len(difference), int((difference != 0).sum())
    least = 2.0 ** (1 - n_unequal) if n_unequal else 1.0
    if n < MIN_BLOCKS:
        return Wilcoxon(np.nan, np.nan, least, n, n_unequal, too_few(n))
    if not n_unequal:
        return Wilcoxon(np.nan, np.nan, least, n, 0, "not computed: the arms are equal in every block")
    unequal = difference[difference != 0]
    method = "auto"  # exact to 50 blocks
    if len(np.unique(np.abs(unequal))) < n_unequal:
        method = tests.PermutationMethod(n_resamples=2**13) if n_unequal <= 13 else "asymptotic"
    found = tests.wilcoxon(unequal, method=method)
    return Wilcoxon(float(found.statistic), float(found.pvalue), least, n, n_unequal, "")


def too_few(n: int) -> str:
    """Why no test is made over n blocks."""
    least = f", where even {n} wins of {n} give p = {2.0 ** (1 - n):g}" if n else ""
    return f"not computed: too few ({n} blocks, {MIN_BLOCKS} needed{least})"


def _checked(values: pd.DataFrame, at_least: int) -> pd.DataFrame:
    if values.shape[1] < at_least:
        instead = "; for 2 use wilcoxon" if values.shape[1] == 2 else ""
        raise UsageError(f"the arms are {list(values.columns)}; expected {at_least} at least{instead}")
    missing = np.argwhere(values.isna().to_numpy())
    if len(missing):
        block, arm = values.index[missing[0][0]], values.columns[missing[0][1]]
        raise OrthoError(f"{len(missing)} values are missing, first: arm '{arm}' in block '{block}'; drop that block")
    return values


def _ranks(table: pd.DataFrame) -> pd.DataFrame:
    """1 = highest, ties the mean of their ranks; equal to 12 digits is equal, as sums in another order are."""
    return table.astype(np.float64).round(12).rank(axis=1, ascending=False)
