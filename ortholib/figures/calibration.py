"""Do probabilities mean what they say: reliability diagrams, alone and before and after temperature scaling."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ortholib.errors import OrthoError
from ortholib.figures.style import BLUE, GREY, PALE, SMALL, VERMILLION, canvas, styled


def _wilson(k: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of k successes in n (n > 0)."""
    z = 1.959964
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * np.sqrt(k * (n - k) / n + z * z / 4)
    return centre - half, centre + half


def _checked(probability, happened) -> tuple[np.ndarray, np.ndarray]:
    probability, happened = np.asarray(probability, float), np.asarray(happened, float)
    if probability.shape != happened.shape or probability.ndim != 1 or not len(probability):
        shapes = f"probability {probability.shape}, correct {happened.shape}"
        raise OrthoError(f"reliability: {shapes}; expected the same (n,) with n > 0.")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise OrthoError("reliability: a probability is outside [0, 1] or not a number.")
    return probability, happened


def _binned(probability: np.ndarray, happened: np.ndarray, bins: int) -> tuple[np.ndarray, ...]:
    """Cases in each bin, and of the bins with some: mean probability, observed frequency."""
    index = np.clip(np.ceil(probability * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    filled = count > 0
    hits = np.bincount(index, happened, minlength=bins)[filled]
    mean = np.bincount(index, probability, minlength=bins)[filled] / count[filled]
    return count, mean, hits / count[filled]


def _diagram(upper: Axes, lower: Axes, probability: np.ndarray, happened: np.ndarray, bins: int, color: str) -> None:
    count, mean, observed = _binned(probability, happened, bins)
    cases = count[count > 0]
    low, high = _wilson(observed * cases, cases)
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    upper.vlines(mean, low, high, color=color, linewidth=1.0)
    upper.plot(mean, observed, "o-", color=color, linewidth=0.8, clip_on=False)
    upper.set(xlim=(0, 1), ylim=(0, 1.0))
    lower.bar(np.arange(bins) / bins, count, width=1 / bins, align="edge", color=PALE, edgecolor=GREY, linewidth=0.5)
    lower.set_xlabel("predicted probability")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.yaxis.set_major_formatter("{x:,.0f}")


@styled
def reliability(probability: np.ndarray, correct: np.ndarray, bins: int = 15, ece: str = "") -> Figure:
    """Reliability diagram (observed frequency against predicted probability) above the histogram of the predictions.

    probability  (n,) in [0, 1]: of the predicted class, or of the finding
    correct      (n,) 0/1: whether that class, or the finding, was there
    bins         number of bins of equal width, right edge inside (Guo et al. 2017, section 2)
    ece          title, "ECE 0.041 (15 bins)": computed where the tables are

    Vertical lines are Wilson's 95 % intervals, taking cases as independent; empty bins have no point.
    Raises OrthoError for unequal lengths, no case, or values outside [0, 1].
    """
    probability, correct = _checked(probability, correct)
    figure = canvas(4.6, 4.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    _diagram(upper, lower, probability, correct, bins, BLUE)
    upper.set_ylabel("observed frequency")
    upper.set_title(ece)
    upper.set_title("dashed: perfect calibration", loc="right", size=SMALL, color=GREY)
    lower.set_ylabel(f"cases\n(n = {len(probability):,})")
    return figure


@styled
def recalibration(
    before: np.ndarray,
    after: np.ndarray,
    correct: np.ndarray,
    temperature: float,
    ece: tuple[float, float],
    bins: int = 15,
) -> Figure:
    """Reliability before and after temperature scaling, side by side on the same axes.

    before, after  (n,) in [0, 1]: probability of the predicted class, or of the finding
    correct        (n,) 0/1; scaling changes no predicted class, so it is the same for both
    temperature    T, fitted on validation
    ece            expected calibration error before and after, in as many `bins`

    Points, lines and errors as in `reliability`.
    """
    figure = canvas(4.1)
    axes = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=[3.2, 1])
    titles = ("before", f"after, T = {temperature:.2f}")
    for column, (probability, color) in enumerate(zip((before, after), (VERMILLION, BLUE), strict=True)):
        probability, happened = _checked(probability, correct)
        upper, lower = axes[:, column]
        _diagram(upper, lower, probability, happened, bins, color)
        upper.set_title(f"{titles[column]}: ECE {ece[column]:.3f} ({bins} bins)")
    axes[0, 0].set_ylabel("observed frequency\n(dashed: perfect)")
    axes[1, 0].set_ylabel(f"cases\n(n = {len(correct):,})")
    return figure


def describe_reliability(probability: np.ndarray, correct: np.ndarray, bins: int = 15, ece: str = "") -> str:
    """Alternative text of `reliability`: for each bin with cases the mean probability and the frequency observed."""
    probability, correct = _checked(probability, correct)
    count, mean, observed = _binned(probability, correct, bins)
    points = ", ".join(
        f"{p:.2f} observed {f:.2f} (n = {n:,})" for p, f, n in zip(mean, observed, count[count > 0], strict=True)
    )
    return f"Reliability of {len(probability):,} cases{'; ' if ece else ''}{ece}; predicted {points}."


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
