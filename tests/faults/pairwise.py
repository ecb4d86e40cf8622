"""Rows of settings in which every pair of values that may stand together does (all-pairs testing, greedy)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

TRIES = 30  # random completions before a pair counts as one that cannot be


def rows(factors: Mapping[str, Sequence], allowed: Callable[[dict], bool], seed: int) -> Iterator[dict]:
    """Rows {factor: value} that together hold every pair of values that some allowed row holds.

    allowed: of a row that may lack factors still; a row is only added to, so it says no as soon as it can.
    """
    rng = np.random.default_rng(seed)
    open_pairs = dict.fromkeys(
        ((a, x), (b, y))
        for a, b in combinations(factors, 2)
        for x in factors[a]
        for y in factors[b]
        if allowed({a: x, b: y})
    )
    while open_pairs:
        first = next(iter(open_pairs))
        for _ in range(TRIES):
            if row := _completed(dict(first), factors, allowed, open_pairs, rng):
                yield row
                break
        else:
            row = dict(first)  # no third factor goes with the two
        for pair in combinations([(name, row[name]) for name in factors if name in row], 2):
            open_pairs.pop(pair, None)


def _completed(row: dict, factors: Mapping, allowed: Callable, open_pairs: Mapping, rng) -> dict | None:
    """The row with the other factors, in a random order, each at the value that closes the most open pairs."""
    for name in rng.permutation([name for name in factors if name not in row]):
        values = [value for value in factors[name] if allowed(row | {name: value})]
        if not values:
            return None

        def closed(value, name=name):
            pairs = (((other, row[other]), (name, value)) for other in row)
            order = list(factors)
            return sum(tuple(sorted(pair, key=lambda item: order.index(item[0]))) in open_pairs for pair in pairs)

        gains = np.array([closed(value) for value in values]) + rng.random(len(values)) / 2
        row[str(name)] = values[int(gains.argmax())]
    return row
