"""From the files received to the parts of the split: the flow diagram that STARD and CONSORT ask for."""

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ortholib.errors import OrthoError
from ortholib.report.figures.style import BLUE, GREY, SMALL, WIDTH, percent, styled

# inches: a line of text, the margin in a box, the least distance of two boxes, the height of the fork, the page margin
LINE, PAD, GAP, FORK, EDGE = 0.165, 0.09, 0.3, 0.34, 0.08
Text = tuple[list[str], list[str]]  # bold lines, plain lines


def _check(stages: list[dict]) -> None:
    """A flow whose numbers do not add up is an error of the study, so it is never drawn."""
    if not stages:
        raise OrthoError("flow: no stage given; expected at least one with `label` and `n`.")
    for index, stage in enumerate(stages):
        left = stage["n"] - sum(n for _, n in stage.get("excluded") or [])
        parts = stage.get("parts") or []
        last = index == len(stages) - 1
        if parts and not last:
            raise OrthoError(f"flow: stage {stage['label']!r} is split into parts but is not the last stage.")
        after = stages[index + 1]["n"] if not last else sum(part[1] for part in parts) if parts else left
        if left != after:
            raise OrthoError(
                f"flow: {stage['n']:,} at {stage['label']!r}, {left:,} after its exclusions, but {after:,} follow; "
                "name what left the study in `excluded`."
            )


def _high(text: Text) -> float:
    """Height of the box of a text."""
    return LINE * (len(text[0]) + len(text[1])) + 2 * PAD


def _box(
    ax: Axes, x: float, top: float, width: float, height: float, text: Text, left: bool = False, edge: str = GREY
) -> None:
    """Draw a text in a box with its upper left corner at (x, top). All in inches."""
    ax.add_patch(Rectangle((x, top - height), width, height, facecolor="white", edgecolor=edge, linewidth=0.8))
    start, side = (x + PAD, "left") if left else (x + width / 2, "center")
    for row, line in enumerate(text[0] + text[1]):
        weight = "bold" if row < len(text[0]) else "normal"
        ax.text(start, top - PAD - LINE * (row + 0.5), line, size=SMALL, ha=side, va="center_baseline", weight=weight)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>,head_width=0.16,head_length=0.32", "color": GREY, "linewidth": 0.8}
    ax.annotate("", xy=end, xytext=start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})


def _wrap(text: str, inches: float) -> list[str]:
    return textwrap.wrap(text, max(8, int(inches * 72 / (0.58 * SMALL))))


@styled
def flow(stages: list[dict], groups: str = "patients", positives: str = "positive") -> Figure:
    """Boxes from top to bottom, exclusions to the right, the parts of the split in the last row.

    stages             dicts of `label`, `n` (images) and, where they apply, `groups` (number), `excluded` (list of
                       `(reason, n)`: what leaves between this stage and the next) and, in the last stage only, `parts`
                       (list of `(name, n, groups, positives)`; None for a number that there is not)
    groups, positives  words for what no split cuts, and for the finding

    Raises OrthoError where the numbers of a stage do not add up to those of the next.
    """
    _check(stages)
    side = any(stage.get("excluded") for stage in stages)
    width = 3.1
    x = 0.55 if side else (WIDTH - width) / 2
    middle, side_x = x + width / 2, x + width + 0.3
    side_width = WIDTH - side_x - EDGE
    parts = stages[-1].get("parts") or []
    part_width = min(2.2, (WIDTH - 2 * EDGE) / max(len(parts), 1) - 0.14)

    mains, sides = [], []
    for stage in stages:
        many = f"{stage['n']:,} images"
        if stage.get("groups") is not None:
            many += f", {stage['groups']:,} {groups}"
        mains.append((_wrap(stage["label"], width), [many]))
        excluded = stage.get("excluded") or []
        title = "excluded" if len(excluded) == 1 else f"excluded, n = {sum(n for _, n in excluded):,}"
        lines = [line for reason, n in excluded for line in _wrap(f"{n:,} {reason}", side_width)]
        sides.append(([title], lines) if excluded else None)
    lowest = []
    for name, n, number, found in parts:
        lines = [f"{n:,} images"]
        lines += [] if number is None else [f"{number:,} {groups}"]
        lines += [] if found is None else _wrap(f"{found:,} {positives} ({percent(found, n)})", part_width)
        lowest.append((_wrap(str(name), part_width), lines))

    # the exclusion box hangs beside its arrow, so the arrow is at least as long as the box is high
    gaps = [_high(aside) + 0.16 if aside else GAP for aside in sides]
    if not sides[-1]:
        gaps[-1] = 0.16 if parts else 0.0
    fork = FORK if parts else 0.0
    deepest = max(map(_high, lowest), default=0)
    height = 2 * EDGE + sum(map(_high, mains)) + sum(gaps) + fork + deepest

    figure = Figure(figsize=(WIDTH, height))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(0, height))
    ax.set_axis_off()
    line = {"color": GREY, "linewidth": 0.8, "solid_capstyle": "butt"}
    top = height - EDGE
    for index, (main, aside, gap) in enumerate(zip(mains, sides, gaps, strict=True)):
        _box(ax, x, top, width, _high(main), main)
        bottom = top - _high(main)
        top = bottom - gap
        if aside:
            level = bottom - gap / 2
            _box(ax, side_x, level + _high(aside) / 2, side_width, _high(aside), aside, left=True)
            _arrow(ax, (middle, level), (side_x, level))
        if index < len(mains) - 1:
            _arrow(ax, (middle, bottom), (middle, top))
        elif parts:
            ax.plot([middle, middle], [bottom, top], **line)
        elif aside:
            ax.plot([middle, middle], [bottom, level], **line)
    step = (WIDTH - 2 * EDGE) / max(len(parts), 1)
    centres = [EDGE + step * (index + 0.5) for index in range(len(parts))]
    if parts:
        ax.plot([min(*centres, middle), max(*centres, middle)], [top, top], **line)
    for centre, text in zip(centres, lowest, strict=True):
        _arrow(ax, (centre, top), (centre, top - fork))
        _box(ax, centre - part_width / 2, top - fork, part_width, deepest, text, edge=BLUE)
    return figure
