"""One radiograph file: can it be read, and what does it show as one 8-bit channel.

EXIF orientation is applied, 16-bit files are scaled (Pillow's `convert("L")` clips them), and JPEGs are
decoded at the smallest codec scale that still covers the size asked for.
"""

from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION = 0x0112  # EXIF tag; values 5-8 swap width and height
MAX_PIXELS = 89_478_485  # Pillow's own warning line: a 30,000 x 30,000 file is listed, not decoded

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)


def inspect(path: Path) -> tuple[int, int, str]:
    """(width, height, reason) of a file, EXIF orientation applied; reason is "" where every byte decodes.

    Decoding at the smallest codec scale still reads the whole file, so a truncated one is found at a
    third of the cost of a full decode. An unreadable file gives (0, 0, reason) and never an exception.
    """
    try:
        with _open(path) as image:
            width, height = image.size
            if image.getexif().get(ORIENTATION, 1) >= 5:
                width, height = height, width
            image.draft("L", (1, 1))
            image.load()
        return width, height, ""
    except UNREADABLE as error:
        return 0, 0, reason(error)


def read(path: Path, size: int | None = None) -> np.ndarray:
    """Pixels (H, W) uint8 of one file, in the EXIF-transposed frame.

    size: longest side in pixels after antialiased (bicubic) resizing; None keeps the file's own size.
    Raises OSError, ValueError, SyntaxError or Image.DecompressionBombError for what Pillow cannot decode.
    """
    with _open(path) as image:
        if size is None:
            target = image.size
        else:
            scale = size / max(image.size)
            target = tuple(max(1, round(side * scale)) for side in image.size)
            image.draft("L", target)
        gray = to_gray(image)
        if gray.size != target:
            gray = gray.resize(target, Image.Resampling.BICUBIC, reducing_gap=3.0)
        # the tag is read from the opened file: a converted image no longer carries it
        turn = ORIENTATIONS.get(image.getexif().get(ORIENTATION, 1))
        return np.asarray(gray.transpose(turn) if turn is not None else gray)


ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_gray(image: Image.Image) -> Image.Image:
    """The image as 8-bit grey (mode L).

    Deep integer files are scaled by the bits they really use (12 bits stored in 16 stay 12), floating
    point ones by their own range; colour becomes ITU-R 601 luma; transparency is dropped.
    """
    if image.mode == "L":
        return image
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("pixel values that are not finite")
        if image.mode.startswith("I"):
            low, high = 0.0, 2.0 ** max(8, int(np.ceil(np.log2(values.max() + 1)))) - 1 if values.max() > 0 else 255.0
        else:
            low, high = values.min(), max(values.max(), values.min() + 1e-12)
        return Image.fromarray(np.clip((values - low) / (high - low) * 255 + 0.5, 0, 255).astype(np.uint8))
    return image.convert("L")


def reason(error: Exception) -> str:
    """Why a file cannot be read, in a few words that do not repeat its path."""
    text = str(error)
    if isinstance(error, FileNotFoundError):
        return "missing file"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "too many pixels"
    if "cannot identify" in text:
        return "not an image"
    if "runcated" in text or "broken data stream" in text:
        return "truncated"
    return f"{type(error).__name__}: {text[:80]}"


def _open(path: Path) -> Image.Image:
    if path.stat().st_size == 0:
        raise ValueError("empty file (0 bytes)")
    image = Image.open(path)
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise ValueError(f"{width} x {height} pixels, more than the {MAX_PIXELS:,} accepted")
    return image
