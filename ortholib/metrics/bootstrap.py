"""Intervals that respect patients: the group-clustered bootstrap.

One draw takes whole groups with replacement, as many as there are (Field and Welsh, 2007,
doi:10.1111/j.1467-9868.2007.00593.x). A row then counts as often as its group was taken, so a draw is one weight a row,
and every metric is a function of weights (D, n) that returns (D,): the point value (all weights 1) and every draw come
from the same code.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pandas as pd

from ortholib.errors import OrthoError, UsageError

DRAWS = 2000
LEVEL = 0.95
MAX_UNDEFINED = 0.05  # share of draws; with more, the defined ones are a selected sample and an interval would mislead
BLOCK_BYTES = 2**23  # weights held at once: 8 MiB was fastest (4 to 32 MiB tried at n = 5,000), 64 MiB is never reached

Compute = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def group_codes(groups) -> tuple[np.ndarray, int]:
    """Number the groups 0..G-1 in sorted order: ((n,) int64, G). A missing group raises OrthoError."""
    codes, names = pd.factorize(pd.Series(groups), sort=True)
    if (codes < 0).any():
        raise OrthoError(
            f"{(codes < 0).sum()} of {len(codes)} rows have no group (first: row {int(np.argmax(codes < 0))}); "
            "give each the patient, exam or image it belongs to"
        )
    return codes, len(names)


def group_draws(groups, draws: int = DRAWS, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield the draws in blocks (B, n) of float64: how often each row's group was taken.

    The counts depend on the set of group names, `draws` and `seed` alone, not on the order or number of rows: frames
    over the same groups (arms, seeds of training, tasks) share their draws. Float64 holds counts exactly and goes to
    BLAS and sparse products as it is; a block is the transpose of a contiguous (n, B) array, as those products like it.
    """
    if draws < 1:
        raise UsageError(f"draws is {draws}; at least 1 is needed, {DRAWS} for a published interval")
    codes, n_groups = group_codes(groups)
    if n_groups == 0:
        raise OrthoError("no rows to draw from; check that the predictions are not empty")
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK_BYTES // (8 * len(codes)))
    for start in range(0, draws, block):
        taken = rng.integers(0, n_groups, (min(block, draws - start), n_groups))
        counts = np.array([np.bincount(draw, minlength=n_groups) for draw in taken], dtype=np.float64)
        yield np.ascontiguousarray(counts.T).take(codes, axis=0).T


def bootstrap_draws(compute: Compute, groups, draws: int = DRAWS, seed: int = 0) -> dict[str, np.ndarray]:
    """The value of every metric in every draw: name -> (draws,) float64, NaN where undefined.

    `compute(weights (B, n))` returns name -> (B,). Metrics that share work, or arms to be compared draw by draw, go
    into one `compute`.
    """
    blocks = [dict(compute(weights)) for weights in group_draws(groups, draws, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def luck(seeds: int, seed: int = 0) -> Callable[[int], np.ndarray]:
    """Weights (D, S) of S trainings in the next D draws, by the one function that is returned for all blocks of draws.

    One draw takes S trainings with replacement. That alone would show (S - 1) / S of the variance between trainings, so
    the weights stand apart from 1 / S by the root of S / (S - 1) more: they sum to 1, and some may be negative. Arms of
    as many trainings share the weights, so that seeds which they have in common stay paired.
    """
    rng = np.random.default_rng([seed, seeds])

    def drawn(draws: int) -> np.ndarray:
        if seeds == 1:
            return np.ones((draws, 1))
        taken = rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds
        return 1 / seeds + np.sqrt(seeds / (seeds - 1)) * (taken - 1 / seeds)

    return drawn


def bootstrap(
    metrics: Mapping[str, Callable[[np.ndarray], np.ndarray]] | Compute,
    groups,
    draws: int = DRAWS,
    seed: int = 0,
    keys: tuple[str, ...] = ("metric",),
    drawn: Compute | None = None,
) -> pd.DataFrame:
    """Point value and percentile 95 % interval of every metric, one row each.

    `metrics`: name -> function of weights (D, n) giving (D,), or one such function giving name -> (D,).
    `keys`: the columns that hold a name; several where names are tuples. `drawn`: what gives the draws, where they vary
    more than the groups (`luck`); default: what gives the point value.
    Columns: metric, value, low, high, n (rows), n_groups, draws (made), n_undefined_draws, reason (empty, or why a
    number is missing or to be read with care).
    """
    compute = metrics if callable(metrics) else lambda weights: {name: f(weights) for name, f in metrics.items()}
    codes, n_groups = group_codes(groups)
    point = compute(np.ones((1, len(codes))))
    if n_groups > 1:
        found = bootstrap_draws(drawn or compute, groups, draws, seed)
    else:
        found = {name: np.empty(0) for name in point}
    rows = []
    for name, value in point.items():
        low, high, n_undefined, reason = percentile_interval(float(value[0]), found[name], n_groups)
        numbers = (float(value[0]), low, high, len(codes), n_groups, len(found[name]), n_undefined, reason)
        rows.append((*(name if len(keys) > 1 else [name]), *numbers))
    columns = [*keys, "value", "low", "high", "n", "n_groups", "draws", "n_undefined_draws", "reason"]
    return pd.DataFrame(rows, columns=columns)


def percentile_interval(value: float, drawn: np.ndarray, n_groups: int) -> tuple[float, float, int, str]:
    """(low, high, undefined draws, reason) of one metric from its draws (draws,); bounds that are not given are NaN."""
    n_undefined = int(np.isnan(drawn).sum())
    missing = (np.nan, np.nan, n_undefined)
    if n_groups == 0:
        return *missing, "no units"
    if np.isnan(value):
        return *missing, "undefined on these units"
    if n_groups == 1:
        return *missing, "no interval: all units are of one group"
    if n_undefined > MAX_UNDEFINED * len(drawn):
        share = f"{n_undefined} of {len(drawn)} draws are undefined"
        return *missing, f"no interval: {share}, more than {MAX_UNDEFINED:.0%}"
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # Repeated rows inflate plug-in distances such as ECE: then the interval can miss the value it is printed beside.
    outside = not low - 1e-12 <= value <= high + 1e-12  # rounding of sums in another order is no bias
    reason = "value outside its interval: the metric is biased under resampling" if outside else ""
    return float(low), float(high), n_undefined, reason
