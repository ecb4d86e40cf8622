"""Does an interval hold the truth as often as it says: intervals of simulated test sets, by method."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ortholib.errors import OrthoError
from ortholib.report.figures.style import BLUE, INK, SMALL, VERMILLION, canvas, need, styled

COVERAGE = ("set", "method", "low", "high")
SHOWN = 100  # test sets


def held(table: pd.DataFrame, truth: float) -> pd.DataFrame:
    """By method, in its order: held (intervals that hold `truth`) and sets (intervals made)."""
    inside = (table["low"] <= truth) & (table["high"] >= truth)
    counts = inside.groupby(table["method"], sort=False)
    return pd.DataFrame({"held": counts.sum(), "sets": counts.size()})


@styled
def coverage(table: pd.DataFrame, truth: float) -> Figure:
    """Intervals of ROC AUC of the first 100 simulated test sets beside the known truth, a panel for each method.

    table  columns `set, method, low, high`, of all sets: the counts in the titles are of all
    truth  what every interval should hold

    Intervals that miss are vermillion, thick and end in points. Raises OrthoError for missing columns, no rows, or more
    than three methods.
    """
    need(table, COVERAGE, "coverage")
    counts = held(table, truth)
    if len(counts) > 3:
        raise OrthoError(f"coverage: {len(counts)} methods; more than 3 panels cannot be read, pick some.")
    figure = canvas(3.1)
    axes = np.atleast_1d(figure.subplots(1, len(counts), sharey=True))
    for ax, (method, count) in zip(axes, counts.iterrows(), strict=True):
        rows = table[table["method"] == method].head(SHOWN)
        miss = ((rows["low"] > truth) | (rows["high"] < truth)).to_numpy()
        place, low, high = np.arange(1, len(rows) + 1), rows["low"].to_numpy(), rows["high"].to_numpy()
        ax.vlines(place[~miss], low[~miss], high[~miss], color=BLUE, linewidth=0.9, alpha=0.6)
        ax.vlines(place[miss], low[miss], high[miss], color=VERMILLION, linewidth=2.0)
        for end in (low, high):
            ax.plot(place[miss], end[miss], "o", color=VERMILLION, markersize=3.2)
        ax.axhline(truth, color=INK, linewidth=0.9)
        ax.set_title(f"{method}: {count['held']:,} of {count['sets']:,} hold the truth", size=SMALL + 0.5)
        ax.set_xlabel(f"simulated test set (the first {len(rows):,} of {count['sets']:,})")
    axes[0].set_ylabel(f"ROC AUC, 95 % interval\n(line: the truth, {truth:.3f})")
    return figure


def describe_coverage(table: pd.DataFrame, truth: float) -> str:
    """Alternative text of `coverage`: how many intervals of each method hold the truth."""
    need(table, COVERAGE, "coverage")
    said = [
        f"{method}: {row['held']:,} of {row['sets']:,} ({row['held'] / row['sets']:.1%})"
        for method, row in held(table, truth).iterrows()
    ]
    return f"95 % intervals of ROC AUC that hold the truth, {truth:.3f}, over simulated test sets; {'; '.join(said)}."
