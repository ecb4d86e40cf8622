"""Figures of arms, curves, maps and pretrainings: what is drawn and written equals the data, and can be read."""

import drawn
import numpy as np
import pandas as pd
import pytest
from drawn import joined
from matplotlib.colors import to_hex
from refused import refused
from scores import frame

from ortholib.metrics import boxes as detection
from ortholib.metrics import curves
from ortholib.metrics.thresholds import decision_curve
from ortholib.report import figures
from ortholib.report.figures.labels import apart
from ortholib.report.figures.style import BLUE, LIGHT, png_bytes

NAN = float("nan")
N = 200
ARMS = ["DINO, own radiographs", "ImageNet ViT-S", "random initial weights"]
RANKS = {"DINO on radiographs, own": 1.6, "ImageNet": 2.2, "DINOv2": 2.7, "random initial weights, linear": 3.5}


def history(epochs: int = 30, knn: tuple = ("kneekl", "fracatlas")) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    grown = 1 - np.exp(-epoch / 10)
    table = pd.DataFrame({"epoch": epoch, "entropy": 8.5 - 5 * grown, "kl": 0.3 + 0.2 * grown, "used": 0.5 * grown})
    table = table.assign(
        spread=0.6 * grown, rankme=5 + 90 * grown, images_per_s=300.0, loss=table["entropy"] + table["kl"]
    )
    table["learning_rate"] = 5e-4 * np.minimum(epoch / 5, 1)
    return table.assign(**{f"knn_{name}": 0.5 + 0.01 * i + 0.2 * grown for i, name in enumerate(knn)})


def alarmed() -> pd.DataFrame:
    words = "collapse: the teacher's entropy 8.999 is that of no choice at all (ln K = 9.011)"
    return history().assign(alarm=["", words, words] + [""] * 27)


def points(k: int, n: int = 300) -> tuple[np.ndarray, pd.Series]:
    rng = np.random.default_rng(0)
    label = rng.integers(0, k, n)
    return rng.normal(size=(n, 2)) + np.column_stack([label, label % 2]), pd.Series([f"region {v:02d}" for v in label])


def scored() -> tuple[np.ndarray, dict]:
    rng = np.random.default_rng(0)
    y = (rng.random(N) < 0.2).astype(int)
    logits = {arm: rng.normal(d * y - 1.5, 1.0) for arm, d in zip(ARMS, (2.5, 1.5, 0.5), strict=True)}
    return y, {arm: 1 / (1 + np.exp(-z)) for arm, z in logits.items()}


def bands() -> pd.DataFrame:
    y, scores = scored()
    tables = []
    for arm, score in scores.items():
        tables.append(curves.curve_bands(frame(y, score), draws=40).assign(arm=arm))
    return pd.concat(tables)


def benefit() -> pd.DataFrame:
    y, scores = scored()
    return decision_curve(y, scores, np.arange(N) // 2, np.arange(2, 61) / 100, draws=40)


def froc() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    images = [f"i{i}" for i in range(60)]

    def boxes(count):
        corner = rng.uniform(0, 50, (count, 2)).round()
        table = pd.DataFrame(np.column_stack([corner, corner + 30]), columns=["x0", "y0", "x1", "y1"])
        return table.assign(image_id=rng.choice(images, count), score=rng.random(count))

    truths = boxes(40)
    tables = []
    for arm in ARMS[:2]:
        matches = detection.match(pd.concat([truths[:30].assign(score=0.7), boxes(200)]), truths, images)
        tables.append(detection.froc_table(matches, images, draws=40).assign(arm=arm))
    return pd.concat(tables)


def efficiency() -> pd.DataFrame:
    rows = [
        (arm, f, 0.9 - 0.1 * i + 0.05 * np.log10(f), 0.8 - 0.1 * i, 0.95 - 0.1 * i, int(28000 * f))
        for i, arm in enumerate(ARMS)
        for f in (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
    ]
    return pd.DataFrame(rows, columns=["arm", "fraction", "value", "low", "high", "n_train"])


def claims() -> pd.DataFrame:
    rows = [
        ("fracture, AUC", "FractuVision, YOLOv8", 0.92, NAN, NAN, "published", NAN, ""),
        ("fracture, AUC", "DINO on radiographs, fine-tuned", 0.913, 0.884, 0.938, "ours", 800, "not reproduced"),
        ("fracture, AUC", "an encoder that nobody brought", NAN, NAN, NAN, "ours", NAN, "not testable here"),
    ]
    return pd.DataFrame(rows, columns=["section", "label", "value", "low", "high", "kind", "n", "verdict"])


CHANCE = np.random.default_rng(1).beta(1, 4, 600)
HAPPENED = np.random.default_rng(2).random(600) < CHANCE
BANDS, BENEFIT, FROC = bands(), benefit(), froc()
ONE = BANDS[BANDS["arm"] == ARMS[0]].drop(columns="arm")

FIGURES = {
    "pretraining": lambda: figures.pretraining_panel(history(), 8113, 8192),
    "pretraining, alarm": lambda: figures.pretraining_panel(alarmed(), 8113, 8192),
    "pretraining, no neighbours": lambda: figures.pretraining_panel(history(knn=()), 8113, 8192),
    "pretraining, four sets": lambda: figures.pretraining_panel(
        history(600, ("kneekl", "fracatlas", "mura", "oai")), 8113, 8192
    ),
    "pretraining, one epoch": lambda: figures.pretraining_panel(history(1), 96, 64),
    "map": lambda: figures.embedding_map(*points(5), "component 1 (34 % of variance)", "component 2 (11 %)"),
    "map of twenty": lambda: figures.embedding_map(*points(20, 2000), "UMAP 1", "UMAP 2"),
    "map without labels": lambda: figures.embedding_map(points(2)[0], [None] * 300),
    "map of one point": lambda: figures.embedding_map([[0, 0]], ["a"]),
    "curves": lambda: figures.roc_pr(BANDS),
    "curves of one": lambda: figures.roc_pr(ONE),
    "curves, rare": lambda: figures.roc_pr(ONE.assign(prevalence=0.004)),
    "curves of seven": lambda: figures.roc_pr(pd.concat([ONE.assign(arm=f"{ARMS[0]}, seed {i}") for i in range(7)])),
    "benefit": lambda: figures.decision_curves(BENEFIT),
    "benefit of one": lambda: figures.decision_curves(BENEFIT[~BENEFIT["strategy"].isin(ARMS[1:])]),
    "froc": lambda: figures.froc_curve(FROC),
    "froc of one": lambda: figures.froc_curve(FROC[FROC["arm"] == ARMS[0]].drop(columns="arm")),
    "recalibration": lambda: figures.recalibration(CHANCE**2, CHANCE, HAPPENED, 1.83, (0.123, 0.021)),
    "ranks": lambda: figures.critical_difference(list(RANKS), list(RANKS.values()), 0.7, 12),
    "ranks, eleven": lambda: figures.critical_difference(
        [f"an arm with a name of its own, number {i}" for i in range(11)], np.linspace(1, 11, 11), 3.5, 30
    ),
    "ranks, too few": lambda: figures.critical_difference(["a", "b", "c"], [1, 2.5, 2.5], NAN, 2, "tasks"),
    "efficiency": lambda: figures.label_efficiency(efficiency(), "ROC AUC (test, n = 800 images)"),
    "efficiency, not run": lambda: figures.label_efficiency(
        efficiency()[:2].assign(value=NAN, low=NAN, high=NAN), "AUC"
    ),
    "verdicts": lambda: figures.interval_plot(claims(), "AUC, 95 % interval"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_inside_and_apart(name, monkeypatch):
    drawn.text_is_inside_and_apart(FIGURES[name](), monkeypatch)


@pytest.mark.parametrize("name", ["map of twenty", "curves", "pretraining, four sets"])
def test_pictures_are_light_and_the_same_every_time(name):
    first = png_bytes(FIGURES[name]())
    assert first == png_bytes(FIGURES[name]()) and len(first) <= LIGHT


def test_pretraining_draws_every_column():
    figure = FIGURES["pretraining"]()
    loss, near = figure.axes[:2]
    table = history()
    assert any(np.allclose(line.get_ydata(), table["loss"]) for line in loss.lines)
    assert any(np.allclose(line.get_ydata(), table["entropy"]) for line in loss.lines)
    assert any(np.allclose(line.get_ydata(), np.log(8192)) for line in loss.lines)
    for line, name in zip(near.lines, ("kneekl", "fracatlas"), strict=True):
        np.testing.assert_allclose(line.get_ydata(), table[f"knn_{name}"])
    for ax, column, factor in zip(figure.axes[2:], ("rankme", "spread", "used"), (1, 1, 100), strict=False):
        np.testing.assert_allclose(ax.lines[0].get_ydata(), factor * table[column])
    text = joined(figure)
    for words in (
        "30 epochs, 8,113 images",
        "fracatlas\n0.700",
        "peak 5.0e-04",
        "median 300",
        "13.6 → 90.5",
        "loss (nats)",
    ):
        assert words in text
    assert "alarm (2 epochs, 2–3): collapse" in joined(FIGURES["pretraining, alarm"]()).replace("\n", " ")
    alt = figures.describe_pretraining(alarmed())
    assert "effective rank 13.6 to 90.5" in alt and "nearest neighbours on kneekl, balanced accuracy" in alt
    assert "alarm (2 epochs, 2–3): collapse" in alt
    np.testing.assert_allclose(
        figures.pretraining_panel(table[::-1], 9, 64).axes[0].lines[1].get_ydata(), table["loss"]
    )  # whatever the order of rows


def test_map_counts_classes_and_says_what_neighbours_share():
    place, label = points(5)
    figure = figures.embedding_map(place, label)
    sizes = label.value_counts()
    text = joined(figure) + "\n".join(t.get_text() for legend in figure.legends for t in legend.get_texts())
    for name, n in sizes.items():
        assert f"{name} (n = {n})" in text
    shown = sum(len(c.get_offsets()) for c in figure.axes[0].collections if not np.ma.is_masked(c.get_offsets()))
    assert shown == 300
    distance = np.linalg.norm(place[:, None] - place, axis=2) + np.diag(np.full(300, np.inf))
    near = np.argsort(distance, axis=1)[:, :10]
    share = (label.to_numpy()[near] == label.to_numpy()[:, None]).mean()
    chance = (sizes * (sizes - 1)).sum() / (300 * 299)
    said = f"of the 10 nearest points on the map {100 * share:.0f} % share the class, by chance {100 * chance:.0f} %"
    assert said in text and said in figures.describe_embedding(place, label)
    looks = {(to_hex(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in _legend_points(20)}
    assert len(looks) == 20  # every class of twenty has a pair of colour and shape of its own
    label[:40] = None
    assert "40 without label" in figures.describe_embedding(place, label)
    ordered = pd.Series(pd.Categorical(label, categories=sorted(label.dropna().unique(), reverse=True)))
    assert figures.describe_embedding(place, ordered).startswith("Map of 300 images: region 04")
    twins = np.zeros((30, 2))  # copies do not count as their own neighbours
    assert "share the class" in figures.describe_embedding(twins, ["a", "b"] * 15)
    for wrong, match in (
        ((place[:3], label), "3, 2"),
        ((np.full((2, 2), NAN), ["a", "b"]), "2 points are not finite"),
        ((place, range(300)), "300 classes"),
        ((np.empty((0, 2)), []), "n > 0"),
    ):
        refused(match, figures.embedding_map, *wrong)


def _legend_points(k: int):
    axes = figures.embedding_map(*points(k, 2000)).axes[0]
    return [c for c in axes.collections if c.get_label().startswith("region")]


def test_curves_are_those_of_the_table():
    figure = FIGURES["curves of one"]()
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), ONE.loc[ONE["curve"] == "roc", "y"])
    np.testing.assert_allclose(right.lines[0].get_ydata(), ONE.loc[ONE["curve"] == "pr", "y"])
    prevalence = scored()[0].mean()
    assert list(right.lines[1].get_ydata()) == [prevalence] * 2 and to_hex(left.lines[0].get_color()) == BLUE.lower()
    text = joined(figure)
    assert f"prevalence {100 * prevalence:.1f} %" in text and "n = 200 images of 100 groups" in text
    legend = FIGURES["curves"]().legends[0]
    assert [t.get_text() for t in legend.get_texts()] == ARMS
    row = ONE[(ONE["curve"] == "roc") & np.isclose(ONE["x"], 0.1)].iloc[0]
    assert f"specificity 0.90 {row['y']:.3f} [{row['low']:.3f}, {row['high']:.3f}]" in figures.describe_curves(BANDS)
    refused("different n", figures.roc_pr, pd.concat([ONE.assign(arm="a"), ONE.assign(arm="b", n=7)]))
    refused("8 arms", figures.roc_pr, pd.concat([ONE.assign(arm=i) for i in range(8)]))


def test_benefit_is_drawn_for_a_hundred_and_told_where_it_helps():
    ax = FIGURES["benefit"]().axes[0]
    for line, arm in zip(ax.lines, ARMS, strict=False):
        np.testing.assert_allclose(line.get_ydata(), 100 * BENEFIT.loc[BENEFIT["strategy"] == arm, "net_benefit"])
    text = joined(FIGURES["benefit"]())
    assert "acting on all" in text and "acting on none" in text and ARMS[2] in text
    thresholds = np.array([0.1, 0.2, 0.3])
    table = decision_curve([1, 0, 0, 0, 0], {"perfect": [1, 0, 0, 0, 0]}, range(5), thresholds, draws=5)
    assert "perfect is above acting on all and on none at 3 of 3" in figures.describe_decision(table)
    nothing = decision_curve([1, 0, 0, 0, 0], {"all again": np.ones(5)}, range(5), thresholds, draws=5)
    assert "all again is above acting on all and on none at no threshold" in figures.describe_decision(nothing)


def test_froc_and_efficiency_are_those_of_the_tables():
    line = next(line for line in FIGURES["froc of one"]().axes[0].lines if len(line.get_xdata()) == 7)
    np.testing.assert_allclose(line.get_ydata(), FROC.loc[FROC["arm"] == ARMS[0], "sensitivity"])
    assert "n = 60 images, 40 boxes to find" in joined(FIGURES["froc"]()) and "at 0.125" in figures.describe_froc(FROC)
    figure = FIGURES["efficiency"]()
    table = efficiency()
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), table.loc[table["arm"] == ARMS[1], "value"])
    assert "1 %\nn = 280" in joined(figure) and "100 %\nn = 28,000" in joined(figure)
    assert f"not run: {ARMS[0]}" in joined(FIGURES["efficiency, not run"]())
    alt = figures.describe_efficiency(table, "AUC")
    assert "DINO, own radiographs: 1 % (n = 280) 0.800 [0.800, 0.950], 5 % (n = 1,400)" in alt
    assert "1 % (n = 280) not run" in figures.describe_efficiency(table[:1].assign(value=NAN), "AUC")
    refused("expected above 0, up to 1", figures.label_efficiency, table.assign(fraction=10), "AUC")


def test_bars_join_the_arms_that_are_less_than_the_critical_difference_apart():
    figure = FIGURES["ranks"]()
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 3.5]
    assert len(bars) == 2  # 1.6 to 2.2, and 2.2 to 2.7; 3.5 stands alone
    assert figures.describe_ranks(list(RANKS), list(RANKS.values()), 0.7, 12) == (
        "Mean ranks over 12 body parts, 1 is best: DINO on radiographs, own 1.60, ImageNet 2.20, DINOv2 2.70, random "
        "initial weights, linear 3.50; critical difference 0.70; not told apart: DINO on radiographs, own to ImageNet; "
        "ImageNet to DINOv2."
    )
    # exactly the critical difference is a difference
    assert "all told apart" in figures.describe_ranks(["a", "b"], [1, 2], 1.0, 9)
    assert "1 is best: b 1.00, a 2.00" in figures.describe_ranks(["a", "b"], [2, 1], 0.5, 9)
    assert "no critical difference: too few blocks (2 tasks, 3 arms)" in joined(FIGURES["ranks, too few"]())
    for wrong in ((["a"], [1.0]), (["a", "b"], [1.0]), (["a", "b"], [1.0, NAN]), (["a", "b"], [0.5, 2])):
        refused("critical difference", figures.critical_difference, *wrong, 1.0, 9)


def test_recalibration_shows_both_and_says_so():
    before, after, right = np.array([0.05, 0.1, 0.95, 1.0]), np.array([0.3, 0.3, 0.95, 1.0]), np.array([0, 1, 1, 1])
    figure = figures.recalibration(before, after, right, 1.83, (0.213, 0.121))
    (first, second), (bars, _) = figure.axes[:2], figure.axes[2:]
    assert [bar.get_height() for bar in bars.patches] == [1, 1, *[0] * 12, 2]
    np.testing.assert_allclose(first.lines[1].get_xydata(), [[0.05, 0], [0.1, 1], [0.975, 1]])
    np.testing.assert_allclose(second.lines[1].get_xydata(), [[0.3, 0.5], [0.975, 1]])
    low, high = second.collections[0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((0.0945, 0.9055), abs=1e-3)  # Wilson's interval of 1 in 2
    text = joined(figure)
    assert "before: ECE 0.213 (15 bins)" in text and "after, T = 1.83: ECE 0.121 (15 bins)" in text and "n = 4" in text
    alt = figures.describe_recalibration(before, after, right, 1.83, (0.213, 0.121))
    assert "observed frequency 0.750" in alt and "0.213 before, 0.121 after" in alt
    for wrong in (([0.5], [1, 0]), ([], []), ([1.5], [1]), ([NAN], [1])):
        refused("reliability", figures.recalibration, wrong[0], *wrong, 1.0, (0.1, 0.1))


def test_verdicts_stand_below_the_values():
    text = joined(FIGURES["verdicts"]())
    assert "0.913 [0.884, 0.938]\nnot reproduced" in text and "not run\nnot testable here" in text
    assert "ours 0.913 [0.884, 0.938] (not reproduced)" in figures.describe_intervals(claims())


def test_names_move_apart_as_little_as_needed():
    np.testing.assert_allclose(apart(np.array([0.1, 0.5, 0.9]), 0.1, 0, 1), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(apart(np.array([0.5, 0.5]), 0.1, 0, 1), [0.45, 0.55])
    np.testing.assert_allclose(apart(np.array([0.9, 0.0, 0.02]), 0.1, 0, 1), [0.9, 0, 0.1])
    np.testing.assert_allclose(apart(np.array([1.0, 1.0, 1.0]), 0.1, 0, 1), [0.8, 0.9, 1.0])
    crowded = apart(np.linspace(0.4, 0.6, 30), 0.1, 0, 1)
    assert crowded.min() >= 0 and crowded.max() <= 1 + 1e-12 and (np.diff(crowded) > 0).all()


def covered() -> tuple[pd.DataFrame, float]:
    rng = np.random.default_rng(0)
    centre = rng.normal(0.8, 0.03, (120, 2))
    rows = [(s, m, centre[s, i] - w, centre[s, i] + w) for s in range(120) for i, (m, w) in enumerate(METHODS.items())]
    return pd.DataFrame(rows, columns=["set", "method", "low", "high"]), 0.8


METHODS = {"clustered bootstrap": 0.06, "bootstrap of images": 0.03}


def test_coverage_counts_all_sets_and_shows_the_first(monkeypatch):
    table, truth = covered()
    inside = ((table["low"] <= truth) & (table["high"] >= truth)).groupby(table["method"]).sum()
    figure = figures.coverage(table, truth)
    alt = figures.describe_coverage(table, truth)
    for method in METHODS:
        assert f"{method}: {inside[method]} of 120 hold the truth" in joined(figure)
        assert f"{method}: {inside[method]} of 120 ({inside[method] / 120:.1%})" in alt
    for ax, method in zip(figure.axes, METHODS, strict=True):
        hold, miss = (len(lines.get_segments()) for lines in ax.collections)
        rows = table[table["method"] == method].head(100)
        assert hold == ((rows["low"] <= truth) & (rows["high"] >= truth)).sum() and hold + miss == 100
    drawn.text_is_inside_and_apart(figure, monkeypatch)
    refused("4 methods", figures.coverage, pd.concat([table, table.assign(method=table["method"] + " again")]), truth)


def test_no_line_of_a_forest_ends_within_its_n():
    row = {"label": "resnet18, random weights, most probable grade", "value": 0.7, "low": 0.6, "high": 0.8, "n": 1656}
    words = joined(figures.interval_plot(pd.DataFrame([row | {"kind": "ours"}])))
    assert "grade\n(n = 1,656)" in words


def test_the_learning_curve_marks_one_epoch_a_seed_though_indexes_repeat():
    rows = {"epoch": [1, 2, 3], "train_loss": [3, 2, 1], "val_loss": [3, 2, 1]}
    scores = {0: [0.1, 0.7, 0.6], 1: [0.1, 0.3, 0.8]}
    table = pd.concat([pd.DataFrame(rows | {"val_metric": score, "seed": seed}) for seed, score in scores.items()])
    figure = figures.learning_curve(table, "quadratic κ")
    assert figure.axes[1].lines[-1].get_xydata().tolist() == [[2, 0.7], [3, 0.8]]
    assert "best epoch 2–3: 0.700–0.800, 2 seeds" in joined(figure)
