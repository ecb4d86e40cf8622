"""What a score can do at every threshold: ROC and precision-recall, FROC, and net benefit."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ortholib.errors import OrthoError
from ortholib.report.figures import forest
from ortholib.report.figures.labels import LINES, at_most, name_ends, points
from ortholib.report.figures.style import GREY, INK, SMALL, canvas, need, percent, styled

BANDS = ("curve", "x", "y", "low", "high", "n", "n_groups", "prevalence")
PLAIN = ["all", "none"]  # strategies without a score
BENEFIT = ("strategy", "threshold", "net_benefit", "low", "high", "n", "n_groups")
FROC = ("false_positives_per_image", "sensitivity", "low", "high", "n", "n_groups", "n_truths")
ROC = "ROC and precision-recall"
# what is told of a band: curve, place, words
TOLD = (("roc", 0.1, "sensitivity at specificity 0.90"), ("roc", 0.2, "at 0.80"))
TOLD += (("pr", 0.5, "precision at recall 0.50"), ("pr", 0.8, "at 0.80"))


def _checked(table: pd.DataFrame, columns: tuple[str, ...], what: str) -> pd.DataFrame:
    """The table with a column `arm`, where it can be drawn."""
    need(table, columns, what)
    table = table if "arm" in table else table.assign(arm=table.get("strategy", "this arm"))
    at_most(table, what)
    if len(table[["n", "n_groups"]].drop_duplicates()) > 1:
        raise OrthoError(f"{what}: arms with different n in one figure; draw those of the same test units.")
    return table


def _units(table: pd.DataFrame) -> str:
    """ "n = 800 images of 500 groups" """
    n, groups = int(table["n"].iloc[0]), int(table["n_groups"].iloc[0])
    return f"n = {n:,} images" + (f" of {groups:,} groups" if groups < n else "")


def _band(ax: Axes, x, rows: pd.DataFrame, y: str, look: dict) -> None:
    ax.fill_between(x, rows["low"], rows["high"], color=look["color"], alpha=0.16, linewidth=0)
    ax.plot(x, rows[y], color=look["color"], linestyle=look["linestyle"])


@styled
def roc_pr(bands: pd.DataFrame) -> Figure:
    """ROC and precision-recall curves with pointwise 95 % bands, of one arm or several.

    bands  columns of `ortholib.metrics.curves.curve_bands`, and `arm` where there are several

    Dashed are the diagonal of a score that says nothing, and the prevalence, which is the precision of calling all.
    Raises OrthoError for missing columns, no rows, arms on different units or more than seven.
    """
    bands = _checked(bands, BANDS, ROC)
    arms = [str(arm) for arm in bands["arm"].unique()]
    columns = max(1, min(len(arms), 115 // (9 + max(map(len, arms)))))  # a line, a gap and the longest name
    lines = -(-len(arms) // columns) if len(arms) > 1 else 0
    figure = canvas(3.65 + 0.2 * lines)  # high enough for square axes: those leave no room to a higher legend
    left, right = figure.subplots(1, 2)
    handles = []
    for (arm, rows), look in zip(bands.groupby("arm", sort=False), LINES, strict=False):
        handles.append(Line2D([], [], color=look["color"], linestyle=look["linestyle"], label=arm))
        for ax, curve in ((left, "roc"), (right, "pr")):
            _band(ax, rows.loc[rows["curve"] == curve, "x"], rows[rows["curve"] == curve], "y", look)
    prevalence = float(bands["prevalence"].iloc[0])
    chance = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (2, 2))}
    left.plot([0, 1], [0, 1], **chance)
    right.axhline(prevalence, **chance)
    # below the line where there is room, so that the words stand on neither line nor axis
    above = prevalence < 0.12
    place = {"xytext": (0, 4 if above else -4), "textcoords": "offset points", "va": "bottom" if above else "top"}
    right.annotate(f"prevalence {percent(prevalence, 1)}", (0.02, prevalence), **place, size=SMALL, color=GREY)
    left.set(xlabel="1 − specificity", ylabel="sensitivity", title=f"ROC, {_units(bands)}")
    right.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)")
    right.set_title("precision and recall (band: pointwise 95 %)")
    for ax in (left, right):
        ax.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    if len(arms) > 1:
        figure.legend(handles=handles, loc="outside upper left", ncols=columns)
    return figure


def describe_curves(bands: pd.DataFrame) -> str:
    """Alternative text of `roc_pr`: each arm's sensitivity at two specificities and precision at two recalls."""
    bands = _checked(bands, BANDS, ROC)
    said = [f"{_units(bands)}, prevalence {percent(float(bands['prevalence'].iloc[0]), 1)}"]
    for arm, rows in bands.groupby("arm", sort=False):
        read = []
        for curve, x, words in TOLD:
            line = rows[rows["curve"] == curve]
            nearest = line.iloc[int((line["x"] - x).abs().argmin())]
            read.append(f"{words} {forest.written(*nearest[['y', 'low', 'high']])}")
        said.append(f"{arm}: {', '.join(read)}")
    return "; ".join(said) + "."


@styled
def decision_curves(table: pd.DataFrame) -> Figure:
    """Net benefit against the threshold probability, of the arms, of acting on all and on none.

    table  columns of `ortholib.metrics.thresholds.decision_curve`

    Above both grey lines, the score is worth using at that threshold. Written for 100 images: true findings gained,
    less the false alarms at their price. Raises OrthoError for missing columns, no rows, or too many arms.
    """
    table = _checked(table, BENEFIT, "decision curves").sort_values("threshold", kind="stable")
    hundred = ["threshold", "net_benefit", "low", "high"]
    table[hundred] = 100 * table[hundred]
    arms = table[~table["strategy"].isin(PLAIN)]
    everybody = table[table["strategy"] == "all"]
    figure = canvas(3.7)
    ax = figure.subplots()
    ends = []
    for arm, look in zip(arms["strategy"].unique(), LINES, strict=False):
        part = arms[arms["strategy"] == arm]
        _band(ax, part["threshold"], part, "net_benefit", look)
        ends.append((part["net_benefit"].iloc[-1], arm, look["color"]))
    top = np.max([*arms["high"].fillna(arms["net_benefit"]), *everybody["net_benefit"]])
    low, high = -0.18 * top, 1.06 * top
    ax.plot(everybody["threshold"], everybody["net_benefit"], color=GREY, linewidth=0.9)
    ax.axhline(0, color=INK, linewidth=0.9, linestyle=":")
    ax.set(xlim=(table["threshold"].min(), table["threshold"].max()), ylim=(low, high))
    # the line leaves the figure below, where acting on all costs more than it brings
    inside = everybody[everybody["net_benefit"] >= low].iloc[-1]
    place = (inside["threshold"], inside["net_benefit"])
    ax.annotate("acting on all", place, (5, 2), textcoords="offset points", size=SMALL, color=GREY)
    ends.append((0.0, "acting on none", INK))
    name_ends(ax, [(np.clip(end, low, high), arm, color) for end, arm, color in ends], 2.9)
    ax.set_xlabel("threshold: the probability (%) at which one would act")
    ax.set_ylabel("net benefit\n(true findings in 100 images)")
    ax.set_title(f"{_units(table)} · band: pointwise 95 % interval", size=SMALL, color=GREY)
    return figure


def describe_decision(table: pd.DataFrame) -> str:
    """Alternative text of `decision_curves`: where each arm's net benefit is above acting on all and on none."""
    table = _checked(table, BENEFIT, "decision curves")
    wide = table.pivot_table(index="threshold", columns="strategy", values="net_benefit", sort=True)
    said = [f"Net benefit, {_units(table)}"]
    for arm in [name for name in table["strategy"].unique() if name not in PLAIN]:
        better = wide.index[wide[arm] > wide[PLAIN].max(axis=1)]
        if len(better):
            share = f"at {len(better)} of {len(wide)} thresholds, between {better.min():.0%} and {better.max():.0%}"
        else:
            share = "at no threshold"
        best = wide[arm].max()
        said.append(f"{arm} is above acting on all and on none {share}; highest {100 * best:.1f} in 100 images")
    return "; ".join(said) + "."


@styled
def froc_curve(table: pd.DataFrame) -> Figure:
    """Sensitivity of a detector by truth against the false positives an image, with pointwise 95 % intervals.

    table  columns of `ortholib.metrics.boxes.froc_table`, and `arm` where there are several

    Raises OrthoError for missing columns, no rows, arms on different images or more than seven.
    """
    table = _checked(table, FROC, "FROC")
    figure = canvas(3.5)
    ax = figure.subplots()
    ends = points(ax, table, "false_positives_per_image", "sensitivity", 1.03)
    rates = sorted(table["false_positives_per_image"].unique())
    ax.set_xscale("log", base=2)
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
    ax.set_ylim(0, 1.005)
    ax.set_xlabel("false positives an image, at most")
    ax.set_ylabel("sensitivity by fracture box")
    truths = int(table["n_truths"].iloc[0])
    ax.set_title(f"{_units(table)}, {truths:,} boxes to find", size=SMALL, color=GREY)
    if len(ends) > 1:
        name_ends(ax, ends, 2.7)
    return figure


def describe_froc(table: pd.DataFrame) -> str:
    """Alternative text of `froc_curve`: every arm's sensitivity at each number of false positives an image."""
    table = _checked(table, FROC, "FROC")
    said = [f"FROC, {_units(table)}, {int(table['n_truths'].iloc[0]):,} boxes to find"]
    for arm, rows in table.groupby("arm", sort=False):
        each = [
            f"{forest.written(row.sensitivity, row.low, row.high)} at {row.false_positives_per_image:g}"
            for row in rows.itertuples()
        ]
        said.append(f"{arm}: sensitivity {', '.join(each)} false positives an image")
    return "; ".join(said) + "."
