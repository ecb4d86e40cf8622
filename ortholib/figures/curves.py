"""What a score can do at every threshold: ROC and precision-recall, FROC, and net benefit."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ortholib.errors import OrthoError
from ortholib.figures.labels import LINES, name_ends
from ortholib.figures.style import GREY, INK, SMALL, canvas, need, percent, styled

BANDS = ("curve", "x", "y", "low", "high", "n", "n_groups", "prevalence")
BENEFIT = ("strategy", "threshold", "net_benefit", "low", "high", "n", "n_groups")
FROC = ("false_positives_per_image", "sensitivity", "low", "high", "n", "n_groups", "n_truths")
NO_ARM = "this arm"


def _arms(table: pd.DataFrame, column: str, what: str) -> list[str]:
    arms = list(table[column].unique())
    if len(arms) > len(LINES):
        raise OrthoError(f"{what}: {len(arms)} arms; more than {len(LINES)} curves cannot be told apart, pick some.")
    return arms


def _units(table: pd.DataFrame, unit: str) -> str:
    """ "n = 800 images of 500 groups"; curves of one figure are of the same units."""
    if table[["n", "n_groups"]].drop_duplicates().shape[0] > 1:
        raise OrthoError("curves: arms with different n in one figure; draw those of the same test units.")
    n, groups = int(table["n"].iloc[0]), int(table["n_groups"].iloc[0])
    return f"n = {n:,} {unit}" + (f" of {groups:,} groups" if groups < n else "")


def _band(ax: Axes, x, rows: pd.DataFrame, y: str, look: dict) -> None:
    ax.fill_between(x, rows["low"], rows["high"], color=look["color"], alpha=0.16, linewidth=0)
    ax.plot(x, rows[y], color=look["color"], linestyle=look["linestyle"])


def _legend_columns(arms: list[str]) -> int:
    letters = 9 + max(len(str(arm)) for arm in arms)  # a line, a gap and the longest name
    return max(1, min(len(arms), 115 // letters))


def _legend(figure: Figure, arms: list[str]) -> None:
    if len(arms) > 1:
        looks = [{**look, "marker": ""} for look, _ in zip(LINES, arms, strict=False)]
        handles = [Line2D([], [], **look, label=arm) for look, arm in zip(looks, arms, strict=True)]
        figure.legend(handles=handles, loc="outside upper left", ncols=_legend_columns(arms))


@styled
def roc_pr(bands: pd.DataFrame, unit: str = "images") -> Figure:
    """ROC and precision-recall curves with pointwise 95 % bands, of one arm or several.

    bands  columns of `ortholib.curves.curve_bands`, and `arm` where there are several
    unit   what was scored

    Dashed are the diagonal of a score that says nothing, and the prevalence, which is the precision of calling all.
    Raises OrthoError for missing columns, no rows, arms on different units or more than seven.
    """
    need(bands, BANDS, "ROC and precision-recall")
    bands = bands if "arm" in bands else bands.assign(arm=NO_ARM)
    arms = _arms(bands, "arm", "ROC and precision-recall")
    rows = -(-len(arms) // _legend_columns(arms)) if len(arms) > 1 else 0
    figure = canvas(3.65 + 0.2 * rows)  # high enough for square axes: those leave no room to a higher legend
    left, right = figure.subplots(1, 2)
    for arm, look in zip(arms, LINES, strict=False):
        for ax, curve in ((left, "roc"), (right, "pr")):
            rows = bands[(bands["arm"] == arm) & (bands["curve"] == curve)]
            _band(ax, rows["x"], rows, "y", look)
    prevalence = float(bands["prevalence"].iloc[0])
    chance = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (2, 2))}
    left.plot([0, 1], [0, 1], **chance)
    right.axhline(prevalence, **chance)
    # below the line where there is room, so that the words stand on neither line nor axis
    above = prevalence < 0.12
    place = {"xytext": (0, 4 if above else -4), "textcoords": "offset points", "va": "bottom" if above else "top"}
    right.annotate(f"prevalence {percent(prevalence, 1)}", (0.02, prevalence), **place, size=SMALL, color=GREY)
    left.set(xlabel="1 − specificity", ylabel="sensitivity", title=f"ROC, {_units(bands, unit)}")
    right.set(
        xlabel="recall (sensitivity)", ylabel="precision (PPV)", title="precision and recall (band: pointwise 95 %)"
    )
    for ax in (left, right):
        ax.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    _legend(figure, arms)
    return figure


def describe_curves(bands: pd.DataFrame, unit: str = "images") -> str:
    """Alternative text of `roc_pr`: each arm's sensitivity at two specificities and precision at two recalls."""
    need(bands, BANDS, "ROC and precision-recall")
    bands = bands if "arm" in bands else bands.assign(arm=NO_ARM)
    said = [f"{_units(bands, unit)}, prevalence {percent(float(bands['prevalence'].iloc[0]), 1)}"]
    for arm, rows in bands.groupby("arm", sort=False):
        read = []
        for curve, x, words in (
            ("roc", 0.1, "sensitivity at specificity 0.90"),
            ("roc", 0.2, "at 0.80"),
            ("pr", 0.5, "precision at recall 0.50"),
            ("pr", 0.8, "at 0.80"),
        ):
            line = rows[rows["curve"] == curve]
            nearest = line.iloc[int((line["x"] - x).abs().argmin())]
            read.append(f"{words} {nearest['y']:.3f} [{nearest['low']:.3f}, {nearest['high']:.3f}]")
        said.append(f"{arm}: {', '.join(read)}")
    return "; ".join(said) + "."


@styled
def decision_curves(table: pd.DataFrame, unit: str = "images") -> Figure:
    """Net benefit against the threshold probability, of the arms, of acting on all and on none.

    table  columns of `ortholib.operating.decision_curve`
    unit   what was scored

    Above both grey lines, the score is worth using at that threshold. Written for 100 units: true findings gained, less
    the false alarms at their price. Raises OrthoError for missing columns, no rows, or more than seven arms.
    """
    need(table, BENEFIT, "decision curves")
    arms = [arm for arm in _arms(table, "strategy", "decision curves") if arm not in ("all", "none")]
    rows = {name: part.sort_values("threshold") for name, part in table.groupby("strategy", sort=False)}
    figure = canvas(3.7)
    ax = figure.subplots()
    hundred = ["net_benefit", "low", "high"]
    names, ends, colors = [], [], []
    for arm, look in zip(arms, LINES, strict=False):
        part = rows[arm].assign(**{column: 100 * rows[arm][column] for column in hundred})
        _band(ax, 100 * part["threshold"], part, "net_benefit", look)
        names, ends, colors = [*names, arm], [*ends, part["net_benefit"].iloc[-1]], [*colors, look["color"]]
    top = max((100 * rows[arm]["high"].fillna(rows[arm]["net_benefit"]).max() for arm in arms), default=1.0)
    if "all" in rows:
        top = max(top, 100 * rows["all"]["net_benefit"].max())
        ax.plot(100 * rows["all"]["threshold"], 100 * rows["all"]["net_benefit"], color=GREY, linewidth=0.9)
    ax.axhline(0, color=INK, linewidth=0.9, linestyle=":")
    low, high = -0.18 * top, 1.06 * top
    ax.set_ylim(low, high)
    thresholds = 100 * table["threshold"]
    ax.set_xlim(thresholds.min(), thresholds.max())
    if "all" in rows:
        # the line leaves the figure below, where acting on all costs more than it brings
        inside = rows["all"][100 * rows["all"]["net_benefit"] >= low].iloc[-1]
        x, y = 100 * inside["threshold"], max(100 * inside["net_benefit"], low)
        ax.annotate("acting on all", (x, y), (5, 2), textcoords="offset points", size=SMALL, color=GREY)
    names, ends, colors = [*names, "acting on none"], [*ends, 0.0], [*colors, INK]
    name_ends(ax, list(np.clip(ends, low, high)), names, colors, 2.9)
    ax.set_xlabel("threshold: the probability (%) at which one would act")
    ax.set_ylabel(f"net benefit\n(true findings in 100 {unit})")
    ax.set_title(f"{_units(table, unit)} · band: pointwise 95 % interval", size=SMALL, color=GREY)
    return figure


def describe_decision(table: pd.DataFrame, unit: str = "images") -> str:
    """Alternative text of `decision_curves`: where each arm's net benefit is above acting on all and on none."""
    need(table, BENEFIT, "decision curves")
    wide = table.pivot_table(index="threshold", columns="strategy", values="net_benefit", sort=True)
    said = [f"Net benefit, {_units(table, unit)}"]
    for arm in [name for name in table["strategy"].unique() if name not in ("all", "none")]:
        better = wide.index[wide[arm] > wide.drop(columns=[c for c in wide if c not in ("all", "none")]).max(axis=1)]
        if len(better):
            share = f"at {len(better)} of {len(wide)} thresholds, between {better.min():.0%} and {better.max():.0%}"
        else:
            share = "at no threshold"
        best = wide[arm].max()
        said.append(f"{arm} is above acting on all and on none {share}; highest {100 * best:.1f} in 100 {unit}")
    return "; ".join(said) + "."


@styled
def froc_curve(table: pd.DataFrame) -> Figure:
    """Sensitivity of a detector by truth against the false positives an image, with pointwise 95 % intervals.

    table  columns of `ortholib.detection.froc_table`, and `arm` where there are several

    Raises OrthoError for missing columns, no rows, arms on different images or more than seven.
    """
    need(table, FROC, "FROC")
    table = table if "arm" in table else table.assign(arm=NO_ARM)
    arms = _arms(table, "arm", "FROC")
    figure = canvas(3.5)
    ax = figure.subplots()
    rates = sorted(table["false_positives_per_image"].unique())
    ends = []
    for number, (arm, look) in enumerate(zip(arms, LINES, strict=False)):
        rows = table[table["arm"] == arm].sort_values("false_positives_per_image")
        # side by side by 3 % of the rate, or intervals of two arms would hide each other
        x = rows["false_positives_per_image"] * 1.03 ** (2 * number - len(arms) + 1)
        ax.vlines(x, rows["low"], rows["high"], color=look["color"], linewidth=1.0)
        ax.plot(x, rows["sensitivity"], **look, linewidth=1.1)
        ends.append(float(rows["sensitivity"].iloc[-1]))
    ax.set_xscale("log", base=2)
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
    ax.set_ylim(0, 1.005)
    ax.set_xlabel("false positives an image, at most")
    ax.set_ylabel("sensitivity by fracture box")
    truths = int(table["n_truths"].iloc[0])
    ax.set_title(f"{_units(table, 'images')}, {truths:,} boxes to find", size=SMALL, color=GREY)
    if len(arms) > 1:
        colors = [look["color"] for look, _ in zip(LINES, arms, strict=False)]
        name_ends(ax, ends, arms, colors, 2.7)
    return figure


def describe_froc(table: pd.DataFrame) -> str:
    """Alternative text of `froc_curve`: every arm's sensitivity at each number of false positives an image."""
    need(table, FROC, "FROC")
    table = table if "arm" in table else table.assign(arm=NO_ARM)
    said = [f"FROC, {_units(table, 'images')}, {int(table['n_truths'].iloc[0]):,} boxes to find"]
    for arm, rows in table.groupby("arm", sort=False):
        each = [
            f"{row.sensitivity:.3f} [{row.low:.3f}, {row.high:.3f}] at {row.false_positives_per_image:g}"
            for row in rows.itertuples()
        ]
        said.append(f"{arm}: sensitivity {', '.join(each)} false positives an image")
    return "; ".join(said) + "."
