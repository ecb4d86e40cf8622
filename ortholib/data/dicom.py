"""One DICOM file: its planes as one 8-bit channel, as a viewer would show them.

Stored values go through the modality's rescale (PS3.3 C.11.1) and the file's first window (C.11.2.1.2) or VOI table;
without either, the plane's own range is shown. MONOCHROME1 is inverted, so that bone is bright. Compressed pixels are
decoded by pydicom with Pillow, or with GDCM (see `gdcmworker`).
"""

import warnings
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    RLELossless,
)

from ortholib.data import gdcmworker, grey

MAX_BYTES = 2**29  # of one file: all of it is held in memory
MAX_PIXELS = 2**25  # of one frame: 34 million, a stitched film of both legs has 30
MAX_VOXELS = 2**27  # of all frames
JP2 = b"\x00\x00\x00\x0cjP  "  # how a file of boxes begins; the standard wants the bare code stream


def is_dicom(path: Path) -> bool:
    """Whether the file carries the DICM mark after its preamble; names say nothing (the OAI's are `001`)."""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def header(path: Path) -> pydicom.Dataset:
    """The data elements before the pixels."""
    return _dataset(path, stop_before_pixels=True)


def shape(path: Path) -> tuple[int, int, int]:
    """(frames, height, width) as the header says. Raises ValueError where it says nothing usable."""
    return _shape(header(path))


def planes(path: Path, frames: list[int] | None = None) -> np.ndarray:
    """Frames (n, H, W) uint8 of a file, all of them by default. Raises ValueError for what cannot be decoded."""
    dataset = _dataset(path)
    n = _shape(dataset)[0]
    wanted = range(n) if frames is None else frames
    if outside := [frame for frame in wanted if not 0 <= frame < n]:
        raise ValueError(f"frame {outside[0]} of a file that holds {n}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on odd values; what matters raises
        try:
            return np.stack([_shown(dataset, _decoded(dataset, frame, n)) for frame in wanted])
        except Exception as error:  # its plugins raise anything on damaged pixels
            text = "truncated" if "less than expected" in str(error) else f"DICOM pixels: {str(error)[:60]}"
            raise ValueError(text) from error


def window(path: Path) -> tuple[float, float, str]:
    """Lowest and highest stored value of a file that can be read, and in words by what it is shown."""
    dataset = _dataset(path)
    n = _shape(dataset)[0]
    extremes = [(values.min(), values.max()) for values in (_decoded(dataset, frame, n) for frame in range(n))]
    lows, highs = zip(*extremes, strict=True)
    named = {element.keyword: element.value for element in reversed([*header(path).iterall()])}  # of the first frame
    if "VOILUTSequence" in named:
        return min(lows), max(highs), "the VOI lookup table"
    centre, width = (_first(named.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        return min(lows), max(highs), "none in the file, its whole range"
    function = named.get("VOILUTFunction") or "LINEAR"
    return min(lows), max(highs), f"centre {centre:.10g}, width {width:.10g}, {function}"


def _decoded(dataset: pydicom.Dataset, frame: int, n: int) -> np.ndarray:
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax == RLELossless:
        return pixel_array(dataset, index=frame)
    if syntax in JPEG2000TransferSyntaxes:
        _check_boxes(get_frame(dataset.PixelData, frame, number_of_frames=n))
        return pixel_array(dataset, index=frame, decoding_plugin="pillow")
    if syntax == JPEGBaseline8Bit:
        return pixel_array(dataset, index=frame, decoding_plugin="pillow")
    return gdcmworker.decode(Path(dataset.filename), frame)


def _check_boxes(data: bytes) -> None:
    """Walk the boxes before a JPEG 2000 code stream: pydicom 3.0 never comes to an end where one has the length 0."""
    at = 12
    while data.startswith(JP2) and at < len(data) and data[at + 4 : at + 8] != b"jp2c":
        length = int.from_bytes(data[at : at + 4], "big")
        if length < 8:
            raise ValueError(f"a JPEG 2000 box of {length} bytes")
        at += length


def _dataset(path: Path, **options) -> pydicom.Dataset:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"more than the {MAX_BYTES // 2**20} MiB accepted of one DICOM file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open(path, "rb") as file:  # inflating the whole file is not bounded by anything
                syntax = pydicom.filereader.read_partial(
                    file, lambda tag, *_: tag.group > 2
                ).file_meta.TransferSyntaxUID
            if syntax == DeflatedExplicitVRLittleEndian:
                raise ValueError("deflated transfer syntax, which is not read")
            return pydicom.dcmread(path, **options)
        except Exception as error:
            raise ValueError(f"not a readable DICOM file: {str(error)[:50]}") from error


def _shape(dataset: pydicom.Dataset) -> tuple[int, int, int]:
    try:
        n = int(dataset.get("NumberOfFrames") or 1)
        height, width = int(dataset.Rows), int(dataset.Columns)
    except Exception as error:
        raise ValueError("a DICOM file without a picture (no Rows and Columns)") from error
    if min(n, height, width) < 1:
        raise ValueError(f"a DICOM header that names {n} frames of {width} x {height} pixels")
    if height * width > MAX_PIXELS or n * height * width > MAX_VOXELS:
        raise ValueError(f"{n} frames of {width} x {height} pixels, more than accepted of one DICOM file")
    return n, height, width


def _shown(dataset: pydicom.Dataset, stored: np.ndarray) -> np.ndarray:
    """One decoded frame as uint8 (H, W)."""
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        coloured = apply_color_lut(stored, dataset)
        stored = (coloured >> 8 if coloured.dtype.itemsize > 1 else coloured).astype(np.uint8)
    if stored.ndim == 3:
        return np.asarray(Image.fromarray(stored).convert("L"))
    values = apply_modality_lut(stored, dataset)
    if table := dataset.get("VOILUTSequence"):
        top = 2 ** int(table[0].LUTDescriptor[2]) - 1
        shown = grey.scaled(apply_voi(values.round().astype(np.int64), dataset), 0, top)
    else:
        shown = _windowed(values, dataset)
        if shown is None:
            shown = _full_range(values, stored, dataset.get("PixelPaddingValue"))
    inverse = dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
    return 255 - shown if inverse else shown


def _windowed(values: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray | None:
    """Values through the first window; None where the file names no usable one."""
    centre, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    function = dataset.get("VOILUTFunction") or "LINEAR"
    if centre is None or width is None or not np.isfinite([centre, width]).all() or width <= 0:
        return None
    grey.bounds(values.min(), values.max(), "f")  # refuses what is not finite
    if function == "SIGMOID":
        return grey.scaled(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700))), 0, 1)
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width <= 0:  # a threshold
        return np.where(values > centre, 255, 0).astype(np.uint8)
    return grey.scaled(values, centre - width / 2, centre + width / 2)


def _full_range(values: np.ndarray, stored: np.ndarray, padding) -> np.ndarray:
    """Values by their own range; padding (outside the detector) is black and has no part in it."""
    inside = np.ones(values.shape, bool) if padding is None else stored != padding
    if not inside.any():
        return np.zeros(values.shape, np.uint8)
    shown = grey.scaled(values, *grey.bounds(values[inside].min(), values[inside].max(), "f"))
    return np.where(inside, shown, 0).astype(np.uint8)


def _first(value) -> float | None:
    """The first of several values, as a number."""
    if value is None or value == "":
        return None
    return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)
