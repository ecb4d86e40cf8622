"""What happened in a pretraining without labels: loss and its parts, nearest neighbours, and the signs of collapse."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ortholib.report.figures.labels import LINES, name_ends
from ortholib.report.figures.style import BLUE, GREY, INK, PALE, SKY, SMALL, VERMILLION, canvas, need, styled

COLUMNS = ("epoch", "loss", "entropy", "kl", "used", "spread", "rankme", "learning_rate", "images_per_s")
# column: title, form of a number, factor
SMALL_PANELS = {
    "rankme": ("effective rank", "{:.3g}", 1),
    "spread": ("spread (1 = even)", "{:.2f}", 1),
    "used": ("prototypes used", "{:.0f} %", 100),
    "learning_rate": ("learning rate", "{:.1e}", 1),
    "images_per_s": ("images a second", "{:,.0f}", 1),
}


def _neighbours(history: pd.DataFrame) -> list[str]:
    """The sets whose nearest-neighbour score was watched and has a value."""
    columns = [column for column in history.columns if str(column).startswith("knn_") and history[column].notna().any()]
    return [column.removeprefix("knn_") for column in columns]


def _alarms(history: pd.DataFrame) -> str:
    """ "collapse: … (epochs 3–5)" for what the run itself warned of, or nothing."""
    if "alarm" not in history:
        return ""
    warned = history[history["alarm"].fillna("") != ""]
    if warned.empty:
        return ""
    first, last = warned["epoch"].min(), warned["epoch"].max()
    when = f"epoch {first:.0f}" if first == last else f"{len(warned)} epochs, {first:.0f}–{last:.0f}"
    return f"alarm ({when}): {warned['alarm'].iloc[-1]}"


def _change(column: str, arrow: str, history: pd.DataFrame) -> str:
    """First and last value; of the learning rate the highest, of the speed the median: their ends say little."""
    _, form, factor = SMALL_PANELS.get(column, ("", "{:.3f}", 1))
    values = factor * history[column].dropna().to_numpy(dtype=float)
    if not len(values):
        return "no value"
    if column in ("learning_rate", "images_per_s"):
        said, value = ("peak", values.max()) if column == "learning_rate" else ("median", np.median(values))
        return f"{said} {form.format(value)}"
    return arrow.join(form.format(value) for value in values[[0, -1][: len(values)]])


def _epochs(ax: Axes, history: pd.DataFrame, ticks: int = 5) -> None:
    first, last = history["epoch"].min(), history["epoch"].max()
    ax.set_xlim(first - (0.5 if first == last else 0), last + (0.5 if first == last else 0))
    ax.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


@styled
def pretraining_panel(history: pd.DataFrame, images: int, prototypes: int) -> Figure:
    """A DINO pretraining, epoch by epoch.

    history     a row an epoch, columns `epoch, loss, entropy, kl` (nats), `used` (share of the prototypes that could be
                first choices), `spread` and `rankme` of the embeddings, `learning_rate`, `images_per_s`; and, where
                they were watched, `knn_<set>` (balanced accuracy of the nearest neighbours) and `alarm`
    images      images trained on, written in the title
    prototypes  K; a line at ln K, the entropy of a teacher that makes no choice

    The loss is the cross entropy of teacher and student: entropy of the teacher + divergence of the two (KL), drawn one
    on the other. Raises OrthoError for missing columns or no rows.
    """
    need(history, COLUMNS, "pretraining panel")
    history = history.sort_values("epoch")
    epoch = history["epoch"].to_numpy(dtype=float)
    sets = _neighbours(history)
    marker = "o" if len(epoch) == 1 else None
    figure = canvas(4.5)
    upper, lower = figure.add_gridspec(2, 1, height_ratios=[1.6, 1])
    upper, lower = upper.subgridspec(1, 2 if sets else 1), lower.subgridspec(1, len(SMALL_PANELS))
    loss = figure.add_subplot(upper[0])
    title = f"{len(epoch):,} epoch{'s' * (len(epoch) > 1)}, {images:,} images"
    warned = _alarms(history)
    title = textwrap.fill(f"{title} · {warned}" if warned else title, 105)
    figure.suptitle(title, x=0.012, ha="left", size=9, color=VERMILLION if warned else INK)

    entropy, total = history["entropy"].to_numpy(dtype=float), history["loss"].to_numpy(dtype=float)
    loss.fill_between(epoch, 0, entropy, color=PALE, linewidth=0)
    loss.fill_between(epoch, entropy, total, color=SKY, alpha=0.45, linewidth=0)
    loss.plot(epoch, entropy, color=GREY, linewidth=0.9, marker=marker)
    loss.plot(epoch, total, color=BLUE, marker=marker)
    loss.set_title("loss (nats)")
    _epochs(loss, history)
    loss.set_xlabel("epoch")
    names = [(total[-1], "loss", BLUE), ((entropy[-1] + total[-1]) / 2, "KL", BLUE), (entropy[-1] / 2, "entropy", GREY)]
    loss.axhline(np.log(prototypes), color=VERMILLION, linewidth=0.9, linestyle="--")
    names.append((np.log(prototypes), "ln K", VERMILLION))
    loss.set_ylim(0, 1.06 * max(np.nanmax(total), np.log(prototypes)))
    name_ends(loss, names, 1.9)

    if sets:
        near = figure.add_subplot(upper[1])
        ends = []
        for name, look in zip(sets, LINES * len(sets), strict=False):
            near.plot(epoch, history[f"knn_{name}"], color=look["color"], linestyle=look["linestyle"], marker=marker)
            last = history[f"knn_{name}"].dropna().iloc[-1]
            ends.append((last, f"{name}\n{last:.3f}", look["color"]))
        near.set_title("nearest neighbours, balanced accuracy")
        values = history[[f"knn_{name}" for name in sets]].to_numpy(dtype=float)
        room = max(0.1 * (np.nanmax(values) - np.nanmin(values)), 0.01)
        near.set_ylim(max(0, np.nanmin(values) - room), min(1, np.nanmax(values) + room))
        _epochs(near, history)
        near.set_xlabel("epoch")
        name_ends(near, ends, 1.9)

    for place, (column, (title, _, factor)) in enumerate(SMALL_PANELS.items()):
        ax = figure.add_subplot(lower[place])
        values = factor * history[column].to_numpy(dtype=float)
        ax.plot(epoch, values, color=BLUE if place < 3 else GREY, linewidth=1.2, marker=marker)
        ax.set_title(title, size=SMALL, pad=16)
        change = _change(column, " → ", history)
        above = {"xycoords": "axes fraction", "textcoords": "offset points", "size": SMALL}
        ax.annotate(change, (0, 1), (0, 5), color=BLUE if place < 3 else INK, **above)
        ax.set_ylim(0, 1.1 * max(np.nanmax(values), 1e-9))
        ax.yaxis.set_major_locator(MaxNLocator(3))
        if column == "learning_rate":
            ax.set_yticks([])
        _epochs(ax, history, 3)
    figure.supxlabel("epoch", size=9)
    return figure


def describe_pretraining(history: pd.DataFrame) -> str:
    """Alternative text of `pretraining_panel`: every curve by its first and last value."""
    need(history, COLUMNS, "pretraining panel")
    history = history.sort_values("epoch")
    said = [f"Pretraining, {len(history):,} epoch{'s' * (len(history) > 1)}"]
    curves = {"loss": "loss (nats)", "entropy": "entropy of the teacher (nats)"}
    curves |= {"kl": "divergence of teacher and student (nats)"}
    curves |= {f"knn_{name}": f"nearest neighbours on {name}, balanced accuracy" for name in _neighbours(history)}
    curves |= {column: title for column, (title, _, _) in SMALL_PANELS.items()}
    for column, title in curves.items():
        said.append(f"{title} {_change(column, ' to ', history)}")
    return "; ".join(filter(None, [*said, _alarms(history)])) + "."
