"""Values with their intervals: the forest plot of the first page, and recall by class."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ortholib.errors import OrthoError
from ortholib.report.figures import forest
from ortholib.report.figures.style import BLUE, GREY, VERMILLION, canvas, need, styled

# shape and fill say the kind as well as the colour does
KINDS = {
    "ours": {"marker": "o", "color": BLUE, "markerfacecolor": BLUE, "linestyle": "-"},
    "published": {"marker": "D", "color": VERMILLION, "markerfacecolor": "white", "linestyle": "--"},
    "anchor": {"marker": "s", "color": GREY, "markerfacecolor": GREY, "linestyle": "-"},
}
VALUES = ["value", "low", "high"]


def _forest(table: pd.DataFrame, xlabel: str, limits: tuple[float, float] | None) -> Figure:
    values, verdicts = table[VALUES].astype(float).to_numpy(), forest.texts(table, "verdict")
    rows = forest.arrange(table, 48, 0.74 if any(verdicts) else 0.66, [1 + bool(verdict) for verdict in verdicts])
    present = [kind for kind in KINDS if kind in set(table["kind"])]
    figure = canvas(0.6 + 0.235 * (rows.levels[-1] + 0.5) + (0.25 if len(present) > 1 else 0))
    ax = figure.subplots()
    words = ["\n".join(filter(None, (forest.written(*v), said))) for v, said in zip(values, verdicts, strict=True)]
    forest.draw(ax, rows, values, [KINDS[kind] for kind in table["kind"]], words)
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
def recall_bars(table: pd.DataFrame) -> Figure:
    """Recall of each class as a point with its interval, on the whole scale from 0 to 1.

    table  columns `name, value, low, high, n`; NaN in `low` or `high` draws the point alone, NaN in `value` writes
           "not run"; `n` is the number of true cases of the class

    Raises OrthoError for missing columns or no rows.
    """
    need(table, ("name", *VALUES, "n"), "recall")
    return _forest(table.assign(label=table["name"], kind="ours"), "recall, 95 % interval", (-0.02, 1.02))


@styled
def interval_plot(table: pd.DataFrame, xlabel: str = "value, 95 % interval") -> Figure:
    """Forest plot of our values beside the published ones and the anchors.

    table  columns `label, value, low, high, kind` and, where they apply, `n` and `section` (as of `forest`) and
           `verdict` (written below the value, "" for none); `kind` is `ours`, `published` or `anchor`; NaN as in
           `recall_bars`

    Raises OrthoError for missing columns, no rows or an unknown kind.
    """
    need(table, ("label", *VALUES, "kind"), "interval plot")
    unknown = sorted(set(table["kind"].astype(str)) - set(KINDS))
    if unknown:
        raise OrthoError(f"interval plot: kind {', '.join(unknown)}; expected {', '.join(KINDS)}.")
    return _forest(table, xlabel, None)


def describe_intervals(table: pd.DataFrame) -> str:
    """Alternative text of `recall_bars` and `interval_plot`: "DINO, ours 0.873 [0.851, 0.894]; …"."""
    table = table if "label" in table else table.rename(columns={"name": "label"})
    need(table, ("label", *VALUES), "intervals")
    names = ("section", "kind", "verdict")
    table = table.assign(label=forest.labelled(table), **{name: forest.texts(table, name) for name in names})
    rows = []
    for row in table.astype(dict.fromkeys(VALUES, float)).itertuples():
        who = ", ".join(filter(None, (": ".join(filter(None, (row.section, row.label))), row.kind)))
        said = f" ({row.verdict})" if row.verdict else ""
        rows.append(f"{who} {forest.written(row.value, row.low, row.high)}{said}")
    return "; ".join(rows) + "."
