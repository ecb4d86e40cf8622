"""The visual language of the book: fonts, colours, widths, and how a figure reaches a page.

Colours are those of Okabe and Ito (2008), which stay apart in every common form of colour blindness; a colour never
carries a meaning alone (a shape, a place or a word says the same).
"""

import base64
import html
import io
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from IPython.display import HTML
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import frames

BLUE, SKY, GREEN, ORANGE, VERMILLION, PURPLE = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7"
INK, GREY, PALE = "#222222", "#6B6B6B", "#D9D9D9"

# Inches; a page shows 100 CSS pixels an inch, so a full-width figure takes the 700 px of a Jupyter Book column.
WIDTH = 7.0
DPI = 140
SMALL = 8.0
LIGHT = 80_000  # bytes of a PNG: a chapter of twenty figures stays below 2 MB

STYLE = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs on every machine
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 6,
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "white",
    "axes.grid": False,
    "text.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": SMALL,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "ortholib",  # otherwise the ids in the file, and so its bytes, differ at every run
}

# `@styled` draws a function's figure in the language above and leaves the caller's own settings alone.
styled = mpl.rc_context(STYLE)


def canvas(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of `width` × `height` inches, outside pyplot: no notebook shows it by itself a second time."""
    return Figure(figsize=(width, height), layout="constrained")


def need(frame: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    """Raise OrthoError where `frame` is empty or lacks one of `columns`; `what` names the figure."""
    frames.need(frame, columns, what)
    if frame.empty:
        raise OrthoError(f"{what}: the table has no row; check what was selected before it was drawn.")


def percent(part: float, whole: float, digits: int = 1) -> str:
    """`part` of `whole` as "28.4 %"; a dash where the whole is 0, since there is no share of nothing."""
    return f"{100 * part / whole:.{digits}f} %" if whole else "–"


class Picture(HTML):
    """A figure on a page: HTML with the image inside; readers of plain text get the alternative text."""

    def __init__(self, markup: str, alt: str):
        super().__init__(markup)
        self.alt = alt

    def __repr__(self) -> str:
        return f"Figure: {self.alt}"


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG without a date inside, in 256 colours: a third of the bytes, no visible difference.

    Only galleries of grainy radiographs stay large (twelve of 224 px: 270 kB); the same grain hides the steps of 32 or
    16 levels a channel. The levels are evenly spaced, so thin outlines keep their colour, and white stays white.
    """
    raw = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(raw, format="png", dpi=DPI, metadata={"Software": None})
    picture = Image.open(raw).convert("RGB")
    for levels in (256, 32, 16):
        steps = [round(round(value / 255 * (levels - 1)) * 255 / (levels - 1)) for value in range(256)]
        small = io.BytesIO()
        coarse = picture.point(steps * 3).quantize(256, dither=Image.Dither.NONE)
        coarse.save(small, format="png", optimize=True)
        if small.tell() <= LIGHT:
            break
    return small.getvalue()


def show(figure: Figure, folder: Path | None, name: str, alt: str, caption: str = "") -> Picture:
    """Put a figure on the page, write it to `folder` and close it.

    figure   what one of the functions of this package returned, or any matplotlib figure
    folder   where `<name>.png` and `<name>.svg` go (made if missing); None writes nothing
    alt      what the figure shows, for readers who do not see it: built from the values, never empty
    caption  text below the figure

    Equal figures give equal bytes. Raises UsageError for an empty `alt`.
    """
    if not alt.strip():
        raise UsageError(f"figure {name}: the alternative text is empty; build it from the values that are drawn.")
    png = png_bytes(figure)
    if folder is not None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(png)
        with mpl.rc_context(STYLE):
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None, "Title": alt})
    plt.close(figure)
    width = round(100 * figure.get_figwidth())
    source = base64.b64encode(png).decode()
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return Picture(
        f'<figure style="margin:1em 0"><img alt="{html.escape(alt)}" width="{width}" '
        f'style="max-width:100%;height:auto;background:#fff" src="data:image/png;base64,{source}">{below}</figure>',
        alt,
    )
