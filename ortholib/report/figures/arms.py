"""Arms against each other: ranks with the critical difference, and what each learns from few labels."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ortholib.errors import OrthoError
from ortholib.report.figures import forest
from ortholib.report.figures.labels import at_most, name_ends, points
from ortholib.report.figures.style import BLUE, GREY, INK, SMALL, VERMILLION, canvas, need, styled

EFFICIENCY = ("arm", "fraction", "value", "low", "high", "n_train")


def _ranked(names: Sequence[str], mean_ranks: np.ndarray) -> tuple[list[str], np.ndarray]:
    names, ranks = [str(name) for name in names], np.asarray(mean_ranks, dtype=float)
    k = len(names)
    if k < 2 or ranks.shape != (k,) or not ((ranks >= 1) & (ranks <= k)).all():
        raise OrthoError(f"critical difference: {k} names, mean ranks {ranks}; expected one each, 1 to {k}, 2 or more.")
    order = np.argsort(ranks, kind="stable")
    return [names[i] for i in order], ranks[order]


def _alike(ranks: np.ndarray, critical: float) -> list[tuple[int, int]]:
    """First and last of each longest run of arms (mean ranks rising) that are less than `critical` apart."""
    runs = []
    for first in range(len(ranks)):
        last = int(np.flatnonzero(ranks - ranks[first] < critical).max()) if critical > 0 else first
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs


@styled
def critical_difference(
    names: Sequence[str], mean_ranks: np.ndarray, critical: float, n_blocks: int, block: str = "body parts"
) -> Figure:
    """Mean ranks of the arms on a line, best on the left; bars join arms that Nemenyi's test cannot tell apart.

    names, mean_ranks  k arms and their mean ranks over the blocks, 1 = best
    critical           Nemenyi's critical difference of two mean ranks; NaN where it was not computed: no bars
    n_blocks, block    how many blocks ranked the arms, and what they are

    Demšar, 2006, figure 1. Raises OrthoError for lengths that differ, fewer than two arms and ranks outside 1 to k.
    """
    names, ranks = _ranked(names, mean_ranks)
    names = [textwrap.fill(name, 24) for name in names]
    step = max(0.3, 0.06 + 0.125 * max(name.count("\n") + 1 for name in names))
    k, half = len(names), -(-len(names) // 2)
    runs = _alike(ranks, critical)
    known = np.isfinite(critical)
    first = 0.3 + 0.2 * len(runs)  # the highest label stands below all bars
    depth = first + step * (half - 1)
    top = 0.75 if known else 0.45
    figure = canvas(top + depth + step / 2 + 0.1)
    ax = figure.subplots()
    # inches on both axes but for the ranks, which take 2.8 inches in the middle
    middle, side = 2.8, 2.05
    ax.set(xlim=(-side, middle + side), ylim=(-depth - step / 2, top))
    ax.set_axis_off()

    def at(rank: float) -> float:
        return middle * (rank - 1) / (k - 1)

    line = {"color": INK, "linewidth": 0.8, "solid_capstyle": "butt"}
    ax.plot([0, middle], [0, 0], **line)
    for rank in range(1, k + 1):
        ax.plot([at(rank)] * 2, [0, 0.07], **line)
        ax.text(at(rank), 0.1, str(rank), ha="center", va="bottom", size=SMALL)
    ax.text(-0.12, 0, "best", ha="right", va="center", size=SMALL, color=GREY)
    ax.text(middle + 0.12, 0, "worst", ha="left", va="center", size=SMALL, color=GREY)
    if known:
        width = at(1 + critical)
        ax.plot([0, width], [0.5, 0.5], color=VERMILLION, linewidth=1.4)
        for end in (0, width):
            ax.plot([end, end], [0.45, 0.55], color=VERMILLION, linewidth=1.4)
    said = f"critical difference {critical:.2f}" if known else "no critical difference: too few blocks"
    text = f"{said} ({n_blocks:,} {block}, {k} arms)"
    ax.text(0, top - 0.02, text, size=SMALL, va="top", color=VERMILLION if known else GREY)
    for level, (start, end) in enumerate(runs):
        y = -0.2 - 0.2 * level
        ax.plot([at(ranks[start]) - 0.05, at(ranks[end]) + 0.05], [y, y], color=BLUE, linewidth=3.5)
    for place, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        left = place < half
        y = -first - step * (place if left else k - 1 - place)
        edge = -0.1 if left else middle + 0.1
        ax.plot([at(rank), at(rank), edge], [0, y, y], color=GREY, linewidth=0.7)
        ax.plot([at(rank)], [0], "o", color=INK, markersize=3.5)
        label = {"ha": "right" if left else "left", "va": "center", "size": SMALL}
        ax.text(edge + (-0.06 if left else 0.06), y, f"{rank:.2f}", **label)
        ax.text(edge + (-0.45 if left else 0.45), y, name, **label, linespacing=1.0)
    return figure


def describe_ranks(
    names: Sequence[str], mean_ranks: np.ndarray, critical: float, n_blocks: int, block: str = "body parts"
) -> str:
    """Alternative text of `critical_difference`: the mean ranks, best first, and the groups not told apart."""
    names, ranks = _ranked(names, mean_ranks)
    listed = ", ".join(f"{name} {rank:.2f}" for name, rank in zip(names, ranks, strict=True))
    groups = [" to ".join((names[first], names[last])) for first, last in _alike(ranks, critical)]
    told = "no critical difference: too few blocks"
    if np.isfinite(critical):
        apart = f"not told apart: {'; '.join(groups)}" if groups else "all told apart"
        told = f"critical difference {critical:.2f}; {apart}"
    return f"Mean ranks over {n_blocks:,} {block}, 1 is best: {listed}; {told}."


@styled
def label_efficiency(table: pd.DataFrame, metric: str) -> Figure:
    """What each arm reaches with a part of the training labels, with intervals.

    table   columns `arm, fraction` (0 to 1 of the labels), `value, low, high, n_train` (images with a label at that
            fraction); NaN in `low` or `high` draws the point alone, NaN in `value` leaves it out, and
            an arm without any is named as not run
    metric  name of the metric with what it was measured on, "ROC AUC (test, n = 800 images)"

    Raises OrthoError for missing columns, no rows, fractions outside 0 to 1 and more than seven arms.
    """
    need(table, EFFICIENCY, "label efficiency")
    if not table["fraction"].between(0, 1, inclusive="right").all():
        raise OrthoError(
            f"label efficiency: fractions {sorted(table['fraction'].unique())}; expected above 0, up to 1."
        )
    at_most(table, "label efficiency")
    fractions = np.sort(table["fraction"].unique())
    figure = canvas(3.6)
    ax = figure.subplots()
    ends = points(ax, table, "fraction", "value", 1.035)
    ax.set_xscale("log")
    counts = table.groupby("fraction")["n_train"].max()
    ax.set_xticks(fractions, [f"{100 * f:g} %\nn = {int(counts[f]):,}" for f in fractions])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlim(0.8 * fractions[0], 1.25 * fractions[-1])
    ax.set_xlabel("training labels used (scale: logarithm)")
    ax.set_title(f"{metric}, 95 % interval")
    absent = [str(arm) for end, arm, _ in ends if np.isnan(end)]
    if absent:
        said = textwrap.fill(f"not run: {', '.join(absent)}", 80)
        ax.text(0.99, 0.03, said, transform=ax.transAxes, ha="right", size=SMALL, color=GREY, style="italic")
    if len(absent) == len(ends):
        ax.set_ylim(0, 1)
    name_ends(ax, [end for end in ends if not np.isnan(end[0])], 2.6)
    return figure


def describe_efficiency(table: pd.DataFrame, metric: str) -> str:
    """Alternative text of `label_efficiency`: every arm's value at each fraction."""
    need(table, EFFICIENCY, "label efficiency")
    said = []
    for arm, rows in table.groupby("arm", sort=False):
        each = [
            f"{100 * row.fraction:g} % (n = {int(row.n_train):,}) {forest.written(row.value, row.low, row.high)}"
            for row in rows.sort_values("fraction").itertuples()
        ]
        said.append(f"{arm}: {', '.join(each)}")
    return f"{metric} by share of the training labels; " + "; ".join(said) + "."
