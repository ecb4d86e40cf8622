"""Differences between two arms with their intervals, beside what the test set could have shown."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from ortholib.metrics.frames import refuse
from ortholib.report.figures import forest
from ortholib.report.figures.style import BLUE, GREY, INK, canvas, need, styled

VALUES = ["difference", "low", "high"]
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
    """The table with the differences as numbers, `detectable` and the kind of each interval."""
    need(table, ("label", *VALUES), WHAT)
    table = table.assign(detectable=table.get("detectable", np.nan)).reset_index(drop=True)
    numbers = [*VALUES, "detectable"]
    table[numbers] = table[numbers].astype(float)
    turned = table["low"] > table["high"]
    refuse(table, turned, f"{WHAT}: low above high", "expected low first", ["label", "low", "high"])
    refuse(table, table["detectable"] < 0, f"{WHAT}: detectable below 0", "expected 0 or more", ["label", "detectable"])
    out, inside, none = LOOKS
    kind = np.where(table["low"].le(0) & table["high"].ge(0), inside, out)
    return table.assign(kind=np.where(table[["low", "high"]].isna().any(axis=1), none, kind))


def _words(table: pd.DataFrame) -> list[str]:
    return [forest.written(*row, "+.3f", "not computed") for row in table[VALUES].to_numpy()]


def _tick(value: float, _: int) -> str:
    return "0" if abs(value) < 1e-12 else f"{value:+.6g}".replace("-", "−")


@styled
def difference_plot(table: pd.DataFrame) -> Figure:
    """Forest plot of differences between two arms, around a line at 0.

    table  columns `label, difference, low, high` and, where they apply, `n` and `section` (as of `forest`) and
           `detectable` (the smallest difference that this test set could show with 80 % power, a light band behind the
           row); NaN in `low` or `high` draws the point alone, NaN in `difference` writes "not computed"

    A filled marker has 0 outside its interval, an open one inside or at its end. Raises OrthoError for missing columns,
    no rows, `low` above `high` or a negative `detectable`.
    """
    table = _checked(table)
    rows = forest.arrange(table, 42, 0.72)
    levels, steps = rows.levels, rows.steps
    values, bands = table[VALUES].to_numpy(), table["detectable"].to_numpy()
    present = [kind for kind in LOOKS if kind in set(table.loc[table["difference"].notna(), "kind"])]
    handles = [Line2D([], [], **LOOKS[kind], linewidth=0, markeredgewidth=1.2, label=kind) for kind in present]
    if np.isfinite(bands).any():
        handles.append(Patch(color=SHADE, label=BAND))

    columns = max(1, min(len(handles), 2))
    figure = canvas(0.7 + 0.235 * (levels[-1] + 0.5) + 0.2 * -(-len(handles) // columns))
    ax = figure.subplots()
    for level, step, band in zip(levels, steps, bands, strict=True):
        if np.isfinite(band):
            place = (-band, level - step / 2 + 0.04)
            ax.add_patch(Rectangle(place, 2 * band, step - 0.08, facecolor=SHADE, linewidth=0, zorder=0))
    # row by row: a line from top to bottom would run through the names of sections
    ends = np.column_stack([levels - steps / 2, levels + steps / 2, np.full(len(levels), np.nan)])
    ax.plot([0, 0, np.nan] * len(levels), ends.ravel(), color=INK, linewidth=0.8, zorder=1)
    forest.draw(ax, rows, values, table["kind"].map(LOOKS), _words(table))
    shown = np.concatenate([values[np.isfinite(values[:, 0])].ravel(), bands, -bands, [0.0]])
    shown = shown[np.isfinite(shown)]
    room = max(0.06 * (shown.max() - shown.min()), 0.002)
    ax.set_xlim(shown.min() - room, shown.max() + room)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(_tick)
    ax.set_xlabel("difference, 95 % interval")
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=1.6)
    return figure


def describe_differences(table: pd.DataFrame) -> str:
    """Alternative text of `difference_plot`: "DINO − random (n = 800) +0.012 [−0.010, +0.034], interval holds 0; …"."""
    table = _checked(table)
    table = table.assign(label=forest.labelled(table), section=forest.texts(table, "section"), words=_words(table))
    rows = []
    for row in table.itertuples():
        said = ": ".join(filter(None, (row.section, f"{row.label} {row.words}")))
        said += "" if np.isnan(row.difference) else f", {row.kind}"
        could = f", the test set could show {row.detectable:.3f} (80 % power)"
        rows.append(said + (could if np.isfinite(row.detectable) else ""))
    return "; ".join(rows) + "."
