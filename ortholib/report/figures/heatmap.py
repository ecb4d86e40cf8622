"""A radiograph and, beside it, where the network looked."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from ortholib.report.figures.style import canvas, styled

SIDE = 3.4  # inches of one of the two pictures
PALETTE = "magma"  # dark to light, also for those who see no colours


@styled
def heat_map(pixels: np.ndarray, heat: np.ndarray, title: str) -> Figure:
    """pixels (H, W) uint8, alone and under heat (H, W) from 0 (unseen) to 1, the more opaque the warmer."""
    height, width = pixels.shape
    lines = textwrap.wrap(title, 90)
    figure = canvas(SIDE * height / width + 0.16 * len(lines) + 0.1, 2 * SIDE)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    figure.suptitle("\n".join(lines), size=9, x=0.01, ha="left")
    for ax, shown in zip(figure.subplots(1, 2), (None, heat), strict=True):
        ax.set_axis_off()
        ax.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        if shown is not None:
            ax.imshow(shown, cmap=PALETTE, vmin=0, vmax=1, alpha=0.6 * shown)
    return figure
