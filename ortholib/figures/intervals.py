"""Values with their intervals: the forest plot of the first page, and recall by class."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ortholib.errors import OrthoError
from ortholib.figures.style import BLUE, GREY, PALE, SMALL, VERMILLION, canvas, need, styled

# shape and fill say the kind as well as the colour does
KINDS = {
    "ours": {"marker": "o", "color": BLUE, "markerfacecolor": BLUE, "linestyle": "-"},
    "published": {"marker": "D", "color": VERMILLION, "markerfacecolor": "white", "linestyle": "--"},
    "anchor": {"marker": "s", "color": GREY, "markerfacecolor": GREY, "linestyle": "-"},
}


def _written(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "not run"
    interval = "" if np.isnan(low) or np.isnan(high) else f" [{low:.3f}, {high:.3f}]"
    return f"{value:.3f}{interval}"


def _labelled(table: pd.DataFrame, name: str) -> list[str]:
    """Row labels, with "(n = 1,656)" where the table has an `n`."""
    numbers = table["n"] if "n" in table else [np.nan] * len(table)
    return [
        str(label) if pd.isna(n) else f"{label} (n = {int(n):,})" for label, n in zip(table[name], numbers, strict=True)
    ]


def _forest(table: pd.DataFrame, labels: list[str], xlabel: str, limits: tuple[float, float] | None) -> Figure:
    """Rows from top to bottom with the values written at the right; `table`: `value, low, high, kind[, section]`."""
    sections = table["section"].astype(str).tolist() if "section" in table else [""] * len(table)
    heads = [bool(name) and (row == 0 or sections[row - 1] != name) for row, name in enumerate(sections)]
    # no line ends within "(n = 1,656)"
    labels = [label.replace(" (n = ", " (n\u00a0=\u00a0") for label in labels]
    labels = ["\n".join(textwrap.wrap(label, 48)).replace("\u00a0", " ") for label in labels]
    verdicts = table["verdict"].fillna("").astype(str).tolist() if "verdict" in table else [""] * len(table)
    lines = [max(label.count("\n"), bool(verdict)) + 1 for label, verdict in zip(labels, verdicts, strict=True)]
    steps = np.array([max(1, (0.66 if not any(verdicts) else 0.74) * count) for count in lines])
    levels = np.cumsum(steps + 1.15 * np.array(heads)) - steps / 2
    present = [kind for kind in KINDS if kind in set(table["kind"])]

    figure = canvas(0.6 + 0.235 * (levels[-1] + 0.5) + (0.25 if len(present) > 1 else 0))
    ax = figure.subplots()
    beside = ax.get_yaxis_transform()
    values = table[["value", "low", "high"]].astype(float).to_numpy()
    for level, (value, low, high), kind, verdict in zip(levels, values, table["kind"], verdicts, strict=True):
        look = KINDS[kind]
        ax.axhline(level, color=PALE, linewidth=0.4, zorder=0)
        if not np.isnan(low + high + value):
            ax.plot([low, high], [level, level], color=look["color"], linestyle=look["linestyle"], linewidth=1.3)
        if not np.isnan(value):
            ax.plot([value], [level], **{**look, "linestyle": "none"}, markersize=5.5, markeredgewidth=1.2, zorder=3)
        grey = {"color": GREY, "style": "italic"} if np.isnan(value) else {}
        written = "\n".join(filter(None, [_written(value, low, high), verdict]))
        ax.text(1.02, level, written, transform=beside, va="center", size=SMALL, linespacing=1.15, **grey)
    for level, head, name in zip(levels, heads, sections, strict=True):
        if head:
            ax.text(0, level - 1.05, f" {name}", transform=beside, va="center", ha="left", size=SMALL, weight="bold")
    ax.set_yticks(levels, labels)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(levels[-1] + steps[-1] / 2 + 0.1, -0.1)
    finite = values[np.isfinite(values)]
    if limits is None and len(finite):
        room = max(0.06 * (finite.max() - finite.min()), 0.01)
        limits = (finite.min() - room, finite.max() + room)
    ax.set_xlim(*(limits or (0, 1)))
    ax.set_xlabel(xlabel)
    if len(present) > 1:
        handles = [Line2D([], [], **KINDS[kind], markeredgewidth=1.2, label=kind) for kind in present]
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), handlelength=3)
    return figure


@styled
def recall_bars(table: pd.DataFrame, xlabel: str = "recall, 95 % interval") -> Figure:
    """Recall of each class as a point with its interval, on the whole scale from 0 to 1.

    table  columns `name, value, low, high, n`; NaN in `low` or `high` draws the point alone, NaN in `value` writes
           "not run"; `n` is the number of true cases of the class

    Raises OrthoError for missing columns or no rows.
    """
    need(table, ("name", "value", "low", "high", "n"), "recall")
    return _forest(table.assign(kind="ours"), _labelled(table, "name"), xlabel, (-0.02, 1.02))


@styled
def interval_plot(table: pd.DataFrame, xlabel: str = "value, 95 % interval") -> Figure:
    """Forest plot of our values beside the published ones and the anchors.

    table  columns `label, value, low, high, kind` and, where they apply, `n` (written behind the label), `section`
           (rows of one section stand together under its name) and `verdict` (written below the value, "" for none);
           `kind` is `ours`, `published` or `anchor`; NaN in `low` or `high` draws the point alone, NaN in `value`
           writes "not run"

    Raises OrthoError for missing columns, no rows or an unknown kind.
    """
    need(table, ("label", "value", "low", "high", "kind"), "interval plot")
    unknown = sorted(set(table["kind"].astype(str)) - set(KINDS))
    if unknown:
        raise OrthoError(f"interval plot: kind {', '.join(unknown)}; expected {', '.join(KINDS)}.")
    return _forest(table, _labelled(table, "label"), xlabel, None)


def describe_intervals(table: pd.DataFrame) -> str:
    """Alternative text of `recall_bars` and `interval_plot`: "DINO, ours 0.873 [0.851, 0.894]; …"."""
    name = "label" if "label" in table else "name"
    need(table, (name, "value", "low", "high"), "intervals")
    kinds = table["kind"] if "kind" in table else [""] * len(table)
    sections = table["section"] if "section" in table else [""] * len(table)
    verdicts = table["verdict"].fillna("") if "verdict" in table else [""] * len(table)
    rows = []
    values = table[["value", "low", "high"]].astype(float).to_numpy()
    for section, label, kind, value, verdict in zip(
        sections, _labelled(table, name), kinds, values, verdicts, strict=True
    ):
        before = f"{section}: " if section else ""
        after = f" ({verdict})" if verdict else ""
        rows.append(f"{before}{label}{', ' if kind else ''}{kind} {_written(*value)}{after}")
    return "; ".join(rows) + "."
