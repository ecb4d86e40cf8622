"""One DICOM file: its planes as one 8-bit channel, as a viewer would show them (see `voi`).

Files are known by their content. Compressed pixels are decoded by pydicom with Pillow, or with GDCM (see `gdcmworker`).
"""

import struct
import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.datadict import dictionary_has_tag
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.pixels.utils import get_j2k_parameters
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)
from pydicom.valuerep import STANDARD_VR

from ortholib.data import gdcmworker, voi

MAX_BYTES = 2**29  # of one file: all of it is held in memory
MAX_PIXELS = 2**25  # of one frame: 34 million, a stitched film of both legs has 30
MAX_VOXELS = 2**27  # of all frames
JP2 = b"\x00\x00\x00\x0cjP  "  # how a file of boxes begins; the standard wants the bare code stream
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
NATIVE = {  # (implicit VR, little endian) of a file that names no transfer syntax
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}


def is_dicom(path: Path) -> bool:
    """Whether the content is a DICOM file's; names say nothing (the OAI's are `001`).

    It has the DICM mark after its preamble, or no preamble and begins with an element of group 2 or 8.
    """
    if (size := path.stat().st_size) < 132:
        return False
    with open(path, "rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM":
        return True
    for order in "<>":
        group, element, length = struct.unpack(f"{order}HHL", start[:8])
        if group in (2, 8) and dictionary_has_tag(group << 16 | element):
            explicit = start[4:6].decode("latin1") in STANDARD_VR
            return explicit or (order == "<" and length < size)
    return False


def header(path: Path) -> pydicom.Dataset:
    """The data elements before the pixels."""
    return read(path, stop_before_pixels=True)


def shape(path: Path) -> tuple[int, int, int]:
    """(frames, height, width) as the header says. Raises ValueError where it says nothing usable."""
    return _shape(header(path))


def planes(path: Path, frames: list[int] | None = None) -> np.ndarray:
    """Frames (n, H, W) uint8 of a file, all of them by default. Raises ValueError for what cannot be decoded."""
    dataset = read(path)
    n = _shape(dataset)[0]
    if not any(name in dataset for name in PIXELS):
        raise ValueError("a DICOM file without pixels (no PixelData)")
    wanted = range(n) if frames is None else frames
    if outside := [frame for frame in wanted if not 0 <= frame < n]:
        raise ValueError(f"frame {outside[0]} of a file that holds {n}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on odd values; what matters raises
        try:
            return np.stack([voi.shown(dataset, _decoded(dataset, frame, n), frame) for frame in wanted])
        except Exception as error:  # its plugins raise anything on damaged pixels
            text = "truncated" if "less than expected" in str(error) else f"DICOM pixels: {_words(error)}"
            if isinstance(error, AttributeError | LookupError | TypeError):  # an element absent, or of a wrong kind
                text = f"a DICOM header that cannot be used: {_words(error)}"
            raise ValueError(text) from error


def window(path: Path) -> tuple[float, float, str]:
    """Lowest and highest stored value of a file that can be read, and in words by what its first frame is shown."""
    dataset = read(path)
    n = _shape(dataset)[0]
    extremes = [(values.min(), values.max()) for values in (_decoded(dataset, frame, n) for frame in range(n))]
    lows, highs = zip(*extremes, strict=True)
    return min(lows), max(highs), voi.words(dataset)


def read(path: Path, **options) -> pydicom.Dataset:
    """The data set of a file, its transfer syntax and sign as they are. Raises ValueError for what is no such file."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"more than the {MAX_BYTES // 2**20} MiB accepted of one DICOM file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open(path, "rb") as file:  # inflating the whole file is not bounded by anything
                start = pydicom.filereader.read_partial(file, lambda tag, *_: tag.group > 2, force=True)
            if start.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                raise ValueError("deflated transfer syntax, which is not read")
            dataset = pydicom.dcmread(path, force=True, **options)
            if not dataset.file_meta.get("TransferSyntaxUID"):
                if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
                    raise ValueError("compressed pixels, and no transfer syntax that says how")
                dataset.file_meta.TransferSyntaxUID = NATIVE[dataset.original_encoding]
        except Exception as error:
            raise ValueError(f"not a readable DICOM file: {_words(error)}") from error
    if dataset.file_meta.TransferSyntaxUID in JPEG2000TransferSyntaxes and "PixelData" in dataset:
        _take_sign(dataset)
    return dataset


def _take_sign(dataset: pydicom.Dataset) -> None:
    """Signed code streams under PixelRepresentation 0: pydicom would show -1 as the largest value.

    The other way round, unsigned streams under PixelRepresentation 1, pydicom takes the bits for signed, rightly.
    """
    try:
        stream = get_frame(dataset.PixelData, 0, number_of_frames=_shape(dataset)[0])
        _check_boxes(stream)
    except Exception:  # damaged: decoding says how
        return
    if get_j2k_parameters(stream).get("is_signed"):
        dataset.PixelRepresentation = 1


def _words(error: Exception) -> str:
    """The cause in one line, without pydicom's general words before it."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.removeprefix("Unable to decode as exceptions were raised by all available plugins: ")


def _decoded(dataset: pydicom.Dataset, frame: int, n: int) -> np.ndarray:
    """One frame of stored values, (H, W) or (H, W, 3)."""
    syntax, refused = dataset.file_meta.TransferSyntaxUID, ""
    if not syntax.is_compressed or syntax == RLELossless:
        return _plain(dataset, frame)
    if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit, *JPEG2000TransferSyntaxes):
        stream = get_frame(dataset.PixelData, frame, number_of_frames=n)
        if syntax in JPEG2000TransferSyntaxes:
            _check_boxes(stream)
        try:
            return pixel_array(dataset, index=frame, decoding_plugin="pillow")
        except Exception as error:
            if not stream.rstrip(b"\0\xff").endswith(b"\xff\xd9"):  # cut short: GDCM would fill up what is missing
                raise
            refused = f"{_words(error)}; "
    try:
        return gdcmworker.decode(Path(dataset.filename), frame)
    except ValueError as error:
        raise ValueError(f"{refused}{_words(error)}") from error


def _plain(dataset: pydicom.Dataset, frame: int) -> np.ndarray:
    """An uncompressed frame, also where HighBit says that values stand at the high end of their cells.

    That is believed only where the bits above BitsStored are in use: pydicom takes the low ones in any case.
    """
    values = pixel_array(dataset, index=frame)
    cell, bits, high = (int(dataset.get(name) or 0) for name in ("BitsAllocated", "BitsStored", "HighBit"))
    if 0 < bits <= high < cell:
        whole = pixel_array(dataset, index=frame, correct_unused_bits=False)
        if not np.array_equal(whole, values):
            return whole << (cell - 1 - high) >> (cell - bits)
    return values


def _check_boxes(data: bytes) -> None:
    """Walk the boxes before a JPEG 2000 code stream: pydicom 3.0 never comes to an end where one has the length 0."""
    at = 12
    while data.startswith(JP2) and at < len(data) and data[at + 4 : at + 8] != b"jp2c":
        length = int.from_bytes(data[at : at + 4], "big")
        if length < 8:
            raise ValueError(f"a JPEG 2000 box of {length} bytes")
        at += length


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
