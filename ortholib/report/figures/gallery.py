"""Radiographs side by side."""

import textwrap

import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ortholib.errors import OrthoError
from ortholib.report.figures.style import ORANGE, WIDTH, canvas, styled

TITLE = 7.5  # points


@styled
def sample_grid(
    pixels: np.ndarray, titles: list[str], boxes: list[np.ndarray] | None = None, columns: int = 6
) -> Figure:
    """Images in rows of `columns`, each with a title above and its boxes outlined.

    pixels  (n, H, W) uint8, one channel, shown 0 = black to 255 = white without any stretch
    titles  n strings; long ones are wrapped to the width of an image
    boxes   n arrays (k, 4) of `x0, y0, x1, y1` in pixels of these images (edges, not centres); k may be 0

    Raises OrthoError where the numbers of images, titles and boxes differ, or there is no image.
    """
    pixels = np.asarray(pixels)
    if pixels.ndim != 3 or not len(pixels) or pixels.dtype != np.uint8:
        raise OrthoError(f"sample grid: pixels {pixels.dtype} {pixels.shape}; expected uint8 (n, H, W) with n > 0.")
    count, height, width = pixels.shape
    if len(titles) != count or (boxes is not None and len(boxes) != count):
        listed = "no" if boxes is None else len(boxes)
        raise OrthoError(f"sample grid: {count} images, {len(titles)} titles, {listed} lists of boxes; expected equal.")

    # a lone row of fewer images keeps the image size of a full one: galleries of one chapter stay comparable
    rows = -(-count // columns)
    tile = WIDTH / columns - 0.06
    wrap = max(8, int(tile * 72 / (0.56 * TITLE)))
    wrapped = ["\n".join(textwrap.wrap(str(title), wrap)) for title in titles]
    lines = max(title.count("\n") + 1 for title in wrapped)
    figure = canvas(rows * (tile * height / width + 0.13 * lines + 0.14))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    halo = [patheffects.withStroke(linewidth=2.2, foreground="black")]
    for index, ax in enumerate(axes):
        ax.set_axis_off()
        if index >= count:
            continue
        ax.imshow(pixels[index], cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
        ax.set_title(wrapped[index], size=TITLE, pad=2.5, linespacing=1.1)
        for x0, y0, x1, y1 in [] if boxes is None else np.asarray(boxes[index], float).reshape(-1, 4):
            outline = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=ORANGE, linewidth=1.3)
            outline.set_path_effects(halo)  # the orange stays visible on white bone
            ax.add_patch(outline)
    return figure
