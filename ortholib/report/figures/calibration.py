"""Do probabilities mean what they say: reliability diagrams before and after temperature scaling."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import binomtest

from ortholib.errors import OrthoError
from ortholib.metrics.scores import ECE_BINS
from ortholib.report.figures.style import BLUE, GREY, PALE, VERMILLION, canvas, styled


def _checked(probability, happened) -> tuple[np.ndarray, np.ndarray]:
    probability, happened = np.asarray(probability, float), np.asarray(happened, float)
    if probability.shape != happened.shape or probability.ndim != 1 or not len(probability):
        shapes = f"probability {probability.shape}, correct {happened.shape}"
        raise OrthoError(f"reliability: {shapes}; expected the same (n,) with n > 0.")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise OrthoError("reliability: a probability is outside [0, 1] or not a number.")
    return probability, happened


def _diagram(upper: Axes, lower: Axes, probability: np.ndarray, happened: np.ndarray, color: str) -> None:
    index = np.clip(np.ceil(probability * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    count, hits, total = (np.bincount(index, weights, ECE_BINS) for weights in (None, happened, probability))
    filled = count > 0
    cases, hits, mean = count[filled], hits[filled], total[filled] / count[filled]
    bounds = [binomtest(int(k), int(n)).proportion_ci(method="wilson") for k, n in zip(hits, cases, strict=True)]
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    upper.vlines(mean, *zip(*bounds, strict=True), color=color, linewidth=1.0)
    upper.plot(mean, hits / cases, "o-", color=color, linewidth=0.8, clip_on=False)
    upper.set(xlim=(0, 1), ylim=(0, 1.0))
    width = 1 / ECE_BINS
    lower.bar(width * np.arange(ECE_BINS), count, width, align="edge", color=PALE, edgecolor=GREY, linewidth=0.5)
    lower.set_xlabel("predicted probability")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.yaxis.set_major_formatter("{x:,.0f}")


@styled
def recalibration(
    before: np.ndarray, after: np.ndarray, correct: np.ndarray, temperature: float, ece: tuple[float, float]
) -> Figure:
    """Reliability before and after temperature scaling, side by side on the same axes: the observed frequency against
    the predicted probability in the bins of `scores.ece`, above the histogram of the predictions.

    before, after  (n,) in [0, 1]: probability of the predicted class, or of the finding
    correct        (n,) 0/1: whether that class, or the finding, was there; scaling changes no predicted class
    temperature    T, fitted on validation
    ece            expected calibration error before and after

    Vertical lines are Wilson's 95 % intervals, taking cases as independent; empty bins have no point.
    Raises OrthoError for unequal lengths, no case, or values outside [0, 1].
    """
    figure = canvas(4.1)
    axes = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=[3.2, 1])
    titles = ("before", f"after, T = {temperature:.2f}")
    for column, (probability, color) in enumerate(zip((before, after), (VERMILLION, BLUE), strict=True)):
        probability, happened = _checked(probability, correct)
        upper, lower = axes[:, column]
        _diagram(upper, lower, probability, happened, color)
        upper.set_title(f"{titles[column]}: ECE {ece[column]:.3f} ({ECE_BINS} bins)")
    axes[0, 0].set_ylabel("observed frequency\n(dashed: perfect)")
    axes[1, 0].set_ylabel(f"cases\n(n = {len(correct):,})")
    return figure


def describe_recalibration(
    before: np.ndarray, after: np.ndarray, correct: np.ndarray, temperature: float, ece: tuple[float, float]
) -> str:
    """Alternative text of `recalibration`: both errors, and how sure the predictions are against how often right."""
    before, happened = _checked(before, correct)
    after, _ = _checked(after, correct)
    return (
        f"Temperature scaling with T = {temperature:.2f} on {len(before):,} cases: expected calibration error "
        f"{ece[0]:.3f} before, {ece[1]:.3f} after; mean probability {before.mean():.3f} before, {after.mean():.3f} "
        f"after, observed frequency {happened.mean():.3f}."
    )
