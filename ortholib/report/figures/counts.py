"""How many of what: classes by part of a split, labels by group of images."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ortholib.report.figures.style import BLUE, PALE, SMALL, VERMILLION, canvas, need, percent, styled


@styled
def class_counts(frame: pd.DataFrame) -> Figure:
    """Class shares side by side, one panel for each part of a split, counts written at the bars.

    frame  columns `part, class, n`; panels and bars keep the order of the rows

    All panels share the axis (share of the part, %), so that a shift between parts is seen whatever their size.
    Raises OrthoError for missing columns or no rows.
    """
    need(frame, ("part", "class", "n"), "class counts")
    parts, classes = list(frame["part"].unique()), list(frame["class"].unique())
    table = frame.pivot_table(index="class", columns="part", values="n", aggfunc="sum", fill_value=0, observed=True)
    table = table.reindex(index=classes, columns=parts, fill_value=0)
    shares = 100 * table / table.sum().replace(0, np.nan)
    widest = max(float(np.nan_to_num(shares.to_numpy()).max()), 1.0)

    columns = min(len(parts), 4)
    rows = -(-len(parts) // columns)
    figure = canvas(rows * (0.75 + 0.26 * len(classes)))
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, part in zip(axes, parts, strict=False):
        total = int(table[part].sum())
        bars = ax.barh(range(len(classes)), shares[part].fillna(0), height=0.66, color=BLUE)
        labels = [f"{count:,.0f} · {percent(count, total)}" for count in table[part]]
        ax.bar_label(bars, labels, padding=2.5, size=SMALL)
        ax.set_title(f"{part}, n = {total:,}")
        # the widest bar still leaves the room of its label, about an inch
        ax.set_xlim(0, widest * (1.2 + 0.2 * columns))
        ax.set_xticks([])
        ax.spines["bottom"].set_visible(False)
        ax.set_yticks(range(len(classes)), [str(name) for name in classes])
        ax.tick_params(axis="y", length=0)
    axes[0].invert_yaxis()
    for ax in axes[len(parts) :]:
        ax.set_axis_off()
    figure.supxlabel("images in each class, number · share of the part", size=SMALL)
    return figure


def describe_counts(frame: pd.DataFrame) -> str:
    """Alternative text of `class_counts`: "train, 4,578 images: 0 1,812 (39.6 %), …; val, …"."""
    need(frame, ("part", "class", "n"), "class counts")
    sentences = []
    for part, rows in frame.groupby("part", sort=False, observed=True):
        total = int(rows["n"].sum())
        each = [f"{name} {int(n):,} ({percent(n, total)})" for name, n in zip(rows["class"], rows["n"], strict=True)]
        sentences.append(f"{part}, {total:,} images: {', '.join(each)}")
    return "; ".join(sentences) + "."


@styled
def counts_by(frame: pd.DataFrame, positive: str) -> Figure:
    """Number of images with and without a finding in each body region, with the prevalence written.

    frame     columns `region, label, n`; regions keep the order of the rows
    positive  the label that is the finding; every other one counts as its absence

    Raises OrthoError for missing columns or no rows.
    """
    need(frame, ("region", "label", "n"), "counts by region")
    groups = list(frame["region"].unique())
    found = frame["label"] == positive
    total = frame.groupby("region", observed=True)["n"].sum().reindex(groups)
    positives = frame[found].groupby("region", observed=True)["n"].sum().reindex(groups, fill_value=0)
    others = ", ".join(map(str, frame.loc[~found, "label"].unique())) or f"not {positive}"

    figure = canvas(0.95 + 0.3 * len(groups))
    ax = figure.subplots()
    names = [str(group) for group in groups]
    ax.barh(names, positives, height=0.66, color=VERMILLION, label=positive)
    bars = ax.barh(names, total - positives, left=positives, height=0.66, color=PALE, label=others)
    labels = [f"{k:,.0f} of {n:,.0f} · {percent(k, n)}" for k, n in zip(positives, total, strict=True)]
    ax.bar_label(bars, labels, padding=3.5, size=SMALL)
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.3 * max(float(total.max()), 1.0))
    ax.set_xlabel(f"images (n = {int(total.sum()):,}, {positive} {percent(positives.sum(), total.sum())})")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    figure.legend(loc="outside upper left", ncols=2, handlelength=0.9, handleheight=0.9, columnspacing=1.4)
    return figure
