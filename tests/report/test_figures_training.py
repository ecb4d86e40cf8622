"""Figures of trainings and of differences: lines are the given values, marks say what intervals hold, words tell it."""

import drawn
import numpy as np
import pandas as pd
import pytest
from drawn import joined, written
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from refused import refused

from ortholib.report import figures
from ortholib.report.figures.labels import LINES

NAN = float("nan")
SETS = ["FracAtlas, fracture", "kneeKL224, osteoarthritis (KL 2 or more)"]
ARMS = ["DINO + SL", "random + SL", "DINO-Ortho + SL"]
LONG = [
    "DINO + DINO-Ortho + SL, test images unseen",
    "DINO + DINO-Ortho + SL, test images seen",
    "DINO-Ortho + SL, test images unseen",
    "DINO + DINO-Ortho, frozen, test images unseen",
    "DINO + SL, a hundred epochs, test images unseen",
    "random + SL",
]


def history(sets=SETS, arms=ARMS, seeds: int = 3, epochs: int = 20) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    tables = []
    for place, name in enumerate(sets):
        for number, arm in enumerate(arms):
            for seed in range(seeds):
                grown = 1 - np.exp(-np.arange(1, epochs + 1) / (4 + 3 * number))
                table = pd.DataFrame({"set": name, "arm": arm, "seed": seed, "epoch": np.arange(1, epochs + 1)})
                table["train_accuracy"] = 0.6 + 0.35 * grown + rng.uniform(0, 0.02, epochs)
                table["val_accuracy"] = 0.6 + 0.2 * grown + rng.uniform(0, 0.02, epochs)
                table["val_metric"] = 0.6 + 0.25 * grown - 0.03 * place + rng.uniform(0, 0.02, epochs)
                tables.append(table.assign(majority=0.62 - 0.05 * place))
    return pd.concat(tables)


def reached(arm: str = "random + SL") -> pd.DataFrame:
    return pd.DataFrame({"set": SETS, "value": [0.851, 0.807], "arm": arm})


def steps() -> pd.DataFrame:
    rows = [
        ("knees", f"{LONG[0]} − random + SL", 0.012, -0.010, 0.034, 0.031, 800),
        ("knees", "DINO + SL − random + SL", 0.041, 0.018, 0.064, 0.031, 800),
        ("knees", "DINO-Ortho + SL − DINO + SL", -0.029, -0.050, -0.008, 0.031, 800),
        ("fractures", "DINO + SL − random + SL", 0.002, NAN, NAN, 0.055, 1412),
        ("fractures", f"{LONG[0]} − {LONG[1]}", NAN, NAN, NAN, NAN, NAN),
    ]
    return pd.DataFrame(rows, columns=["section", "label", "difference", "low", "high", "detectable", "n"])


PLAIN = ["label", "difference", "low", "high"]
FIGURES = {
    "two sets": lambda: figures.training_curves(history(), reached()),
    "one set": lambda: figures.training_curves(history(SETS[:1])),
    "long names": lambda: figures.training_curves(history(arms=LONG), reached(LONG[0])),
    "one epoch": lambda: figures.training_curves(history(arms=ARMS[:1], seeds=1, epochs=1), reached()),
    "lines near each other": lambda: figures.training_curves(
        history(), pd.concat([reached(), reached(LONG[0]), reached(None)])
    ),
    "differences": lambda: figures.difference_plot(steps()),
    "differences, plain": lambda: figures.difference_plot(steps()[PLAIN]),
    "differences, one": lambda: figures.difference_plot(steps()[1:2]),
    "differences, none": lambda: figures.difference_plot(steps()[4:]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_inside_and_apart(name, monkeypatch):
    drawn.text_is_inside_and_apart(FIGURES[name](), monkeypatch)


def thick(ax, color: str) -> list:
    return [line for line in ax.lines if line.get_linewidth() == 1.6 and line.get_color() == color]


def test_training_draws_every_seed_and_their_mean():
    table = history()
    figure = figures.training_curves(table.sample(frac=1, random_state=0).sort_values("set", kind="stable"))
    arms = [text.get_text() for text in figure.legends[0].get_texts() if text.get_text() in ARMS]
    colors = dict(
        zip(
            pd.unique(table.sample(frac=1, random_state=0).sort_values("set", kind="stable")["arm"]),
            LINES,
            strict=False,
        )
    )
    assert sorted(arms) == sorted(ARMS)
    for column, name in enumerate(SETS):
        upper, lower = figure.axes[column], figure.axes[2 + column]
        assert upper.get_title(loc="left") == name
        for arm in ARMS:
            rows = table[(table["set"] == name) & (table["arm"] == arm)]
            mean = rows.groupby("epoch")[["val_metric", "train_accuracy", "val_accuracy"]].mean()
            color = colors[arm]["color"]
            (metric,), (train, held) = thick(upper, color), thick(lower, color)
            for line, values in ((metric, "val_metric"), (train, "train_accuracy"), (held, "val_accuracy")):
                np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 21))
                np.testing.assert_allclose(line.get_ydata(), mean[values])
            assert train.is_dashed() and not held.is_dashed() and not metric.is_dashed()
            assert train.get_markerfacecolor() == "white" and held.get_markerfacecolor() == color
            thin = [
                line.get_ydata() for line in upper.lines if line.get_linewidth() == 0.6 and line.get_color() == color
            ]
            seeds = [rows.loc[rows["seed"] == seed, "val_metric"] for seed in range(3)]
            np.testing.assert_allclose(thin, seeds)
    assert (
        figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
        and figure.axes[2].get_ylim() == figure.axes[3].get_ylim()
    )
    assert len(figure.legends) == 1 and "one seed (thick: mean of 3)" in joined(figure)
    assert "one seed" not in joined(figures.training_curves(history(seeds=1)))


def test_training_shows_what_is_to_be_reached_and_what_needs_no_image():
    figure = figures.training_curves(history(), reached())
    for ax, lower, value, share in zip(figure.axes[:2], figure.axes[2:], (0.851, 0.807), (0.62, 0.57), strict=True):
        assert any(list(line.get_ydata()) == [value] * 2 and line.get_color() == LINES[1]["color"] for line in ax.lines)
        assert any(np.allclose(line.get_ydata(), share) for line in lower.lines)
        assert f"{value:.3f}: final value of random + SL" in joined(figure) and f"{value:.3f}" in written(figure)
    assert "always the commoner class" in joined(figure)
    bare = joined(figures.training_curves(history().drop(columns="majority"), reached().drop(columns="arm")))
    assert "commoner" not in bare and "0.851: value to be reached" in bare
    above = figures.training_curves(history(), reached().assign(value=0.99)).axes[0]
    assert above.get_ylim()[1] > 0.99  # though no arm comes near


def test_a_mean_ends_where_its_first_seed_does():
    table = history(SETS[:1], ARMS[:1])
    table = table[(table["seed"] != 1) | (table["epoch"] <= 12)]
    (mean,) = thick(figures.training_curves(table).axes[0], LINES[0]["color"])
    assert np.isfinite(mean.get_ydata()).sum() == 12
    last = table.loc[table["epoch"] == table.groupby("seed")["epoch"].transform("max"), "val_metric"].mean()
    said = figures.describe_training(table)
    assert f"{ARMS[0]} (3 seeds, 12–20 epochs) ROC AUC on validation {last:.3f}" in said


def test_training_is_told_by_its_final_values():
    table = history()
    alt = figures.describe_training(table, reached())
    ends = table[table["epoch"] == 20].groupby(["set", "arm"])[["val_metric", "val_accuracy", "train_accuracy"]].mean()
    for (_, arm), (metric, held, seen) in ends.iterrows():
        assert (
            f"{arm} (3 seeds, 20 epochs) ROC AUC on validation {metric:.3f}, accuracy {held:.3f} on validation and "
            f"{seen:.3f} on training" in alt
        )
    assert f"{SETS[1]}: {ARMS[0]} (3 seeds" in alt and "final value of random + SL: 0.807" in alt
    assert "always the commoner class: accuracy 0.570" in alt
    assert "ROC AUC on validation no value" in figures.describe_training(table.assign(val_metric=NAN))
    figures.training_curves(table.assign(val_metric=NAN)).draw_without_rendering()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (lambda: (history().drop(columns="val_metric"),), "no column val_metric"),
        (lambda: (history()[:0],), "no row"),
        (lambda: (history().assign(seed=NAN),), "an epoch incomplete: 360 of 360 rows, first set FracAtlas"),
        (lambda: (history(sets=["a", "b", "c"]),), "3 of set: a, b, c; at most 2"),
        (lambda: (history(arms=list("abcdefgh")),), "8 of arm"),
        (lambda: (history().assign(val_accuracy=83.0),), "val_accuracy 83.0; expected 0 to 1"),
        (lambda: (pd.concat([history(), history()[:1]]),), "there twice: .* arm DINO .* epoch 1; expected"),
        (
            lambda: (history().assign(majority=lambda rows: rows["val_metric"]),),
            "values of majority: .*; expected one a set",
        ),
        (lambda: (history(SETS[:1]), reached()), "a set without history: .* first set kneeKL224"),
        (lambda: (history(), reached().drop(columns="value")), "no column value"),
        (lambda: (history(), reached().assign(value=NAN)), "no ROC AUC: .* value nan"),
    ],
)
def test_trainings_that_cannot_be_drawn_are_refused(wrong, match):
    for make in (figures.training_curves, figures.describe_training):
        refused(match, make, *wrong())


def marks(figure) -> list[tuple[float, str, str]]:
    """Value, shape and filling of each point, from top to bottom."""
    points = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", "", None)]
    points.sort(key=lambda line: line.get_ydata()[0])
    return [(line.get_xdata()[0], line.get_marker(), to_hex(line.get_markerfacecolor())) for line in points]


def test_differences_are_open_where_their_interval_holds_zero():
    table = steps()
    figure = FIGURES["differences"]()
    (_, a, one), (_, b, two), (_, c, three), (_, d, four) = marks(figure)
    assert [value for value, _, _ in marks(figure)] == list(table["difference"][:4])
    assert a == b == c == "o" != d and one == "#ffffff" and two == three != one and four != one
    bars = [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_linewidth() == 1.3]
    assert bars == table[["low", "high"]][:3].to_numpy().tolist()  # none where there is no interval
    zero = next(line for line in figure.axes[0].lines if len(line.get_xdata()) == 3 * len(table))
    assert np.nanmax(np.abs(zero.get_xdata())) == 0
    bands = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    np.testing.assert_allclose(
        [(p.get_x(), p.get_x() + p.get_width()) for p in bands], [(-0.031, 0.031)] * 3 + [(-0.055, 0.055)]
    )
    text = joined(figure)
    for words in (
        "+0.012 [−0.010, +0.034]",
        "−0.029 [−0.050, −0.008]",
        "not computed",
        "interval leaves out 0",
        "interval holds 0",
        "no interval",
        "smaller than this test set could show (80 % power)",
        "(n = 1,412)",
        "knees",
    ):
        assert words in text
    assert "+0.002" in written(figure) and "-" not in text.replace("DINO-Ortho", "")
    plain = joined(FIGURES["differences, plain"]())
    assert "could show" not in plain and "n = " not in plain
    for low, high in ((0.0, 0.02), (-0.02, 0.0)):  # 0 at an end is inside
        ((_, _, fill),) = marks(figures.difference_plot(table[:1].assign(low=low, high=high)))
        assert fill == "#ffffff"


def test_differences_are_told_in_words():
    alt = figures.describe_differences(steps())
    assert (
        "knees: DINO + SL − random + SL (n = 800) +0.041 [+0.018, +0.064], interval leaves out 0, the test set" in alt
    )
    assert "could show 0.031 (80 % power)" in alt and "+0.034], interval holds 0" in alt
    assert "(n = 1,412) +0.002, no interval" in alt and alt.endswith(f"{LONG[0]} − {LONG[1]} not computed.")


@pytest.mark.parametrize("make", [figures.difference_plot, figures.describe_differences])
def test_differences_that_cannot_be_drawn_are_refused(make):
    for wrong, match in (
        (steps().drop(columns="low"), "no column low"),
        (steps()[:0], "no row"),
        (steps()[:1].assign(low=0.5), "low above high: 1 of 1 rows, first label DINO"),
        (steps()[:1].assign(detectable=-0.1), "detectable below 0: .* expected 0 or more"),
    ):
        refused(match, make, wrong)
