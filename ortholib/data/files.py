"""One image file: can it be read, and what do its planes show as one 8-bit channel.

Pictures (all that Pillow reads), DICOM (by its content), `.npy` and NIfTI volumes. EXIF orientation is applied,
deep files are scaled by the bits they use (see `deep`), and JPEGs are decoded at the smallest codec scale that
still covers the size asked for.
"""

import struct
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from ortholib import wording
from ortholib.data import deep, dicom, grey, plausible, volume

ORIENTATION = 0x0112  # EXIF tag
PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")  # taken for images
MAX_PIXELS = 89_478_485  # Pillow's own warning line: a 30,000 x 30,000 file is listed, not decoded

# what Pillow raises for damaged files, or on its way to them
UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning, ImageCms.PyCMSError),
)
# Pillow warns above its line and raises above twice that; here both are one refusal
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class Plane(NamedTuple):
    """Where the pixels of one image are: a file, and which of its planes."""

    path: Path
    frame: int = 0


def inspect(path: Path) -> tuple[int, int, str]:
    """(width, height, reason) of a file, EXIF orientation applied; reason is "" where every byte decodes.

    Decodes and converts as `read` does, but at the smallest codec scale, which still reads the whole file: a truncated
    one is found at a third of the cost. Of a file with several planes all are decoded, but a TIFF's later pages.
    An unreadable file gives (0, 0, reason) and never an exception.
    """
    return examine(path)[:3]


def examine(path: Path, page: int = 0) -> tuple[int, int, str, str]:
    """What `inspect` says of a file or of one page of a TIFF, and what is implausible in its picture ("" for nothing).

    Looked for in the same decoding. Only of a picture that looks wrong are the stored values read too: it is named
    where these vary, with what was shown as black and white.
    """
    try:
        if kind(path) != "picture":
            planes = _planes(path)
            # a few planes of a volume first: a set of volumes need not be read whole
            some = planes[:: max(1, len(planes) // 8)]
            found = plausible.doubt(map(Image.fromarray, some)) and plausible.doubt(map(Image.fromarray, planes))
            height, width = planes.shape[1:]
        else:
            with _open(path, page) as image:
                width, height = image.size
                image.draft("L", (1, 1))
                found = plausible.doubt([to_gray(image)])
                if orientation(image) >= 5:  # of TIFFs no more: size and picture are turned already
                    width, height = height, width
        return width, height, "", _implausible(path, page, found) if found else ""
    except UNREADABLE as error:
        return 0, 0, reason(error), ""


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
        shown = to_gray(image)
        image.load()
        # of the opened file: a converted image carries no tag; after loading, by which Pillow turns a TIFF itself
        turn, shown = TURNS.get(orientation(image)), _resized(shown, target)
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
    """An opened picture as 8-bit grey (mode L).

    Deep integer files are scaled by the bits they really use (12 bits stored in 16 stay 12, of all colours together),
    floating point ones by their own range; WhiteIsZero is inverted; colour becomes ITU-R 601 luma, LAB by way of sRGB;
    transparency is dropped.
    """
    values = deep.stored(image)
    if values is not None:
        shown = grey.scaled(values.reshape(len(values), -1), *_bounds(values)).reshape(values.shape)
        if values.ndim == 3:
            bands = [Image.fromarray(shown[..., k]) for k in range(values.shape[2])]
            return Image.merge("CMYK" if len(bands) == 4 else "RGB", bands).convert("L")
        return Image.fromarray(255 - shown if deep.white_is_zero(image) else shown)
    if image.mode == "LAB":
        if getattr(image, "tag_v2", {}).get(deep.PLANAR) == 2:
            raise ValueError("LAB in separate planes (planar), which is not read; save it interleaved")
        spaces = (ImageCms.createProfile(name) for name in ("LAB", "sRGB"))
        options = {"outputMode": "RGB", "flags": ImageCms.Flags.NOOPTIMIZE}  # its tables are 4 levels off
        image = ImageCms.profileToProfile(image, *spaces, ImageCms.Intent.RELATIVE_COLORIMETRIC, **options)
    if image.mode == "La":  # grey that was multiplied with its transparency
        return image.getchannel(0)
    return image if image.mode == "L" else image.convert("L")


def reason(error: Exception) -> str:
    """Why a file cannot be read, without its path; what other libraries say is never cut."""
    text = wording.one_line(error)
    if isinstance(error, FileNotFoundError):
        return "missing file"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than the {MAX_PIXELS:,} pixels accepted"
    if "cannot identify" in text:
        return "not an image"
    if "runcated" in text or "broken data stream" in text:
        return "truncated"
    if type(error) is ValueError:  # ours
        return text
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or text}"


def _implausible(path: Path, page: int, found: str) -> str:
    """What was found in a picture, and what it shows as black and white; "" where its stored values do not vary."""
    match kind(path):
        case "volume":
            low, high, window = volume.window(path)
        case "dicom":
            low, high, window = dicom.window(path)
        case _:
            with _open(path, page) as image:
                values = deep.stored(image)
                if values is None:
                    extremes = np.reshape(image.getextrema(), (-1, 2))
                    low, high = (0, 1) if (extremes[:, 0] < extremes[:, 1]).any() else (0, 0)
                    window = "0 to 255, as stored"
                else:
                    low, high = values.min(), values.max()
                    window = "{:g} to {:g}".format(*_bounds(values))
    return f"{found} (window: {window})" if low < high else ""


def _bounds(values: np.ndarray) -> tuple[float, float]:
    return grey.bounds(values.min(), values.max(), values.dtype.kind)


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
    try:
        image = Image.open(path)
    except UnidentifiedImageError as error:
        if what := deep.unlisted(path):
            raise ValueError(what) from error
        raise
    try:
        if frame:
            image.seek(frame)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{width} x {height} pixels")
        if image.format == "TIFF" and orientation(image) >= 5:
            image.load_read = image.fp.read  # no memory map: Pillow 13 maps it with its sides swapped
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
