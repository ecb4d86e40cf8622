"""Several trainings beside each other, epoch by epoch: what validation says, and how far training runs ahead of it."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ortholib.errors import OrthoError
from ortholib.metrics.frames import refuse
from ortholib.report.figures.evaluation import _range
from ortholib.report.figures.labels import LINES, name_ends
from ortholib.report.figures.style import GREY, INK, SMALL, WIDTH, canvas, need, styled

HISTORY = ("set", "arm", "seed", "epoch", "train_accuracy", "val_accuracy", "val_metric")
WHAT = "training curves"
SETS, ARMS = 2, 7
LETTER = 0.0605  # inches: a letter of SMALL text, about
PANEL = 1.75  # inches: the height of a panel, about
DASHES, DOTS = (0, (3.2, 1.6)), (0, (1, 1.4))
NO_ARM = "value to be reached"
COMMONER = "always the commoner class"


def _checked(history: pd.DataFrame) -> pd.DataFrame:
    """The history, its sets and arms as text, always with `majority`; OrthoError where it cannot be drawn."""
    need(history, HISTORY, WHAT)
    history = history.assign(majority=history.get("majority", np.nan))
    for column, most in (("set", SETS), ("arm", ARMS)):
        found = list(history[column].unique())
        if len(found) > most:
            raise OrthoError(f"{WHAT}: {len(found)} of {column}: {', '.join(map(str, found))}; at most {most} fit.")
    for column in (*HISTORY[4:], "majority"):
        outside = history[column].notna() & ~history[column].between(0, 1)
        refuse(history, outside, f"{WHAT}: {column} is no share", "expected 0 to 1", ("arm", column))
    keys = ["set", "arm", "seed", "epoch"]
    for bad, what in ((history[keys].isna().any(axis=1), "incomplete"), (history.duplicated(keys), "there twice")):
        refuse(history, bad, f"{WHAT}: an epoch {what}", "expected each once", keys)
    several = history.groupby("set")["majority"].transform("nunique") > 1
    refuse(history, several, f"{WHAT}: several values of majority", "expected one a set", ["set"])
    return history.astype({"set": str, "arm": str})


def _reached(history: pd.DataFrame, reference: pd.DataFrame | None) -> pd.DataFrame:
    """The reference with the words that say what its lines are; no row where there is none."""
    if reference is None:
        return pd.DataFrame(columns=["set", "value", "arm", "words"])
    need(reference, ("set", "value"), f"{WHAT}, reference")
    reference = reference.assign(arm=reference.get("arm")).astype({"set": str})
    unknown = ~reference["set"].isin(history["set"])
    refuse(reference, unknown, f"{WHAT}, reference: a set without history", "expected one of the history", ["set"])
    outside = ~reference["value"].between(0, 1)
    refuse(reference, outside, f"{WHAT}, reference: no ROC AUC", "expected a value from 0 to 1", ["set", "value"])
    words = [NO_ARM if pd.isna(arm) else f"final value of {arm}" for arm in reference["arm"]]
    return reference.assign(words=words)


def _mean(rows: pd.DataFrame, column: str) -> pd.Series:
    """Mean over the seeds by epoch, at the epochs that all of them have: else it would jump where one ends."""
    wide = rows.pivot(index="epoch", columns="seed", values=column)
    return wide.mean(axis=1, skipna=False)


def _limits(*columns: pd.Series) -> tuple[float, float]:
    known = pd.concat(columns).astype(float).dropna()
    if known.empty:
        return 0.0, 1.0
    room = max(0.05 * (known.max() - known.min()), 0.005)
    return known.min() - room, known.max() + room


def _lines(ax: Axes, rows: pd.DataFrame, column: str, look: dict, number: int, arms: int, dashed: bool = False) -> None:
    """An arm: its seeds thin and faint, their mean thick, with a marker now and then, beside those of other arms."""
    style = DASHES if dashed else "-"
    if rows["seed"].nunique() > 1:
        for _, one in rows.sort_values("epoch").groupby("seed"):
            ax.plot(one["epoch"], one[column], color=look["color"], linestyle=style, linewidth=0.6, alpha=0.35)
    mean = _mean(rows, column)
    step = max(1, len(mean) // 5)
    first = min((step * number) // arms + step // 2, len(mean) - 1)
    marks = {"marker": look["marker"], "markersize": 4, "markevery": (first, step), "markeredgewidth": 1.0}
    marks["markerfacecolor"] = "white" if dashed else look["color"]
    ax.plot(mean.index, mean, color=look["color"], linestyle=style, linewidth=1.6, zorder=3, **marks)


def _keys(history: pd.DataFrame) -> list[Line2D]:
    """What a solid, a dashed, a thin and a dotted line are, as far as they occur."""
    thick = {"linewidth": 1.6} | ({"marker": "o", "markersize": 4} if history["epoch"].nunique() == 1 else {})
    looks = {"validation": thick, "training": thick | {"linestyle": DASHES, "markerfacecolor": "white"}}
    seeds = history.groupby(["set", "arm"])["seed"].nunique()
    if seeds.max() > 1:
        looks[f"one seed (thick: mean of {_range(seeds, '.0f')})"] = {"linewidth": 0.6}
    if history["majority"].notna().any():
        looks[COMMONER] = {"linewidth": 0.9, "linestyle": DOTS}
    return [Line2D([], [], color=GREY, label=label, **look) for label, look in looks.items()]


def _arranged(rows: list[list[Line2D]]) -> tuple[list[Line2D], int, int]:
    """Handles, columns and lines of one legend in which each list of `rows` starts a line of its own."""
    for columns in range(min(4, max(map(len, rows))), 0, -1):
        cells = [cell for row in rows for cell in row + [None] * (-len(row) % columns)]
        words = ["" if cell is None else cell.get_label() for cell in cells]
        letters = [max(len(part) for part in "\n".join(words[place::columns]).split("\n")) for place in range(columns)]
        if sum(letters) * LETTER + 0.5 * columns <= WIDTH:
            break
    lines = sum(max(word.count("\n") for word in words[at : at + columns]) + 1 for at in range(0, len(words), columns))
    empty = Line2D([], [], linestyle="none", label=" ")
    # matplotlib fills column by column
    return [cell or empty for place in range(columns) for cell in cells[place::columns]], columns, lines


@styled
def training_curves(history: pd.DataFrame, reference: pd.DataFrame | None = None) -> Figure:
    """Validation ROC AUC and accuracy of several arms by epoch, a column of panels for each data set.

    history    a row an epoch, columns `set` (title of the data set, at most two), `arm` (at most 7), `seed`, `epoch`,
               `train_accuracy`, `val_accuracy`, `val_metric` (ROC AUC on validation) and, where it is known, `majority`
               (share of the commonest class in validation, one a set): what is right without looking at an image
    reference  columns `set`, `value` (the ROC AUC to be reached) and, where it is known, `arm` (whose final value it
               is): a dotted line with its value at the end, and above the panel what it is

    Several seeds of an arm are thin lines and their mean a thick one, as far as all of them went. Raises OrthoError for
    missing columns, no rows, too many sets or arms, an epoch that comes twice, and values outside 0 to 1.
    """
    history = _checked(history)
    reference = _reached(history, reference)
    sets, arms = [list(history[column].unique()) for column in ("set", "arm")]
    looks = dict(zip(arms, LINES, strict=False))
    solid = {"markersize": 4, "linewidth": 1.6, "linestyle": "-"}
    named = [Line2D([], [], **{**looks[arm], **solid}, label=textwrap.fill(arm, 46)) for arm in arms]
    handles, columns, lines = _arranged([named, _keys(history)])
    width = (WIDTH - 0.75) / len(sets) - (0.4 if len(reference) else 0)
    reference = reference.assign(color=[looks[arm]["color"] if arm in looks else INK for arm in reference["arm"]])
    about = {
        name: [
            (line, row.color)
            for row in reference[reference["set"] == name].itertuples()
            for line in textwrap.wrap(f"····· {row.value:.3f}: {row.words}", int(width / LETTER))
        ]
        for name in sets
    }
    above = max(map(len, about.values()))

    figure = canvas(2 * PANEL + 1.0 + 0.17 * (lines + above))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=2.6, columnspacing=1.4)
    axes = figure.subplots(2, len(sets), sharex="col", sharey="row", squeeze=False)
    axes[0, 0].set_ylim(*_limits(history["val_metric"], reference["value"]))
    axes[1, 0].set_ylim(*_limits(*(history[name] for name in ("train_accuracy", "val_accuracy", "majority"))))
    for (upper, lower), name in zip(axes.T, sets, strict=True):
        part = history[history["set"] == name]
        first, last = part["epoch"].min(), part["epoch"].max()
        room = 0.5 if first == last else 0.015 * (last - first)
        upper.set_xlim(first - room, last + room)
        for number, arm in enumerate(arms):
            rows = part[part["arm"] == arm]
            if rows.empty:
                continue
            _lines(upper, rows, "val_metric", looks[arm], number, len(arms))
            _lines(lower, rows, "train_accuracy", looks[arm], number, len(arms), dashed=True)
            _lines(lower, rows, "val_accuracy", looks[arm], number, len(arms))
        for share in part["majority"].dropna().unique():
            lower.axhline(share, color=GREY, linewidth=0.9, linestyle=DOTS, zorder=1)
        reached = reference[reference["set"] == name]
        for value, color in zip(reached["value"], reached["color"], strict=True):
            upper.axhline(value, color=color, linewidth=1.0, linestyle=":", zorder=2)
        name_ends(upper, [(row.value, f"{row.value:.3f}", row.color) for row in reached.itertuples()], PANEL)
        # above the panel, where no curve can run through the words
        upper.set_title(textwrap.fill(name, int(0.95 * width / LETTER)), pad=6 + 11.5 * above)
        for place, (line, color) in enumerate(about[name]):
            at = (0, 6 + 11.5 * (above - 1 - place))
            upper.annotate(line, (0, 1), at, "axes fraction", textcoords="offset points", size=SMALL, color=color)
        lower.set_xlabel("epoch")
        lower.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes[0, 0].set_ylabel("ROC AUC on validation")
    axes[1, 0].set_ylabel("accuracy")
    return figure


def describe_training(history: pd.DataFrame, reference: pd.DataFrame | None = None) -> str:
    """Alternative text of `training_curves`: where every arm ends, each seed at its own last epoch."""
    history = _checked(history)
    reference = _reached(history, reference)
    said = ["Training by epoch, final values (means over the seeds)"]
    for name in history["set"].unique():
        part = history[history["set"] == name]
        before = f"{name}: "
        for arm in part["arm"].unique():
            rows = part[part["arm"] == arm].reset_index(drop=True)
            last = rows.loc[rows.groupby("seed")["epoch"].idxmax()]
            ends = last[["val_metric", "val_accuracy", "train_accuracy"]].mean(skipna=False)
            metric, held, seen = ["no value" if np.isnan(end) else f"{end:.3f}" for end in ends]
            seeds, epochs = len(last), _range(last["epoch"], ".0f")
            said.append(
                f"{before}{arm} ({seeds} seed{'s' * (seeds > 1)}, {epochs} epoch{'s' * (epochs != '1')}) ROC AUC on "
                f"validation {metric}, accuracy {held} on validation and {seen} on training"
            )
            before = ""
        for row in reference[reference["set"] == name].itertuples():
            said.append(f"dotted, {row.words}: {row.value:.3f}")
        said += [f"{COMMONER}: accuracy {share:.3f}" for share in part["majority"].dropna().unique()]
    return "; ".join(said) + "."
