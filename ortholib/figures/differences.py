"""Differences between two arms with their intervals, beside what the test set could have shown."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from ortholib.errors import OrthoError
from ortholib.figures.intervals import _labelled
from ortholib.figures.style import BLUE, GREY, INK, PALE, SMALL, canvas, need, styled

COLUMNS = ("label", "difference", "low", "high")
WHAT = "differences"
# fill says whether 0 is inside, shape whether there is an interval at all
LOOKS = {
    "interval leaves out 0": {"marker": "o", "color": BLUE, "markerfacecolor": BLUE},
    "interval holds 0": {"marker": "o", "color": BLUE, "markerfacecolor": "white"},
    "no interval": {"marker": "D", "color": GREY, "markerfacecolor": GREY},
}
BAND = "smaller than this test set could show (80 % power)"
SHADE = "#E9E9E9"


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    need(table, COLUMNS, WHAT)
    table = table.reset_index(drop=True)
    table[list(COLUMNS[1:])] = table[list(COLUMNS[1:])].astype(float)
    turned = table[table["low"] > table["high"]]
    if len(turned):
        row = turned.iloc[0]
        raise OrthoError(f"{WHAT}: {row['label']} has low {row['low']} above high {row['high']}; expected low first.")
    if "detectable" in table and (table["detectable"].astype(float) < 0).any():
        row = table.loc[table["detectable"].astype(float).idxmin()]
        raise OrthoError(f"{WHAT}: {row['label']} has detectable {row['detectable']}; expected 0 or more.")
    return table


def _signed(value: float) -> str:
    """ "+0.012", "−0.010" """
    return f"{value:+.3f}".replace("-", "−")


def _written(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "not computed"
    return _signed(value) + ("" if np.isnan(low + high) else f" [{_signed(low)}, {_signed(high)}]")


def _kind(low: float, high: float) -> str:
    if np.isnan(low + high):
        return "no interval"
    return "interval holds 0" if low <= 0 <= high else "interval leaves out 0"


def _column(table: pd.DataFrame, name: str) -> list[str]:
    return [""] * len(table) if name not in table else ["" if pd.isna(v) else str(v) for v in table[name]]


def _detectable(table: pd.DataFrame) -> np.ndarray:
    return table["detectable"].to_numpy(dtype=float) if "detectable" in table else np.full(len(table), np.nan)


def _tick(value: float, _: int) -> str:
    return "0" if abs(value) < 1e-12 else f"{value:+.6g}".replace("-", "−")


@styled
def difference_plot(table: pd.DataFrame, xlabel: str = "difference, 95 % interval") -> Figure:
    """Forest plot of differences between two arms, around a line at 0.

    table   columns `label, difference, low, high` and, where they apply, `n` (written behind the label), `section`
            (rows of one section stand together under its name) and `detectable` (the smallest difference that this test
            set could show with 80 % power, a light band behind the row); NaN in `low` or `high` draws the point alone,
            NaN in `difference` writes "not computed"
    xlabel  what the difference is of, and its interval

    A filled marker has 0 outside its interval, an open one inside or at its end. Raises OrthoError for missing columns,
    no rows, `low` above `high` or a negative `detectable`.
    """
    table = _checked(table)
    sections = _column(table, "section")
    heads = [bool(name) and (row == 0 or sections[row - 1] != name) for row, name in enumerate(sections)]
    # no line ends within "(n = 1,656)"
    labels = [label.replace(" (n = ", " (n\u00a0=\u00a0") for label in _labelled(table, "label")]
    labels = ["\n".join(textwrap.wrap(label, 42)).replace("\u00a0", " ") for label in labels]
    steps = np.array([max(1, 0.72 * (label.count("\n") + 1)) for label in labels])
    levels = np.cumsum(steps + 1.15 * np.array(heads)) - steps / 2
    values = table[["difference", "low", "high"]].to_numpy()
    bands = _detectable(table)
    kinds = [_kind(low, high) for _, low, high in values]
    present = [kind for kind in LOOKS if kind in {k for k, row in zip(kinds, values, strict=True) if row[0] == row[0]}]
    handles = [Line2D([], [], **LOOKS[kind], linewidth=0, markeredgewidth=1.2, label=kind) for kind in present]
    if np.isfinite(bands).any():
        handles.append(Patch(color=SHADE, label=BAND))

    xlabel = textwrap.fill(xlabel, 48)
    columns = max(1, min(len(handles), 2))
    more = 0.2 * -(-len(handles) // columns) + 0.15 * xlabel.count("\n")
    figure = canvas(0.7 + 0.235 * (levels[-1] + 0.5) + more)
    ax = figure.subplots()
    beside = ax.get_yaxis_transform()
    for level, step, band in zip(levels, steps, bands, strict=True):
        if np.isfinite(band):
            place = (-band, level - step / 2 + 0.04)
            ax.add_patch(Rectangle(place, 2 * band, step - 0.08, facecolor=SHADE, linewidth=0, zorder=0))
        ax.axhline(level, color=PALE, linewidth=0.4, zorder=0.5)
    # row by row: a line from top to bottom would run through the names of sections
    ends = np.column_stack([levels - steps / 2, levels + steps / 2, np.full(len(levels), np.nan)])
    ax.plot([0, 0, np.nan] * len(levels), ends.ravel(), color=INK, linewidth=0.8, zorder=1)
    for level, (value, low, high), kind in zip(levels, values, kinds, strict=True):
        grey = {"color": GREY, "style": "italic"} if np.isnan(value) else {}
        ax.text(1.02, level, _written(value, low, high), transform=beside, va="center", size=SMALL, **grey)
        if np.isnan(value):
            continue
        look = LOOKS[kind]
        if kind != "no interval":
            ax.plot([low, high], [level, level], color=look["color"], linewidth=1.3, zorder=2)
        ax.plot([value], [level], **look, linestyle="none", markersize=5.5, markeredgewidth=1.2, zorder=3)
    for level, step, head, name in zip(levels, steps, heads, sections, strict=True):
        if head:
            place = level - step / 2 - 0.55
            ax.text(0.01, place, name, transform=beside, va="center", size=SMALL, weight="bold")
    ax.set_yticks(levels, labels)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(levels[-1] + steps[-1] / 2 + 0.1, -0.1)
    shown = np.concatenate([values[np.isfinite(values[:, 0])].ravel(), bands, -bands, [0.0]])
    shown = shown[np.isfinite(shown)]
    room = max(0.06 * (shown.max() - shown.min()), 0.002)
    ax.set_xlim(shown.min() - room, shown.max() + room)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(_tick)
    ax.set_xlabel(xlabel)
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=1.6)
    return figure


def describe_differences(table: pd.DataFrame) -> str:
    """Alternative text of `difference_plot`: "DINO − random (n = 800) +0.012 [−0.010, +0.034], interval holds 0; …"."""
    table = _checked(table)
    rows = []
    for section, label, (value, low, high), band in zip(
        _column(table, "section"),
        _labelled(table, "label"),
        table[["difference", "low", "high"]].to_numpy(),
        _detectable(table),
        strict=True,
    ):
        said = f"{section}: {label}" if section else label
        said += f" {_written(value, low, high)}"
        if not np.isnan(value):
            said += f", {_kind(low, high)}"
        if np.isfinite(band):
            said += f", the test set could show {band:.3f} (80 % power)"
        rows.append(said)
    return "; ".join(rows) + "."
