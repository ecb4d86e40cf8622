"""What is shown of a DICOM frame's stored values: PS3.3 C.11, modality and VOI.

Stored values go through the modality's table or rescale (C.11.1), then through the VOI's table or first window
(C.11.2), those of the frame before those of all frames before those of the data set (functional groups, C.7.6.16);
without either, the plane's own range is shown. MONOCHROME1 is inverted, so that bone is bright; padding (C.7.5.1.1.2)
is black. Elements left empty say nothing.
"""

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_color_lut

from ortholib.data import grey


def shown(dataset: pydicom.Dataset, stored: np.ndarray, frame: int = 0) -> np.ndarray:
    """One decoded frame (H, W) or (H, W, 3) as uint8 (H, W). Raises ValueError for elements that make no sense."""
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        stored = _coloured(dataset, stored)
    if stored.ndim == 3:
        if stored.dtype != np.uint8:
            stored = grey.scaled(stored, 0, 2**dataset.BitsStored - 1)
        return np.asarray(Image.fromarray(stored).convert("L"))
    sources = _sources(dataset, frame)
    signed = dataset.get("PixelRepresentation") == 1
    padding = _padding(sources, stored)
    values = _modality(sources, stored, signed)
    made = _voi(sources, values, signed)
    if made is None:
        inside = values if padding is None else values[~padding]
        if not inside.size:
            return np.zeros(values.shape, np.uint8)
        made = grey.scaled(values, *grey.bounds(inside.min(), inside.max(), "f"))
    if photometric == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        made = 255 - made
    return made if padding is None else np.where(padding, 0, made).astype(np.uint8)


def _coloured(dataset: pydicom.Dataset, stored: np.ndarray) -> np.ndarray:
    """Indexes (H, W) through the palette, to (H, W, 3) uint8.

    By pydicom only where the palette is written in segments: it takes indexes into 8-bit palettes for bytes, and does
    not turn big endian words.
    """
    if "SegmentedRedPaletteColorLookupTableData" in dataset:
        values = apply_color_lut(stored, dataset)[..., :3]
        return (values >> (8 * values.dtype.itemsize - 8)).astype(np.uint8)
    names = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
    signed = dataset.get("PixelRepresentation") == 1
    tables = [_looked_up(stored, dataset, f"{name}Descriptor", f"{name}Data", signed) for name in names]
    if None in tables:
        raise ValueError("PALETTE COLOR without a palette")
    depth = max(int(white).bit_length() for _, white in tables)
    return np.stack([values >> (depth - 8) for values, _ in tables], axis=-1).astype(np.uint8)


def words(dataset: pydicom.Dataset, frame: int = 0) -> str:
    """By what a frame is shown, for a message."""
    for source in _sources(dataset, frame):
        if source.get("VOILUTSequence"):
            return "the VOI lookup table"
        if window := _window(source):
            return "centre {:.10g}, width {:.10g}, {}".format(*window)
    return "none in the file, its whole range"


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
        if window := _window(source):
            return _windowed(values, *window)
    return None


def _window(source: pydicom.Dataset) -> tuple[float, float, str] | None:
    """(centre, width, function) of the first window; None where there is no usable one."""
    centre, width = (_number(source.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width <= 0:
        return None
    return centre, width, str(source.get("VOILUTFunction") or "LINEAR").upper()


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
    """(values through the first lookup table of a sequence, its white); None where there is none, or an empty one."""
    return _looked_up(values, sequence[0], "LUTDescriptor", "LUTData", signed) if sequence else None


def _looked_up(
    values: np.ndarray, item: pydicom.Dataset, form: str, data: str, signed: bool
) -> tuple[np.ndarray, int] | None:
    """(values through a lookup table, its white); None where it is empty. form, data: the names of its elements.

    signed: whether the input may be negative, and with it the value that the first entry stands for. Written out
    because pydicom 3.0 has no 12-bit modality tables, no 8-bit entries packed in bytes, and indexes 8-bit tables by a
    byte, however long they are.
    """
    if not (descriptor := item.get(form)):
        return None  # without it pydicom cannot tell how the data are written
    if (entries := item.get(data)) in (None, "", b""):
        return None
    n, first, bits = (int(value) for value in descriptor)
    n, bits = n & 0xFFFF or 2**16, bits & 0xFF
    if isinstance(entries, bytes):
        order = ">" if item.original_encoding[1] is False else "<"
        words = np.frombuffer(entries + bytes(len(entries) % 2), f"{order}u2")
    else:
        words = np.atleast_1d(np.asarray(entries, np.int64))
    words = words.astype("<u2")
    if n > 1 and len(words) == (n + 1) // 2:  # two entries to a word
        words, bits = words.view(np.uint8), 8
    if len(words) < n:
        raise ValueError(f"{data} of {len(words)} entries, and its descriptor names {n}")
    if signed and first >= 2**15:
        first -= 2**16
    index = np.clip(np.round(values).astype(np.int64) - first, 0, n - 1)
    return words[index], 2 ** _depth(bits, words[:n].max()) - 1


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
