"""Rows of a forest plot from top to bottom: the label at the left, a point with its interval, its words at the right.

A table gives a row each: `label`, and where they apply `n` (written behind the label) and `section` (rows of one
section stand together under its name).
"""

import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ortholib.report.figures.style import GREY, PALE, SMALL


class Rows(NamedTuple):
    """Where rows stand on a downward axis of lines: their labels, heights and middles, and the section each begins."""

    labels: list[str]
    steps: np.ndarray
    levels: np.ndarray
    heads: list[str]  # "" where no section begins


def texts(table: pd.DataFrame, column: str) -> list[str]:
    """A column as text, "" where it is missing or not there."""
    return table[column].fillna("").astype(str).tolist() if column in table else [""] * len(table)


def labelled(table: pd.DataFrame) -> list[str]:
    """Labels of rows, with "(n = 1,656)" where the table has an `n`."""
    numbers = table["n"] if "n" in table else [np.nan] * len(table)
    labels = table["label"]
    return [str(label) if pd.isna(n) else f"{label} (n = {int(n):,})" for label, n in zip(labels, numbers, strict=True)]


def written(value: float, low: float, high: float, form: str = ".3f", missing: str = "not run") -> str:
    """ "0.913 [0.884, 0.938]", the value alone without an interval, or why there is none; with a real minus."""
    if np.isnan(value):
        return missing
    interval = "" if np.isnan(low + high) else f" [{low:{form}}, {high:{form}}]"
    return f"{value:{form}}{interval}".replace("-", "−")


def arrange(table: pd.DataFrame, letters: int, line: float, least: Sequence[int] | None = None) -> Rows:
    """Place the rows of a table.

    letters  of a label in one line
    line     height of a line of text; a row is at least 1 high
    least    lines that each row needs for what stands at its right
    """
    sections = texts(table, "section")
    heads = ["" if row and sections[row - 1] == name else name for row, name in enumerate(sections)]
    # no line ends within "(n = 1,656)"
    labels = [label.replace(" (n = ", " (n\u00a0=\u00a0") for label in labelled(table)]
    labels = ["\n".join(textwrap.wrap(label, letters)).replace("\u00a0", " ") for label in labels]
    lines = np.maximum([label.count("\n") + 1 for label in labels], 1 if least is None else least)
    steps = np.maximum(1, line * lines)
    return Rows(labels, steps, np.cumsum(steps + 1.15 * np.array([bool(name) for name in heads])) - steps / 2, heads)


def draw(ax: Axes, rows: Rows, values: np.ndarray, looks: Iterable[dict], words: Iterable[str]) -> None:
    """Draw values (n, 3: value, low, high), each in its look; NaN leaves out the interval, or all but the words."""
    beside = ax.get_yaxis_transform()
    for level, (value, low, high), look, said in zip(rows.levels, values, looks, words, strict=True):
        ax.axhline(level, color=PALE, linewidth=0.4, zorder=0.5)
        grey = {"color": GREY, "style": "italic"} if np.isnan(value) else {}
        ax.text(1.02, level, said, transform=beside, va="center", size=SMALL, linespacing=1.15, **grey)
        if not np.isnan(value + low + high):
            line = {"color": look["color"], "linestyle": look.get("linestyle", "-"), "linewidth": 1.3}
            ax.plot([low, high], [level, level], **line, zorder=2)
        if not np.isnan(value):
            ax.plot([value], [level], **look | {"linestyle": "none"}, markersize=5.5, markeredgewidth=1.2, zorder=3)
    for level, step, name in zip(rows.levels, rows.steps, rows.heads, strict=True):
        if name:
            ax.text(0.01, level - step / 2 - 0.55, name, transform=beside, va="center", size=SMALL, weight="bold")
    ax.set_yticks(rows.levels, rows.labels)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(rows.levels[-1] + rows.steps[-1] / 2 + 0.1, -0.1)
