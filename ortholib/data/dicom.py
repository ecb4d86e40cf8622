"""One DICOM file: its planes as one 8-bit channel, as a viewer would show them.

Stored values go through the modality's table or rescale (PS3.3 C.11.1), then through the VOI's table or first window
(C.11.2), those of the frame before those of all frames before those of the data set (functional groups, C.7.6.16);
without either, the plane's own range is shown. MONOCHROME1 is inverted, so that bone is bright; padding (C.7.5.1.1.2)
is black. Elements left empty say nothing. Compressed pixels are decoded by pydicom with Pillow, or with GDCM (see
`gdcmworker`).
"""

import struct
import warnings
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.datadict import dictionary_has_tag
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, pixel_array
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

from ortholib.data import gdcmworker, grey

MAX_BYTES = 2**29  # of one file: all of it is held in memory
MAX_PIXELS = 2**25  # of one frame: 34 million, a stitched film of both legs has 30
MAX_VOXELS = 2**27  # of all frames
JP2 = b"\x00\x00\x00\x0cjP  "  # how a file of boxes begins; the standard wants the bare code stream
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
    wanted = range(n) if frames is None else frames
    if outside := [frame for frame in wanted if not 0 <= frame < n]:
        raise ValueError(f"frame {outside[0]} of a file that holds {n}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on odd values; what matters raises
        try:
            return np.stack([_shown(dataset, _decoded(dataset, frame, n), frame) for frame in wanted])
        except Exception as error:  # its plugins raise anything on damaged pixels
            text = "truncated" if "less than expected" in str(error) else f"DICOM pixels: {_words(error)}"
            raise ValueError(text) from error


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
        stream = get_j2k_parameters(get_frame(dataset.PixelData, 0, number_of_frames=_shape(dataset)[0]))
    except Exception:  # damaged: decoding says how
        return
    if stream.get("is_signed"):
        dataset.PixelRepresentation = 1


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _decoded(dataset: pydicom.Dataset, frame: int, n: int) -> np.ndarray:
    """One frame of stored values, (H, W) or (H, W, 3)."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax == RLELossless:
        return pixel_array(dataset, index=frame)
    if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit, *JPEG2000TransferSyntaxes):
        stream = get_frame(dataset.PixelData, frame, number_of_frames=n)
        if syntax in JPEG2000TransferSyntaxes:
            _check_boxes(stream)
        try:
            return pixel_array(dataset, index=frame, decoding_plugin="pillow")
        except Exception:
            if not stream.rstrip(b"\0\xff").endswith(b"\xff\xd9"):  # cut short: GDCM would fill up what is missing
                raise
    return gdcmworker.decode(Path(dataset.filename), frame)


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


def _shown(dataset: pydicom.Dataset, stored: np.ndarray, frame: int) -> np.ndarray:
    """One decoded frame as uint8 (H, W)."""
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        every, coloured = (apply_color_lut(v, dataset) for v in (np.arange(2**16, dtype=np.uint16), stored))
        depth = _depth(8 * coloured.dtype.itemsize, every.max())
        stored = (coloured >> (depth - 8)).astype(np.uint8)
    if stored.ndim == 3:
        if stored.dtype != np.uint8:
            stored = grey.scaled(stored, 0, 2**dataset.BitsStored - 1)
        return np.asarray(Image.fromarray(stored).convert("L"))
    sources = _sources(dataset, frame)
    signed = dataset.get("PixelRepresentation") == 1
    padding = _padding(sources, stored)
    values = _modality(sources, stored, signed)
    shown = _voi(sources, values, signed)
    if shown is None:
        inside = values if padding is None else values[~padding]
        if not inside.size:
            return np.zeros(values.shape, np.uint8)
        shown = grey.scaled(values, *grey.bounds(inside.min(), inside.max(), "f"))
    if photometric == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        shown = 255 - shown
    return shown if padding is None else np.where(padding, 0, shown).astype(np.uint8)


def _sources(dataset: pydicom.Dataset, frame: int) -> list[pydicom.Dataset]:
    """Where a frame's elements may stand, the nearest first: its functional groups, the shared ones, the data set."""
    own = (dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    groups = [element.value for group in [*own, *shared] for element in group if element.VR == "SQ"]
    return [*(items[0] for items in groups if items), dataset]


def _padding(sources: list[pydicom.Dataset], stored: np.ndarray) -> np.ndarray | None:
    """Where a frame (H, W) holds padding: one value, or all from it to PixelPaddingRangeLimit; None where unnamed."""
    for source in sources:
        if (value := _number(source.get("PixelPaddingValue"))) is not None:
            limit = _number(source.get("PixelPaddingRangeLimit"))
            ends = np.array([value, value if limit is None else limit])
            if stored.dtype.kind in "iu":  # as US though SS is meant, or the other way: the same bits
                ends = ends.astype(np.int64).astype(stored.dtype)
            return (stored >= ends.min()) & (stored <= ends.max())
    return None


def _modality(sources: list[pydicom.Dataset], stored: np.ndarray, signed: bool) -> np.ndarray:
    """Stored values through the modality's table or rescale (PS3.3 C.11.1)."""
    for source in sources:
        if table := _table(source.get("ModalityLUTSequence"), stored, signed):
            return table[0]
        slope, intercept = (_number(source.get(name)) for name in ("RescaleSlope", "RescaleIntercept"))
        if slope is not None and intercept is not None:
            return stored.astype(np.float64) * slope + intercept
    return stored


def _voi(sources: list[pydicom.Dataset], values: np.ndarray, signed: bool) -> np.ndarray | None:
    """Values through the VOI's table or first window (PS3.3 C.11.2) to uint8; None where the file names none."""
    for source in sources:
        if table := _table(source.get("VOILUTSequence"), values, signed or values.min() < 0):
            return grey.scaled(table[0], 0, table[1])
        centre, width = (_number(source.get(name)) for name in ("WindowCenter", "WindowWidth"))
        if centre is not None and width is not None and width > 0:
            return _windowed(values, centre, width, str(source.get("VOILUTFunction") or "LINEAR").upper())
    return None


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Values through a window, as PS3.3 C.11.2.1.2 (LINEAR) and C.11.2.1.3 (SIGMOID, LINEAR_EXACT) say.

    Written out because of windows narrower than 1, which LINEAR forbids and files hold all the same: LINEAR_EXACT is
    meant. pydicom 3.0 refuses them and inverts where the rescale slope is negative; highdicom 0.28 divides by width - 1
    whatever it is.
    """
    grey.bounds(values.min(), values.max(), "f")  # refuses what is not finite
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ValueError(f"VOILUTFunction '{function}', expected LINEAR, LINEAR_EXACT or SIGMOID")
    if function == "SIGMOID":
        return grey.scaled(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700))), 0, 1)
    if function == "LINEAR" and width >= 1:
        centre, width = centre - 0.5, width - 1
    if width == 0:  # a threshold
        return np.where(values > centre, 255, 0).astype(np.uint8)
    return grey.scaled(values, centre - width / 2, centre + width / 2)


def _table(sequence, values: np.ndarray, signed: bool) -> tuple[np.ndarray, int] | None:
    """(values through the first lookup table of a sequence, its white); None where it is empty.

    signed: whether the input may be negative, and with it the value that the first entry stands for. Written out
    because pydicom 3.0 has no 12-bit modality tables, no 8-bit entries packed in bytes, and indexes 8-bit VOI tables by
    a byte, however long they are.
    """
    item = sequence[0] if sequence else {}
    if not (descriptor := item.get("LUTDescriptor")):
        return None  # without it pydicom cannot tell how the data are written
    if (data := item.get("LUTData")) in (None, "", b""):
        return None
    n, first, bits = (int(value) for value in descriptor)
    n, bits = n & 0xFFFF or 2**16, bits & 0xFF
    if isinstance(data, bytes):
        order = ">" if item.original_encoding[1] is False else "<"
        entries = np.frombuffer(data + bytes(len(data) % 2), f"{order}u2")
    else:
        entries = np.atleast_1d(np.asarray(data, np.int64)).astype(np.uint16)
    if len(entries) < n <= 2 * len(entries) and bits <= 8:
        entries = entries.astype("<u2").view(np.uint8)
    if len(entries) < n:
        raise ValueError(f"a lookup table of {len(entries)} entries, and its descriptor names {n}")
    if signed and first >= 2**15:
        first -= 2**16
    index = np.clip(np.round(values).astype(np.int64) - first, 0, n - 1)
    return entries[index], 2 ** _depth(bits, entries[:n].max()) - 1


def _depth(named: int, top: int) -> int:
    """Bits of a table: those it names, but those in use (8 or more) where its largest entry, top, needs more than that,
    or so few that two are empty: tables that name 16 and hold 12, or 8, are common."""
    used = int(top).bit_length()
    return named if named - 1 <= used <= named else max(8, used)


def _number(value) -> float | None:
    """The first of several values, as a number; None where there is none, or it is not finite."""
    if isinstance(value, pydicom.multival.MultiValue):
        value = value[0] if value else None
    if value is None or value == "":
        return None
    return float(value) if np.isfinite(float(value)) else None
