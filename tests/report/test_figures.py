"""Figures: the text in them equals the data, nothing overlaps, equal input gives equal bytes, alt text is escaped."""

import base64
import io
import re

import drawn
import numpy as np
import pandas as pd
import pytest
from drawn import joined, written
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from PIL import Image
from refused import refused

from ortholib.errors import OrthoError, UsageError
from ortholib.report import figures
from ortholib.report.figures.style import BLUE, ORANGE

NAN = float("nan")
KNEES = {"train": [1812, 858, 1181, 592, 135], "val": [328, 153, 212, 106, 27], "test": [639, 296, 447, 223, 51]}


def knees() -> pd.DataFrame:
    rows = [(part, f"KL {grade}", n) for part, counts in KNEES.items() for grade, n in enumerate(counts)]
    return pd.DataFrame(rows, columns=["part", "class", "n"])


def regions() -> pd.DataFrame:
    counts = {"hand": (437, 1101), "leg": (263, 2010), "hip": (63, 275), "mixed": (0, 12)}
    rows = [(region, label, n) for region, pair in counts.items() for label, n in zip(("yes", "no"), pair, strict=True)]
    return pd.DataFrame(rows, columns=["region", "label", "n"])


def stages() -> list[dict]:
    parts = [("training", 2800, 2710, 494), ("validation", 400, 388, 71), ("test", 800, None, None)]
    return [
        {"label": "FracAtlas as published", "n": 4083, "excluded": [("cannot be decoded", 59)]},
        {"label": "Readable", "n": 4024, "groups": 3870, "excluded": [("copies", 21), ("conflicting copies", 3)]},
        {"label": "Analysed radiographs of the hand, leg, hip and shoulder, first visit", "n": 4000, "parts": parts},
    ]


def history(seeds: int = 1, epochs: int = 12) -> pd.DataFrame:
    epoch = np.tile(np.arange(1, epochs + 1), seeds)
    seed = np.repeat(np.arange(seeds), epochs)
    metric = 0.8 - 0.01 * (epoch - 7.0) ** 2 + 0.001 * seed
    return pd.DataFrame(
        {"epoch": epoch, "seed": seed, "train_loss": 1 / epoch, "val_loss": 0.3 + 1 / epoch, "val_metric": metric}
    )


def recalls() -> pd.DataFrame:
    rows = [("KL 0", 0.845, 0.817, 0.873, 639), ("KL 4", 0.824, 0.719, 0.928, 51)]
    return pd.DataFrame(rows, columns=["name", "value", "low", "high", "n"])


def evidence() -> pd.DataFrame:
    rows = [
        ("fracture, AUC", "DINO on radiographs, fine-tuned", 0.913, 0.884, 0.938, "ours", 800),
        ("fracture, AUC", "a radiology encoder that nobody brought, with a linear probe", NAN, NAN, NAN, "ours", NAN),
        ("fracture, AUC", "YOLOv8s-cls", 0.92, NAN, NAN, "published", NAN),
        ("knee grade, quadratic κ", "DenseNet ensemble", 0.83, 0.81, 0.85, "published", 5960),
        ("knee grade, quadratic κ", "two readers", 0.86, 0.84, 0.88, "anchor", 150),
    ]
    return pd.DataFrame(rows, columns=["section", "label", "value", "low", "high", "kind", "n"])


def radiographs(count: int, size: int, grain: float = 10) -> np.ndarray:
    random = np.random.default_rng(0)
    across = np.exp(-((np.linspace(-1, 1, size) / 0.4) ** 4))
    return np.clip(150 * across + grain * random.normal(size=(count, size, size)), 0, 255).astype(np.uint8)


OTHER = pd.DataFrame({"other": [1]})
MATRIX = np.array([[540, 60, 37], [150, 70, 74], [2, 65, 490]])
ONE_BOX = [np.array([[20, 10, 60, 50]]), np.zeros((0, 4))]

FIGURES = {
    "classes": lambda: figures.class_counts(knees()),
    "classes of one part": lambda: figures.class_counts(knees()[:5]),
    "classes, two parts": lambda: figures.class_counts(knees()[:10]),
    "classes of six parts": lambda: figures.class_counts(
        pd.concat([knees(), knees().assign(part=lambda table: table["part"] + " 2")])
    ),
    "classes, one": lambda: figures.class_counts(pd.DataFrame({"part": ["train"], "class": ["KL 0"], "n": [7]})),
    "classes, none": lambda: figures.class_counts(pd.DataFrame({"part": ["train"], "class": ["KL 0"], "n": [0]})),
    "regions": lambda: figures.counts_by(regions(), "yes"),
    "regions, no finding": lambda: figures.counts_by(regions(), "never"),
    "regions, zero": lambda: figures.counts_by(regions().assign(n=0), "yes"),
    "grid": lambda: figures.sample_grid(radiographs(4, 96), ["hand, fractured, 2 boxes"] * 4, columns=3),
    "grid of one": lambda: figures.sample_grid(radiographs(1, 64), ["hip"]),
    "flow": lambda: figures.flow(stages(), groups="duplicate groups", positives="fractured"),
    "flow of one": lambda: figures.flow([{"label": "Knees", "n": 0}]),
    "flow, four parts": lambda: figures.flow(
        [
            {"label": "Visits", "n": 9},
            {"label": "Knees", "n": 9, "excluded": [("no grade", 1)], "parts": [(name, 2, 2, 0) for name in "abcd"]},
        ]
    ),
    "flow, excluded last": lambda: figures.flow([{"label": "Knees", "n": 9, "excluded": [("no grade", 9)]}]),
    "learning": lambda: figures.learning_curve(history(), "quadratic κ (validation, n = 826)"),
    "learning, seeds": lambda: figures.learning_curve(
        history(4).assign(learning_rate=3e-4), "quadratic κ (validation, n = 826)"
    ),
    "learning, one epoch": lambda: figures.learning_curve(history(1, 1), "AUC"),
    "learning, no metric": lambda: figures.learning_curve(history().assign(val_metric=NAN), "AUC"),
    "confusion": lambda: figures.confusion(MATRIX, ["KL 0", "KL 1", "KL 2"]),
    "confusion, empty row": lambda: figures.confusion([[0, 0], [3, 900]], ["fractured", "not fractured"]),
    "confusion of one": lambda: figures.confusion([[5]], ["KL 0"]),
    "confusion of ten": lambda: figures.confusion(np.full((10, 10), 1234), [f"region {row}" for row in range(10)]),
    "recall": lambda: figures.recall_bars(recalls()),
    "recall, no interval": lambda: figures.recall_bars(recalls().assign(low=NAN, high=NAN)),
    "recall, no value": lambda: figures.recall_bars(recalls().assign(value=NAN, low=NAN, high=NAN, n=0)[:1]),
    "intervals": lambda: figures.interval_plot(evidence(), "AUC or quadratic κ, 95 % interval"),
    "intervals, one row": lambda: figures.interval_plot(evidence()[:1].drop(columns=["section", "n"])),
    "intervals, nothing run": lambda: figures.interval_plot(evidence()[1:2]),
}


def png_of(picture) -> bytes:
    return base64.b64decode(re.search(r"base64,([^\"]+)", picture.data)[1])


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_inside_and_apart(name, monkeypatch):
    drawn.text_is_inside_and_apart(FIGURES[name](), monkeypatch)


@pytest.mark.parametrize("name", ["flow", "recall", "intervals"])
def test_equal_input_gives_equal_bytes(name, tmp_path):
    for run in "ab":
        figures.show(FIGURES[name](), tmp_path / run, "figure", "what it shows")
    for kind in ("png", "svg"):
        first, second = ((tmp_path / run / f"figure.{kind}").read_bytes() for run in "ab")
        assert first == second
        assert 0 < len(first) < 120_000
    assert b"date" not in (tmp_path / "a" / "figure.svg").read_bytes().lower()


def test_show_escapes_and_carries_alt_and_caption(tmp_path):
    alt, caption = 'AUC < 0.9 & "n" = 12', "κ <b>within</b> 5 %"
    picture = figures.show(FIGURES["recall"](), tmp_path / "new", "recall", alt, caption)
    page = picture._repr_html_()
    assert 'alt="AUC &lt; 0.9 &amp; &quot;n&quot; = 12"' in page
    assert "<figcaption>κ &lt;b&gt;within&lt;/b&gt; 5 %</figcaption>" in page
    assert page.startswith("<figure") and page.endswith("</figure>")
    assert repr(picture) == f"Figure: {alt}"
    assert png_of(picture) == (tmp_path / "new" / "recall.png").read_bytes()
    assert Image.open(io.BytesIO(png_of(picture))).size[0] == 980
    assert "figcaption" not in figures.show(FIGURES["recall"](), None, "recall", alt).data
    with pytest.raises(UsageError, match="recall: the alternative text is empty"):
        figures.show(FIGURES["recall"](), None, "recall", " ")


def test_show_closes_pyplot_figures_and_leaves_settings_alone():
    before = dict(plt.rcParams)
    figure, ax = plt.subplots()
    ax.plot([1, 2])
    figures.show(figure, None, "line", "a line")
    FIGURES["learning"]()
    assert plt.get_fignums() == []
    assert dict(plt.rcParams) == before


def test_class_counts_are_written_with_their_share():
    text = joined(FIGURES["classes"]())
    for part, counts in KNEES.items():
        assert f"{part}, n = {sum(counts):,}" in text
        for n in counts:
            assert f"{n:,} · {100 * n / sum(counts):.1f} %" in text
    assert "0 · –" in joined(FIGURES["classes, none"]())
    assert figures.describe_counts(knees()[:5]).startswith("train, 4,578 images: KL 0 1,812 (39.6 %), KL 1 858")


def test_counts_by_writes_the_prevalence():
    text = joined(FIGURES["regions"]())
    assert "437 of 1,538 · 28.4 %" in text and "0 of 12 · 0.0 %" in text
    assert "n = 4,161, yes 18.3 %" in text
    assert "0 of 1,538 · 0.0 %" in joined(FIGURES["regions, no finding"]())


def test_flow_writes_every_number_and_refuses_sums_that_do_not_agree():
    text = joined(FIGURES["flow"]())
    for words in ("4,083 images", "59 cannot be decoded", "4,024 images, 3,870 duplicate groups", "excluded, n = 24"):
        assert words in text
    assert "494 fractured (17.6 %)" in text and "800 images" in text
    with pytest.raises(OrthoError, match="4,024 after its exclusions, but 4,020 follow"):
        figures.flow([stages()[0], {"label": "Readable", "n": 4020}])
    refused("not the last stage", figures.flow, [stages()[2], {"label": "again", "n": 4000}])
    refused("no stage", figures.flow, [])


@pytest.mark.parametrize("name", [name for name in FIGURES if name.startswith("flow")])
def test_flow_boxes_stay_apart(name):
    boxes = [patch.get_bbox() for patch in FIGURES[name]().axes[0].patches if isinstance(patch, Rectangle)]
    for index, box in enumerate(boxes):
        assert 0 <= box.x0 < box.x1 <= 7
        for other in boxes[index + 1 :]:
            wide = min(box.x1, other.x1) - max(box.x0, other.x0)
            high = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert wide < -0.1 or high < -0.1


def test_grid_draws_boxes_where_asked():
    figure = figures.sample_grid(radiographs(2, 96, grain=0), ["with", "without"], ONE_BOX, columns=2)
    first, second = figure.axes
    (box,) = [patch for patch in first.patches if isinstance(patch, Rectangle)]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (20, 10, 40, 40)
    assert not second.patches
    assert first.images[0].get_extent() == [0, 96, 96, 0]
    picture = figures.show(figure, None, "grid", "two")
    # the outline keeps its colour through the reduction of colours
    pixels = np.asarray(Image.open(io.BytesIO(png_of(picture))).convert("RGB"), float) / 255
    assert (np.abs(pixels - to_rgb(ORANGE)).max(axis=2) < 0.05).sum() > 300


def test_grainy_grid_stays_light_and_keeps_white_and_orange():
    boxes = [np.array([[50, 50, 150, 150]])] * 12
    picture = figures.show(figures.sample_grid(radiographs(12, 224), ["hand"] * 12, boxes), None, "grid", "twelve")
    assert len(png_of(picture)) < 120_000
    pixels = np.asarray(Image.open(io.BytesIO(png_of(picture))).convert("RGB"), float) / 255
    assert (pixels[2, 2] == 1).all()
    assert (np.abs(pixels - to_rgb(ORANGE)).max(axis=2) < 0.06).sum() > 1000


def test_learning_curve_marks_the_best_validation_epoch():
    assert "best epoch 7: 0.800" in joined(FIGURES["learning"]())
    several = FIGURES["learning, seeds"]()
    assert "best epoch 7: 0.800–0.803, 4 seeds" in joined(several)
    assert len(several.axes) == 3
    drawn = [line for line in several.axes[1].lines if len(line.get_xdata()) == 12]
    assert len(drawn) == 4
    assert "no value on validation" in joined(FIGURES["learning, no metric"]())


def test_confusion_cells_sum_to_the_totals():
    figure = FIGURES["confusion"]()
    cells = [text.get_text().split("\n") for text in figure.axes[0].texts if "\n" in text.get_text()]
    counts = np.array([int(count.replace(",", "")) for count, _ in cells]).reshape(3, 3)
    assert (counts == MATRIX).all()
    text = joined(figure)
    for n in (*MATRIX.sum(axis=0), *MATRIX.sum(axis=1)):
        assert f"n = {n:,}" in text
    assert f"n = {MATRIX.sum():,}, {100 * np.trace(MATRIX) / MATRIX.sum():.1f} % on the diagonal" in text
    assert "2\n<1 %" in text and "540\n85 %" in text
    assert "0\n–" in joined(FIGURES["confusion, empty row"]())
    refused("2 names", figures.confusion, MATRIX, ["a", "b"])


def test_intervals_are_drawn_and_written():
    figure = FIGURES["intervals"]()
    text = joined(figure)
    assert "0.913 [0.884, 0.938]" in text and "DenseNet ensemble (n = 5,960)" in text and "not run" in text
    assert {"ours", "published", "anchor", "fracture, AUC", "knee grade, quadratic κ"} <= {
        words.strip() for words in written(figure)
    }
    lines = [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_linestyle() in ("-", "--")]
    assert [0.884, 0.938] in lines and [0.81, 0.85] in lines
    points = [line for line in figure.axes[0].lines if line.get_marker() in ("o", "D", "s")]
    assert [line.get_xdata()[0] for line in points] == [0.913, 0.92, 0.83, 0.86]
    assert points[1].get_markerfacecolor() == "white" and points[0].get_markerfacecolor() == BLUE
    alt = figures.describe_intervals(evidence())
    assert "fracture, AUC: YOLOv8s-cls, published 0.920;" in alt and "linear probe, ours not run" in alt
    assert figures.describe_intervals(recalls()).startswith("KL 0 (n = 639) 0.845 [0.817, 0.873];")
    refused("kind theirs", figures.interval_plot, evidence().assign(kind="theirs"))


TABLES = dict.fromkeys(("class_counts", "recall_bars", "interval_plot", "roc_pr"), ())
TABLES |= dict.fromkeys(("decision_curves", "froc_curve", "difference_plot", "training_curves"), ())
TABLES |= {f"describe_{name}": () for name in ("counts", "intervals", "pretraining", "curves", "decision", "froc")}
TABLES |= {"counts_by": ("yes",), "learning_curve": ("AUC",), "label_efficiency": ("AUC",), "coverage": (0.8,)}
TABLES |= {"describe_efficiency": ("AUC",), "describe_coverage": (0.8,), "pretraining_panel": (9, 64)}


@pytest.mark.parametrize("name", TABLES)
def test_tables_without_the_columns_or_rows_are_refused(name):
    refused("no column .* in the table, which has other; expected", getattr(figures, name), OTHER, *TABLES[name])


def test_empty_tables_and_unequal_lists_are_refused():
    refused("no row", figures.class_counts, knees()[:0])
    refused("2 images, 1 titles", figures.sample_grid, radiographs(2, 64), ["one"])
    refused("expected uint8", figures.sample_grid, np.zeros((1, 8, 8)), ["one"])
