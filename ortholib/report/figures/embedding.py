"""Features of many dimensions on a page: a map of points coloured by class."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.neighbors import NearestNeighbors

from ortholib.errors import OrthoError
from ortholib.report.figures import style
from ortholib.report.figures.style import GREY, PALE, SMALL, canvas, percent, styled

COLORS = (style.BLUE, style.ORANGE, style.GREEN, style.VERMILLION, style.PURPLE, style.SKY, style.INK)
MARKERS = ("o", "^", "s", "D", "v")  # 7 colours and 5 shapes: 35 classes in pairs of their own
MOST = 20
NEIGHBOURS = 10
RASTER = 1000  # points; above, the SVG holds them as a picture: 4,000 shapes are 600 kB


def _classes(points, labels) -> tuple[np.ndarray, pd.Series, list]:
    points, labels = np.asarray(points, dtype=float), pd.Series(labels).reset_index(drop=True)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != len(labels) or not len(points):
        raise OrthoError(f"embedding map: points {points.shape}, {len(labels)} labels; expected (n, 2) and n > 0.")
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise OrthoError(f"embedding map: {len(bad)} points are not finite (first: row {bad[0]}); drop or redo them.")
    if isinstance(labels.dtype, pd.CategoricalDtype):
        classes = [name for name in labels.cat.categories if (labels == name).any()]
    else:
        classes = sorted(labels.dropna().unique())
    if len(classes) > MOST:
        raise OrthoError(f"embedding map: {len(classes)} classes; expected at most {MOST}, gather the rare ones.")
    return points, labels, classes


def _agreement(points: np.ndarray, labels: pd.Series) -> str:
    """How often the nearest points on the map share a class, and how often they would by chance."""
    known = labels.notna().to_numpy()
    codes, near = pd.factorize(labels[known])[0], min(NEIGHBOURS, int(known.sum()) - 1)
    if near < 1:
        return ""
    nearest = NearestNeighbors(n_neighbors=near).fit(points[known]).kneighbors(return_distance=False)
    size = np.bincount(codes)
    chance = float((size * (size - 1)).sum() / (len(codes) * (len(codes) - 1)))
    share = percent((codes[nearest] == codes[:, None]).mean(), 1, 0)
    return f"of the {near} nearest points on the map {share} share the class, by chance {percent(chance, 1, 0)}"


@styled
def embedding_map(points: np.ndarray, labels, xlabel: str = "", ylabel: str = "") -> Figure:
    """Points of a two-dimensional map (principal components, UMAP, t-SNE), a colour and a shape for each class.

    points  (n, 2), finite
    labels  (n,) class names; order of a categorical, else sorted; missing ones are drawn pale, "no label"
    xlabel  what the axes are, "UMAP 1" or "component 1 (34 % of variance)"; `ylabel` likewise

    Both axes have one scale. Points are drawn in a fixed random order, so that no class lies over the others. The share
    of neighbours with the same class is written, since an eye finds clusters in anything. Raises OrthoError for other
    shapes, points that are not finite and more than 20 classes.
    """
    points, labels, classes = _classes(points, labels)
    count = len(points)
    area = float(np.clip(16000 / count, 5, 26))
    look = {name: (COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(classes)}
    figure = canvas(4.6)
    ax = figure.subplots()
    unlabelled = labels.isna().to_numpy()
    if unlabelled.any():
        ax.scatter(*points[unlabelled].T, s=area, color=PALE, linewidth=0, rasterized=count > RASTER)
    # a scatter has one shape: slices of a random order take turns, so that classes interleave
    turns = np.array_split(np.random.default_rng(0).permutation(np.flatnonzero(~unlabelled)), 8)
    for turn in turns:
        for name, (color, marker) in look.items():
            here = turn[(labels.iloc[turn] == name).to_numpy()]
            drawn = {"s": area, "color": color, "marker": marker, "edgecolor": "white", "linewidth": 0.25}
            ax.scatter(*points[here].T, **drawn, rasterized=count > RASTER)
    for name, (color, marker) in look.items():
        size = int((labels == name).sum())
        ax.scatter([], [], s=28, color=color, marker=marker, label=f"{name} (n = {size:,})")
    if unlabelled.any():
        ax.scatter([], [], s=28, color=PALE, label=f"no label (n = {unlabelled.sum():,})")
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set(xlabel=xlabel, ylabel=ylabel)
    figure.suptitle(f"{count:,} images", x=0.012, ha="left", size=9)
    ax.set_title(_agreement(points, labels), size=SMALL, color=GREY)
    figure.legend(loc="outside right upper", handletextpad=0.3, labelspacing=0.7)
    return figure


def describe_embedding(points: np.ndarray, labels) -> str:
    """Alternative text of `embedding_map`: the classes with their numbers, and how far neighbours agree."""
    points, labels, classes = _classes(points, labels)
    each = ", ".join(f"{name} {int((labels == name).sum()):,}" for name in classes)
    unlabelled = f"; {int(labels.isna().sum()):,} without label" if labels.isna().any() else ""
    agreement = _agreement(points, labels)
    return f"Map of {len(points):,} images: {each or 'no class'}{unlabelled}{'; ' if agreement else ''}{agreement}."
