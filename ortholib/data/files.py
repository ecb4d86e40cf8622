"""One image file: can it be read, and what do its planes show as one 8-bit channel.

Pictures (all that Pillow reads), DICOM (by its content), `.npy` and NIfTI volumes. EXIF orientation is applied,
16-bit files are scaled (Pillow's `convert("L")` clips them), and JPEGs are decoded at the smallest codec scale that
still covers the size asked for.
"""

import struct
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ortholib.data import dicom, grey, volume

ORIENTATION = 0x0112  # EXIF tag
PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")  # taken for images
MAX_PIXELS = 89_478_485  # Pillow's own warning line: a 30,000 x 30,000 file is listed, not decoded

# what Pillow raises for damaged files, or on its way to them
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)
# Pillow warns above its line and raises above twice that; here both are one refusal
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class Plane(NamedTuple):
    """Where the pixels of one image are: a file, and which of its planes."""

    path: Path
    frame: int = 0


def inspect(path: Path) -> tuple[int, int, str]:
    """(width, height, reason) of a file, EXIF orientation applied; reason is "" where every byte decodes.

    Decoding at the smallest codec scale still reads the whole file, so a truncated one is found at a
    third of the cost of a full decode. Of a file with several planes all are decoded, but a TIFF's later pages.
    An unreadable file gives (0, 0, reason) and never an exception.
    """
    try:
        if kind(path) != "picture":
            planes = _planes(path)
            return planes.shape[2], planes.shape[1], ""
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


def read(path: Path, size: int | None = None, frame: int = 0) -> np.ndarray:
    """Pixels (H, W) uint8 of one plane of a file, in the EXIF-transposed frame.

    size: longest side in pixels after antialiased (bicubic) resizing; None keeps the file's own size. frame: of a
    volume, a multi-frame DICOM or a multi-page TIFF, from 0. Raises one of UNREADABLE for what cannot be decoded.
    """
    if kind(path) != "picture":
        plane = Image.fromarray(_planes(path, frame)[0])
        return np.asarray(_resized(plane, _target(plane, size)))
    with _open(path, frame) as image:
        target = _target(image, size)
        if size is not None:
            image.draft("L", target)
        shown = _resized(to_gray(image), target)
        # the tag is read from the opened file: a converted image no longer carries it
        turn = TURNS.get(orientation(image))
        return np.asarray(shown.transpose(turn) if turn is not None else shown)


def frames(path: Path) -> int:
    """Planes in a file: of a volume, a multi-frame DICOM or a multi-page TIFF; 1 for other pictures.

    Raises one of UNREADABLE for what `inspect` calls unreadable. A TIFF whose later pages are damaged counts as one.
    """
    match kind(path):
        case "volume":
            return len(volume.planes(path))
        case "dicom":
            return dicom.shape(path)[0]
    with _open(path) as image:
        try:
            return image.n_frames if image.format == "TIFF" else 1
        except UNREADABLE:
            return 1


def kind(path: Path) -> str:
    """`volume` (by its name), `dicom` (by its content, whatever it is called) or `picture`."""
    if volume.is_volume(path):
        return "volume"
    return "dicom" if dicom.is_dicom(path) else "picture"


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
        values = np.asarray(image)
        return Image.fromarray(grey.scaled(values, *grey.bounds(values.min(), values.max(), values.dtype.kind)))
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


def _planes(path: Path, frame: int | None = None) -> np.ndarray:
    """Planes (n, H, W) of a volume or DICOM file: one, or all."""
    if path.stat().st_size == 0:
        raise ValueError("empty file (0 bytes)")
    if kind(path) == "volume":
        planes = volume.planes(path)
        if frame is not None and not 0 <= frame < len(planes):
            raise ValueError(f"frame {frame} of a file that holds {len(planes)}")
        return planes if frame is None else planes[frame : frame + 1]
    return dicom.planes(path, None if frame is None else [frame])


def _open(path: Path, frame: int = 0) -> Image.Image:
    if path.stat().st_size == 0:
        raise ValueError("empty file (0 bytes)")
    image = Image.open(path)
    try:
        if frame:
            image.seek(frame)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{width} x {height} pixels")
    except BaseException:
        image.close()
        raise
    return image


def _target(image: Image.Image, size: int | None) -> tuple[int, int]:
    if size is None:
        return image.size
    scale = size / max(image.size)
    return tuple(max(1, round(side * scale)) for side in image.size)


def _resized(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    return image if image.size == target else image.resize(target, Image.Resampling.BICUBIC, reducing_gap=3.0)
