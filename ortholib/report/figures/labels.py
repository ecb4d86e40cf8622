"""Names written at the lines themselves, so that no reader has to carry colours to a legend and back."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from ortholib.errors import OrthoError
from ortholib.report.figures.style import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, SMALL, VERMILLION

# pairs that are met together differ in colour, dash and marker: one of them is enough to tell two arms apart
LINES = (
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": VERMILLION, "linestyle": "--", "marker": "D"},
    {"color": GREEN, "linestyle": "-.", "marker": "s"},
    {"color": PURPLE, "linestyle": (0, (5, 1)), "marker": "^"},
    {"color": INK, "linestyle": ":", "marker": "v"},
    {"color": ORANGE, "linestyle": (0, (3, 1, 1, 1, 1, 1)), "marker": "P"},
    {"color": SKY, "linestyle": (0, (1, 1)), "marker": "X"},
)


def apart(places: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Places (n,) moved as little as needed to be `gap` from each other, inside low to high where they fit.

    The order stays. Least squares, hence isotonic regression: less the gaps below it, no place is under the one before.
    """
    n = len(places)
    if not n:
        return np.empty(0)
    order = np.argsort(places, kind="stable")
    steps = min(gap, (high - low) / max(n - 1, 1)) * np.arange(n)
    free = isotonic_regression(np.asarray(places, dtype=float)[order] - steps).x
    placed = np.empty(n)
    placed[order] = np.clip(free, low, high - steps[-1]) + steps
    return placed


def name_ends(ax: Axes, ends: Iterable[tuple[float, str, str]], height: float) -> None:
    """Write names right of the axes, each at the height its line ends, none over another.

    ends    (where the line ends in data units of y, its name, its colour) each
    height  of the axes in inches, about: says how much of y a line of text takes
    """
    ends = list(ends)
    low, high = ax.transScale.transform([(1, y) for y in ax.get_ylim()])[:, 1]
    at = np.array([ax.transScale.transform((1, end))[1] for end, _, _ in ends])
    lines = max((name.count("\n") + 1 for _, name, _ in ends), default=1)
    gap = 1.25 * lines * SMALL / 72 / height
    for place, (_, name, color) in zip(apart((at - low) / (high - low), gap, 0, 1), ends, strict=True):
        ax.text(1.02, place, name, transform=ax.transAxes, color=color, size=SMALL, va="center", linespacing=1.05)


def at_most(table: pd.DataFrame, what: str) -> None:
    """Raise OrthoError where a table holds more arms than there are `LINES`."""
    arms = table["arm"].nunique()
    if arms > len(LINES):
        raise OrthoError(f"{what}: {arms} arms; more than {len(LINES)} cannot be told apart, pick some.")


def points(ax: Axes, table: pd.DataFrame, x: str, y: str, beside: float) -> list[tuple[float, str, str]]:
    """Draw each `arm` of a table as a line over its points with their intervals, and return its end as `name_ends`
    takes it, NaN where it has no value. Points of two arms stand apart by the factor `beside` squared."""
    arms, ends = table["arm"].unique(), []
    for number, (arm, look) in enumerate(zip(arms, LINES, strict=False)):
        rows = table[table["arm"] == arm].sort_values(x).dropna(subset=y)
        at = rows[x] * beside ** (2 * number - len(arms) + 1)
        ax.vlines(at, rows["low"], rows["high"], color=look["color"], linewidth=1.0)
        ax.plot(at, rows[y], **look, linewidth=1.1)
        ends.append((float(rows[y].iloc[-1]) if len(rows) else np.nan, arm, look["color"]))
    return ends
