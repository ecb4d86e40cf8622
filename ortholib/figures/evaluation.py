"""How a model learned and how it does: learning curves, confusion matrix, reliability diagram."""

import textwrap

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ortholib.errors import OrthoError
from ortholib.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    PALE,
    SKY,
    SMALL,
    VERMILLION,
    WIDTH,
    canvas,
    need,
    percent,
    styled,
)

# ends at a sky blue on which dark text keeps a contrast of 6.9 : 1
SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", SKY])


def _range(values: pd.Series, form: str) -> str:
    """Lowest and highest, 17–19, or one number where both are written alike."""
    low, high = f"{values.min():{form}}", f"{values.max():{form}}"
    return low if low == high else f"{low}–{high}"


@styled
def learning_curve(history: pd.DataFrame, metric: str) -> Figure:
    """Loss and validation metric by epoch; the epoch that validation chose is marked.

    history  columns `epoch, train_loss, val_loss, val_metric` and, where they apply, `learning_rate` (a third panel)
             and `seed` (a thin line each); a higher `val_metric` is better, the first highest epoch is the chosen one
    metric   name of the metric with what it was measured on, "quadratic κ (validation, n = 826)"

    Raises OrthoError for missing columns or no rows.
    """
    need(history, ("epoch", "train_loss", "val_loss", "val_metric"), "learning curve")
    history = history if "seed" in history else history.assign(seed=0)
    seeds = history["seed"].nunique()
    rates = "learning_rate" in history
    figure = canvas(2.5)
    axes = figure.subplots(1, 3 if rates else 2, width_ratios=[1, 1, 0.7] if rates else [1, 1])
    thin = {"linewidth": 1.4 if seeds == 1 else 0.8, "alpha": 1 if seeds == 1 else 0.75}
    marker = "o" if history["epoch"].nunique() == 1 else None

    def lines(ax, column: str, color: str, **more) -> None:
        for _, rows in history.sort_values("epoch").groupby("seed"):
            ax.plot(rows["epoch"], rows[column], color=color, marker=marker, **thin, **more)
        ax.set_xlabel("epoch")
        ax.set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))

    lines(axes[0], "train_loss", VERMILLION, linestyle="--")
    lines(axes[0], "val_loss", BLUE)
    lines(axes[1], "val_metric", BLUE)
    known = history.dropna(subset=["val_metric"])
    best = known.loc[known.groupby("seed")["val_metric"].idxmax()]
    axes[1].plot(best["epoch"], best["val_metric"], "o", color=GREEN, markeredgecolor="white", zorder=3)
    said = "no value on validation"
    if len(best):
        said = f"● best epoch {_range(best['epoch'], '.0f')}: {_range(best['val_metric'], '.3f')}"
    if seeds > 1:
        said += f", {seeds} seeds"

    # names and values stand above the panels, where no curve can run through them
    axes[0].set_title("loss", pad=18)
    axes[1].set_title(metric, pad=18)
    above = {"xycoords": "axes fraction", "textcoords": "offset points", "size": SMALL}
    training = axes[0].annotate("– – training", (0, 1), (0, 6), color=VERMILLION, **above)
    axes[0].annotate("— validation", (1, 0), (8, 0), color=BLUE, va="bottom", **{**above, "xycoords": training})
    axes[1].annotate(said, (0, 1), (0, 6), color=GREEN, **above)
    if rates:
        lines(axes[2], "learning_rate", GREY)
        axes[2].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
        axes[2].set_title("learning rate", pad=18)
    return figure


def _row_percent(n: int, whole: int) -> str:
    return "<1 %" if 0 < n < 0.005 * whole else percent(n, whole, 0)


@styled
def confusion(matrix: np.ndarray, names: list[str], xlabel: str = "predicted", ylabel: str = "true") -> Figure:
    """Confusion matrix: count and row % in each cell, shaded by row %, totals at the sides.

    matrix  (k, k) whole numbers, rows = true class, columns = predicted class
    names   k class names

    Raises OrthoError where the shapes do not agree.
    """
    matrix = np.asarray(matrix, dtype=int)
    if matrix.ndim != 2 or matrix.shape != (len(names), len(names)):
        raise OrthoError(f"confusion: matrix {matrix.shape} with {len(names)} names; expected ({len(names)}, same).")
    totals, total = matrix.sum(axis=1), int(matrix.sum())
    shares = matrix / np.maximum(totals, 1)[:, None]
    cells = [[f"{n:,}\n{_row_percent(n, whole)}" for n in row] for row, whole in zip(matrix, totals, strict=True)]
    size = len(names)
    cell = min(0.85, (WIDTH - 2.1) / size)
    letters = SMALL if cell > 0.5 else 6.5
    below = ["\n".join(textwrap.wrap(str(name), max(6, int(72 * cell / (0.58 * letters))))) for name in names]
    lines = max(name.count("\n") + 1 for name in below)
    figure = canvas(0.66 * cell * size + 0.75 + 0.15 * lines, max(cell * size + 2.1, 3.6))
    ax = figure.subplots()
    text = {"size": letters, "linespacing": 1.15, "color": INK}
    look = {"cmap": SHADES, "vmin": 0, "vmax": 1, "cbar": False, "linewidths": 0.8, "linecolor": PALE}
    sns.heatmap(shares, annot=np.array(cells), fmt="", annot_kws=text, ax=ax, **look)
    columns = [f"{name}\nn = {n:,}" for name, n in zip(below, matrix.sum(axis=0), strict=True)]
    ax.set_xticks(np.arange(size) + 0.5, columns, size=letters)
    ax.set_yticks(np.arange(size) + 0.5, [str(name) for name in names], rotation=0)
    ax.tick_params(length=0)
    for row, n in enumerate(totals):
        ax.text(size + 0.12, row + 0.5, f"n = {n:,}", va="center", size=SMALL)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.set_title(f"n = {total:,}, {percent(np.trace(matrix), total)} on the diagonal")
    return figure


def _wilson(k: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of k successes in n (n > 0)."""
    z = 1.959964
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * np.sqrt(k * (n - k) / n + z * z / 4)
    return centre - half, centre + half


@styled
def reliability(probability: np.ndarray, correct: np.ndarray, bins: int = 15, ece: str = "") -> Figure:
    """Reliability diagram (observed frequency against predicted probability) above the histogram of the predictions.

    probability  (n,) in [0, 1]: of the predicted class, or of the finding
    correct      (n,) 0/1: whether that class, or the finding, was there
    bins         number of bins of equal width, right edge inside (Guo et al. 2017, section 2)
    ece          title, "ECE 0.041 (15 bins)": computed where the tables are

    Vertical lines are Wilson's 95 % intervals, taking cases as independent; empty bins have no point.
    Raises OrthoError for unequal lengths, no case, or values outside [0, 1].
    """
    probability, correct = np.asarray(probability, float), np.asarray(correct, float)
    if probability.shape != correct.shape or probability.ndim != 1 or not len(probability):
        shapes = f"probability {probability.shape}, correct {correct.shape}"
        raise OrthoError(f"reliability: {shapes}; expected the same (n,) with n > 0.")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise OrthoError("reliability: a probability is outside [0, 1] or not a number.")
    index = np.clip(np.ceil(probability * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    filled = count > 0
    hits = np.bincount(index, correct, minlength=bins)[filled]
    mean = np.bincount(index, probability, minlength=bins)[filled] / count[filled]
    low, high = _wilson(hits, count[filled])

    figure = canvas(4.6, 4.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    upper.vlines(mean, low, high, color=BLUE, linewidth=1.0)
    upper.plot(mean, hits / count[filled], "o-", color=BLUE, linewidth=0.8, clip_on=False)
    upper.set(xlim=(0, 1), ylim=(0, 1.0), ylabel="observed frequency")
    upper.set_title(ece)
    upper.set_title("dashed: perfect calibration", loc="right", size=SMALL, color=GREY)
    edges = np.arange(bins) / bins
    lower.bar(edges, count, width=1 / bins, align="edge", color=PALE, edgecolor=GREY, linewidth=0.5)
    lower.set(xlabel="predicted probability", ylabel=f"cases\n(n = {len(probability):,})")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.yaxis.set_major_formatter("{x:,.0f}")
    return figure
