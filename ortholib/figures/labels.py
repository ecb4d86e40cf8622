"""Names written at the lines themselves, so that no reader has to carry colours to a legend and back."""

import numpy as np
from matplotlib.axes import Axes

from ortholib.figures.style import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, SMALL, VERMILLION

# pairs that are met together differ in colour, dash and marker: one of them is enough to tell two arms apart
LINES = (
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": VERMILLION, "linestyle": "--", "marker": "D"},
    {"color": GREEN, "linestyle": "-.", "marker": "s"},
    {"color": PURPLE, "linestyle": (0, (5, 1)), "marker": "^"},
    {"color": INK, "linestyle": ":", "marker": "v"},
    {"color": ORANGE, "linestyle": (0, (3, 1, 1, 1, 1, 1)), "marker": "P"},
    {"color": SKY, "linestyle": (0, (1, 1)), "marker": "X"},
)


def apart(places: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Places (n,) moved as little as needed to be `gap` from each other, inside low to high where they fit.

    The order stays. Neighbours that are too near share a block around their mean, which grows until it is free.
    """
    order = np.argsort(places, kind="stable")
    gap = min(gap, (high - low) / max(len(places) - 1, 1))
    blocks = []  # (sum of the wanted first places, members)
    for wanted in np.asarray(places, dtype=float)[order]:
        blocks.append((wanted, 1))
        while len(blocks) > 1 and _start(*blocks[-2]) + blocks[-2][1] * gap > _start(*blocks[-1]):
            (total, members), (first, more) = blocks[-1], blocks[-2]
            blocks[-2:] = [(first + total - members * more * gap, more + members)]
    moved = np.concatenate([_start(total, n) + gap * np.arange(n) for total, n in blocks]) if blocks else np.empty(0)
    room = high - low - gap * np.arange(len(moved))[::-1]  # the k-th from the top leaves place for those above it
    moved = np.minimum(moved, low + room)
    moved = np.maximum(moved, low + gap * np.arange(len(moved)))
    placed = np.empty(len(moved))
    placed[order] = moved
    return placed


def _start(total: float, members: int) -> float:
    return total / members


def name_ends(ax: Axes, ends: list[float], names: list[str], colors: list[str], height: float) -> None:
    """Write names right of the axes, each at the height its line ends (data units of y), none over another.

    height  of the axes in inches, about: says how much of y a line of text takes
    """
    low, high = ax.get_ylim()
    forward = ax.transScale.transform
    at = [(forward((1, end))[1] - forward((1, low))[1]) for end in ends]
    whole = forward((1, high))[1] - forward((1, low))[1]
    lines = max((name.count("\n") + 1 for name in names), default=1)
    gap = 1.25 * lines * SMALL / 72 / height
    for place, name, color in zip(apart(np.array(at) / whole, gap, 0, 1), names, colors, strict=True):
        ax.text(1.02, place, name, transform=ax.transAxes, color=color, size=SMALL, va="center", linespacing=1.05)
