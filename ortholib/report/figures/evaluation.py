"""How a model learned and how it does: learning curves and confusion matrix."""

import textwrap

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ortholib.errors import OrthoError
from ortholib.report.figures import style
from ortholib.report.figures.style import BLUE, GREEN, SMALL, canvas, need, percent, styled

# ends at a sky blue on which dark text keeps a contrast of 6.9 : 1
SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", style.SKY])


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

    lines(axes[0], "train_loss", style.VERMILLION, linestyle="--")
    lines(axes[0], "val_loss", BLUE)
    lines(axes[1], "val_metric", BLUE)
    known = history.dropna(subset=["val_metric"]).reset_index(drop=True)  # histories put together repeat their index
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
    training = axes[0].annotate("– – training", (0, 1), (0, 6), color=style.VERMILLION, **above)
    axes[0].annotate("— validation", (1, 0), (8, 0), color=BLUE, va="bottom", **{**above, "xycoords": training})
    axes[1].annotate(said, (0, 1), (0, 6), color=GREEN, **above)
    if rates:
        lines(axes[2], "learning_rate", style.GREY)
        axes[2].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
        axes[2].set_title("learning rate", pad=18)
    return figure


def _row_percent(n: int, whole: int) -> str:
    return "<1 %" if 0 < n < 0.005 * whole else percent(n, whole, 0)


@styled
def confusion(matrix: np.ndarray, names: list[str]) -> Figure:
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
    cell = min(0.85, (style.WIDTH - 2.1) / size)
    letters = SMALL if cell > 0.5 else 6.5
    below = ["\n".join(textwrap.wrap(str(name), max(6, int(72 * cell / (0.58 * letters))))) for name in names]
    lines = max(name.count("\n") + 1 for name in below)
    figure = canvas(0.66 * cell * size + 0.75 + 0.15 * lines, max(cell * size + 2.1, 3.6))
    ax = figure.subplots()
    text = {"size": letters, "linespacing": 1.15, "color": style.INK}
    look = {"cmap": SHADES, "vmin": 0, "vmax": 1, "cbar": False, "linewidths": 0.8, "linecolor": style.PALE}
    sns.heatmap(shares, annot=np.array(cells), fmt="", annot_kws=text, ax=ax, **look)
    columns = [f"{name}\nn = {n:,}" for name, n in zip(below, matrix.sum(axis=0), strict=True)]
    ax.set_xticks(np.arange(size) + 0.5, columns, size=letters)
    ax.set_yticks(np.arange(size) + 0.5, [str(name) for name in names], rotation=0)
    ax.tick_params(length=0)
    for row, n in enumerate(totals):
        ax.text(size + 0.12, row + 0.5, f"n = {n:,}", va="center", size=SMALL)
    ax.set(xlabel="predicted", ylabel="true")
    ax.set_title(f"n = {total:,}, {percent(np.trace(matrix), total)} on the diagonal")
    return figure
