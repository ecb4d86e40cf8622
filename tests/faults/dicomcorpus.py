"""DICOM files of every kind that readers trip over, each with what a viewer must show of it (`c11`), from a seed.

A row of settings (pairwise: every two that may stand together do) becomes a file.
"""

from collections.abc import Iterator

import c11
import numpy as np
import pairwise
from dicompixels import (
    ENHANCED,
    GDCM,
    LOSSY,
    NATIVE,
    PALETTES,
    coloured,
    encode,
    extent,
    plain,
    whole_numbers,
    written,
)
from judge import Case
from pydicom import uid
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
COLOURS = {  # photometric interpretation -> the transfer syntaxes that may carry it
    "RGB": (*NATIVE, uid.RLELossless, uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless),
    "RGB planar": NATIVE,
    "YBR_FULL": (*NATIVE, uid.RLELossless, uid.JPEGBaseline8Bit),
    "YBR_FULL_422": (*NATIVE, uid.JPEGBaseline8Bit),
    "YBR_RCT": (uid.JPEG2000Lossless,),
    "YBR_ICT": (uid.JPEG2000,),
}
TABLES = ("8 as bytes", "8 in 16", "12", "12 in 16", "16", "65536 entries")

FACTORS = {
    "syntax": (*NATIVE, uid.RLELossless, uid.JPEGBaseline8Bit, *GDCM),
    "bits": ((1, 1), (8, 8), (16, 8), (16, 10), (16, 12), (16, 14), (16, 16), (32, 20), (32, 32)),
    "sign": (0, 1),
    "unused bits": ("zero", "extended", "overlay"),
    "photometric": (*MONOCHROME, *PALETTES, *COLOURS),
    "shape": ("", "IDENTITY", "INVERSE"),
    "window": (
        *("none", "empty", "empty function", "LINEAR", "LINEAR_EXACT", "SIGMOID"),
        *("several", "wide", "width 1", "below 1", "exact below 1"),
    ),
    "modality": ("none", "empty", "rescale", "fraction", "tiny", "negative", *TABLES[:5], "empty table"),
    "table": ("none", *TABLES, "empty table"),
    "padding": ("none", "value", "range", "range backwards"),
    "layout": ("single", "frames", "shared", "per frame", "mixed"),
}


def allowed(row: dict) -> bool:
    """Whether the standard, or at least a writer that exists, puts these together."""
    get = row.get
    syntax, bits, photometric, sign = get("syntax"), get("bits"), get("photometric"), get("sign")
    if bits and syntax:
        fits = {uid.JPEGBaseline8Bit: bits == (8, 8), uid.JPEGExtended12Bit: bits == (16, 12)}
        if not fits.get(syntax, syntax in NATIVE or bits[0] in (8, 16)):
            return False
    if syntax == uid.RLELossless and bits == (16, 8):  # pydicom 3.0 writes every other byte of it
        return False
    if sign and syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
        return False
    if bits == (1, 1) and (sign or photometric == "MONOCHROME1" or get("padding", "none") != "none"):
        return False
    full = bits is not None and bits[0] == bits[1]
    if get("unused bits", "zero") != "zero" and (full or (syntax and syntax not in NATIVE)):
        return False
    if get("unused bits") == "extended" and sign == 0:
        return False
    # a value that the coding does not keep, or that US and SS do not hold
    if get("padding", "none") != "none" and (syntax in LOSSY or (bits or (0,))[0] > 16):
        return False
    enhanced = get("layout") in ENHANCED
    if enhanced and get("modality") in (*TABLES, "empty table"):  # its functional groups hold a rescale only
        return False
    if photometric is None or photometric in MONOCHROME:
        return True
    if get("shape") or get("modality", "none") != "none" or get("table", "none") != "none":
        return False
    if get("padding", "none") != "none" or sign or get("unused bits", "zero") != "zero" or enhanced:
        return False
    if photometric in PALETTES:
        return bits in (None, (8, 8), (16, 16)) and syntax not in LOSSY
    return bits in (None, (8, 8)) and (syntax is None or syntax in COLOURS[photometric])


def cases(seeds: int = 3) -> Iterator[Case]:
    """The corpus: each pair of settings in at least `seeds` files."""
    number = 0
    for seed in range(seeds):
        for row in pairwise.rows(FACTORS, allowed, seed):
            if len(row) == len(FACTORS):
                yield case(row, number)
                number += 1


def case(row: dict, number: int) -> Case:
    rng = np.random.default_rng(number)
    count = 1 if row["layout"] == "single" else 3
    colour = row["photometric"] in COLOURS
    stored, padding = (coloured(row, count, rng), None) if colour else whole_numbers(row, count, rng)
    dataset = plain(row, stored)
    decoded = encode(dataset, stored, row)
    if colour:
        shown = [c11.luma(rgb) for rgb in decoded]
    elif row["photometric"] in PALETTES:
        shown = [c11.luma(rgb) for rgb in palette(dataset, decoded, row)]
    else:
        if padding:
            pad(dataset, padding, row)
        shown = [c11.shown(values, grey) for values, grey in zip(decoded, greys(dataset, decoded, row), strict=True)]
    if row["photometric"] not in MONOCHROME:
        window(dataset, c11.Window(40, 20), row)  # C.11.2.1.2.1: "no meaning for other Images"
    refused = "deflated" if row["syntax"] == uid.DeflatedExplicitVRLittleEndian else ""
    name = f"{number:03d} " + ", ".join(f"{key} {said(value)}" for key, value in row.items() if value != "none")
    return Case(name, written(dataset, row["syntax"]), [] if refused else shown, refused)


def said(value) -> str:
    return value.name if isinstance(value, uid.UID) else str(value)


# the grey scale pipeline, written and told


def greys(dataset: FileDataset, stored: np.ndarray, row: dict) -> list[c11.Grey]:
    """Write modality and VOI where the layout has them; what they are, frame by frame."""
    padding = dataset.get("PixelPaddingValue")
    if padding is not None:
        padding = tuple(sorted((padding, dataset.get("PixelPaddingRangeLimit", padding))))
    inverse = row["photometric"] == "MONOCHROME1" or row["shape"] == "INVERSE"
    shared, own = Dataset(), [Dataset() for _ in stored]
    made = []
    for number in range(len(stored)):
        again = number if row["layout"] in ("per frame", "mixed") else 0
        rescale_at, voi_at = dataset, dataset
        if row["layout"] in ENHANCED:
            rescale_group = own[number] if row["layout"] == "per frame" else shared
            voi_group = shared if row["layout"] == "shared" else own[number]
            rescale_at = group(rescale_group, "PixelValueTransformationSequence")
            voi_at = group(voi_group, "FrameVOILUTSequence")
        modality = write_modality(rescale_at, row, again if row["layout"] == "per frame" else 0)
        ends = c11.modality(np.array(extent(row)), modality)
        table = write_table(voi_at, row, ends.min(), ends.max(), again)
        chosen = chosen_window(row, ends.min(), ends.max(), again)
        window(voi_at, chosen, row)
        used = chosen if row["window"] not in ("none", "empty") else None
        made.append(c11.Grey(modality, table, used, padding, inverse))
    if row["layout"] in ENHANCED:
        dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], own
    return made


def group(functional: Dataset, name: str) -> Dataset:
    if name not in functional:
        functional.add_new(name, "SQ", [Dataset()])
    return functional[name].value[0]


def write_modality(at: Dataset, row: dict, again: int) -> c11.Rescale | c11.Table | None:
    kind = row["modality"]
    if kind == "empty":
        at.RescaleSlope = at.RescaleIntercept = None
    elif kind == "empty table":
        at.ModalityLUTSequence = []
    elif kind in TABLES:
        low, high = extent(row)
        made, item = lut(kind, max(low, 0 if high > 32767 else low), 1.0, row)
        at.ModalityLUTSequence = [item]
        return made
    elif kind != "none":
        slope, intercept = {
            "rescale": (2, -1024),
            "fraction": (0.37, -3.25),
            "tiny": (5.6e-6, 0),
            "negative": (-1.5, 100),
        }[kind]
        slope *= 1 + again
        at.RescaleSlope, at.RescaleIntercept, at.RescaleType = f"{slope:.10g}", f"{intercept}", "US"
        return c11.Rescale(float(f"{slope:.10g}"), intercept)
    return None


def write_table(at: Dataset, row: dict, low: float, high: float, again: int) -> c11.Table | None:
    if row["table"] == "empty table":
        at.VOILUTSequence = []
    if row["table"] not in TABLES:
        return None
    signed = row["sign"] == 1 and row["modality"] not in TABLES
    first = int(np.clip(low, -32768 if signed else 0, 32767 if signed else 65000))
    made, item = lut(row["table"], first, 1.1 + 0.1 * again, row, signed)
    at.VOILUTSequence = [item]
    return made


def lut(kind: str, first: int, gamma: float, row: dict, signed: bool | None = None) -> tuple[c11.Table, Dataset]:
    """A table from the input `first` on, and its item; OW holds 16-bit words in the file's byte order."""
    count = {"8 as bytes": 256, "8 in 16": 256, "16": 5000, "65536 entries": 65536}.get(kind, 4096)
    bits, highest = {"8 as bytes": (8, 255), "8 in 16": (8, 255), "12": (12, 4095), "12 in 16": (16, 4095)}.get(
        kind, (16, 65535)
    )
    entries = np.rint(highest * np.linspace(0, 1, count) ** gamma).astype(np.int64)
    signed = bool(row["sign"]) if signed is None else signed
    item = Dataset()
    descriptor = [count % 65536, first if signed else first % 65536, bits]
    item["LUTDescriptor"] = DataElement("LUTDescriptor", "SS" if signed else "US", descriptor, validation_mode=0)
    if kind in ("12", "12 in 16"):
        item.add_new("LUTData", "US", entries.tolist())
    else:
        data = entries.astype(np.uint8).tobytes() if kind == "8 as bytes" else entries.astype("<u2").tobytes()
        item.add_new("LUTData", "OW", swapped(data, row))
    return c11.Table(first, bits, entries), item


def swapped(words: bytes, row: dict) -> bytes:
    """PS3.5 6.2: OW is words of 16 bits, whatever they hold; pydicom writes them as they are."""
    big = row["syntax"] == uid.ExplicitVRBigEndian
    return np.frombuffer(words, np.uint16).byteswap().tobytes() if big else words


def chosen_window(row: dict, low: float, high: float, again: int) -> c11.Window:
    """As its text in the file says, a window over a part of what the values reach."""
    kind, reach = row["window"], high - low
    share = {"wide": 1.7, "several": 0.3, "SIGMOID": 0.4}.get(kind, 0.55)
    width = max(share * reach, 1.5 if kind in ("LINEAR", "several", "empty function", "wide") else 0)
    centre = low + (0.45 - 0.1 * again) * reach
    if kind == "width 1":
        centre, width = np.floor(centre) + 0.25, 1
    if kind in ("below 1", "exact below 1"):
        width = min(0.02, 0.4 * reach) if row["modality"] == "tiny" else 0.6
    function = {"LINEAR_EXACT": "LINEAR_EXACT", "exact below 1": "LINEAR_EXACT", "SIGMOID": "SIGMOID"}
    return c11.Window(float(f"{centre:.9g}"), float(f"{width:.9g}"), function.get(kind, "LINEAR"))


def window(at: Dataset, chosen: c11.Window, row: dict) -> None:
    kind = row["window"]
    if kind == "none":
        return
    centre, width = f"{chosen.centre:.9g}", f"{chosen.width:.9g}"
    if kind == "several":
        centre, width = [centre, "1", "7"], [width, "2", "9"]
        at.WindowCenterWidthExplanation = ["BONE", "SOFT", "THIRD"]
    at.WindowCenter, at.WindowWidth = ("", "") if kind == "empty" else (centre, width)
    if chosen.function != "LINEAR" or kind == "empty function":
        at.VOILUTFunction = "" if kind == "empty function" else chosen.function


def pad(dataset: FileDataset, padding: tuple[int, int], row: dict) -> None:
    vr = "SS" if row["sign"] else "US"
    dataset.add_new("PixelPaddingValue", vr, padding[0])
    if row["padding"] != "value":
        dataset.add_new("PixelPaddingRangeLimit", vr, padding[1])


def palette(dataset: FileDataset, stored: np.ndarray, row: dict) -> list[np.ndarray]:
    """C.7.6.3.1.5 and .6: three tables that begin at the input 10; a colour shows the upper 8 bits of 16."""
    deep = row["photometric"] == "PALETTE 16"
    made = []
    for colour, gamma in (("Red", 0.6), ("Green", 1.0), ("Blue", 1.7)):
        entries = np.rint((65535 if deep else 255) * np.linspace(0, 1, 240) ** gamma).astype(np.int64)
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [240, 10, 16 if deep else 8])
        data = entries.astype("<u2" if deep else np.uint8).tobytes()
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW", swapped(data, row))
        made.append(entries[(stored - 10).clip(0, 239)] >> (8 if deep else 0))
    return list(np.stack(made, -1))
