"""One radiograph file: can it be read, and what does it show as one 8-bit channel.

EXIF orientation is applied, 16-bit files are scaled (Pillow's `convert("L")` clips them), and JPEGs are
decoded at the smallest codec scale that still covers the size asked for.
"""

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION = 0x0112  # EXIF tag
MAX_PIXELS = 89_478_485  # Pillow's own warning line: a 30,000 x 30,000 file is listed, not decoded

# what Pillow raises for damaged files, or on its way to them
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)
# Pillow warns above its line and raises above twice that; here both are one refusal
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def inspect(path: Path) -> tuple[int, int, str]:
    """(width, height, reason) of a file, EXIF orientation applied; reason is "" where every byte decodes.

    Decoding at the smallest codec scale still reads the whole file, so a truncated one is found at a
    third of the cost of a full decode. An unreadable file gives (0, 0, reason) and never an exception.
    """
    try:
        with _open(path) as image:
            width, height = image.size
            if image.mode.startswith(("I", "F")):
                to_gray(image)  # decodes too; floating point files may hold what is no number
            image.draft("L", (1, 1))
            image.load()
            if orientation(image) >= 5:
                width, height = height, width
        return width, height, ""
    except UNREADABLE as error:
        return 0, 0, reason(error)


def read(path: Path, size: int | None = None) -> np.ndarray:
    """Pixels (H, W) uint8 of one file, in the EXIF-transposed frame.

    size: longest side in pixels after antialiased (bicubic) resizing; None keeps the file's own size.
    Raises one of UNREADABLE for what Pillow cannot decode.
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
        turn = TURNS.get(orientation(image))
        return np.asarray(gray.transpose(turn) if turn is not None else gray)


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 5 and more swap width and height. A damaged or unknown tag counts as 1."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except UNREADABLE:
        return 1
    return value if isinstance(value, int) and value in TURNS else 1


# what undoes each orientation
TURNS = {
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
            low, high = values.min(), max(values.max(), np.nextafter(values.min(), np.inf))
        return Image.fromarray(np.clip((values - low) / (high - low) * 255 + 0.5, 0, 255).astype(np.uint8))
    return image.convert("L")


def reason(error: Exception) -> str:
    """Why a file cannot be read, in a few words that do not repeat its path."""
    text = str(error)
    if isinstance(error, FileNotFoundError):
        return "missing file"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than the {MAX_PIXELS:,} pixels accepted"
    if "cannot identify" in text:
        return "not an image"
    if "runcated" in text or "broken data stream" in text:
        return "truncated"
    if type(error) is ValueError:  # ours
        return text[:80]
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or text[:80]}"


def _open(path: Path) -> Image.Image:
    if path.stat().st_size == 0:
        raise ValueError("empty file (0 bytes)")
    image = Image.open(path)
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise Image.DecompressionBombError(f"{width} x {height} pixels")
    return image
