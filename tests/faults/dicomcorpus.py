"""DICOM files of every kind that readers trip over, each with what a viewer must show of it (`c11`), from a seed.

A row of settings (pairwise: every two that may stand together do) becomes a file. Compressed pixels come from Pillow,
pydicom (RLE) or GDCM; what of them is lossy is decoded by the same library before it is rendered.
"""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import c11
import gdcm
import numpy as np
import pairwise
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

HEIGHT, WIDTH = 22, 23  # 506 pixels: bits do not end where bytes and frames do; 4:2:2 takes one column off
GDCM = {
    uid.JPEGExtended12Bit: gdcm.TransferSyntax.JPEGExtendedProcess2_4,
    uid.JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
    uid.JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    uid.JPEGLSLossless: gdcm.TransferSyntax.JPEGLSLossless,
    uid.JPEGLSNearLossless: gdcm.TransferSyntax.JPEGLSNearLossless,
    uid.JPEG2000Lossless: gdcm.TransferSyntax.JPEG2000Lossless,
    uid.JPEG2000: gdcm.TransferSyntax.JPEG2000,
}
NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000)
MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
PALETTES = ("PALETTE 8", "PALETTE 16")
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
    enhanced = get("layout") in ("shared", "per frame", "mixed")
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


class Case(NamedTuple):
    """A file: its bytes, what is expected of each frame (0 to 255), or the reason (a pattern) why it is refused."""

    name: str
    data: bytes
    frames: list[np.ndarray]
    refused: str = ""


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


# pixels


def field(count: int, rng: np.random.Generator, width: int = WIDTH) -> np.ndarray:
    """(n, H, W) from 0 to 1, both of them in each frame: a slope, a bone and noise."""
    y, x = np.mgrid[:HEIGHT, :width]
    made = x / width + 0.6 * (np.abs(x - 11 - 3 * np.sin(y / 5)) < 3) + rng.normal(0, 0.05, (count, HEIGHT, width))
    made -= made.min((1, 2), keepdims=True)
    return made / made.max((1, 2), keepdims=True)


def whole_numbers(row: dict, count: int, rng) -> tuple[np.ndarray, tuple[int, int] | None]:
    """(n, H, W) int64 over the whole range of the bits, and the padding (value, limit) that frames them."""
    low, high = extent(row)
    stored = low + np.rint(field(count, rng) * (high - low)).astype(np.int64)
    stored[1:] = low + (stored[1:] - low) // 2  # later frames hold less
    if row["padding"] == "none":
        return stored, None
    reach = 0 if row["padding"] == "value" else (high - low) // 20
    # black where it is MONOCHROME2, white where it is MONOCHROME1
    padding = (low, low + reach) if row["photometric"] == "MONOCHROME2" else (high - reach, high)
    if row["photometric"] == "MONOCHROME1":
        stored[1:] = high - (stored[1:] - low)
    stored[:, :, :4] = rng.integers(padding[0], padding[1] + 1, (count, HEIGHT, 4))
    return stored, padding if row["padding"] != "range backwards" else padding[::-1]


def extent(row: dict) -> tuple[int, int]:
    if row["photometric"] in PALETTES:  # some before and some behind the tables
        return 0, min(300, 2 ** row["bits"][1] - 1)
    bits = row["bits"][1]
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if row["sign"] else (0, 2**bits - 1)


def coloured(row: dict, count: int, rng) -> np.ndarray:
    """(n, H, W, 3) uint8 RGB."""
    width = WIDTH - 1 if "422" in row["photometric"] else WIDTH
    rgb = np.rint(np.stack([field(count, rng, width) for _ in range(3)], -1) * 255).astype(np.uint8)
    return rgb if width == WIDTH else rgb[:, :, ::2].repeat(2, 2)  # no colour is lost to its neighbour


def ybr(rgb: np.ndarray) -> np.ndarray:
    """C.7.6.3.1.2, YBR_FULL."""
    matrix = np.array([[0.2990, 0.5870, 0.1140], [-0.1687, -0.3313, 0.5000], [0.5000, -0.4187, -0.0813]])
    return np.rint(rgb @ matrix.T + [0, 128, 128]).clip(0, 255).astype(np.uint8)


def packed(row: dict, stored: np.ndarray) -> bytes:
    """Little endian native pixel data."""
    allocated, bits = row["bits"]
    match row["photometric"]:
        case "RGB planar":
            return stored.transpose(0, 3, 1, 2).tobytes()
        case "YBR_FULL":
            return ybr(stored).tobytes()
        case "YBR_FULL_422":  # Y Y Cb Cr, the colours of the left of two columns
            made = ybr(stored)
            pairs = [made[:, :, ::2, 0], made[:, :, 1::2, 0], made[:, :, ::2, 1], made[:, :, ::2, 2]]
            return np.stack(pairs, -1).tobytes()
    if allocated == 1:
        return np.packbits(stored.astype(np.uint8), bitorder="little").tobytes()
    if row["unused bits"] in ("zero", "overlay") and row["syntax"] in NATIVE:
        stored = stored & (2**bits - 1)
    if row["unused bits"] == "overlay":  # PS3.5 8.1.2: what lies above the bits stored is no part of the value
        stored = stored | (np.arange(stored.size).reshape(stored.shape) % 2 << bits)
    return (stored & (2**allocated - 1)).astype(f"<u{allocated // 8}").tobytes()


def plain(row: dict, stored: np.ndarray) -> FileDataset:
    """The data set in Explicit VR Little Endian, its grey scale pipeline still missing."""
    dataset = FileDataset(None, {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    enhanced = row["layout"] in ("shared", "per frame", "mixed")
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = uid.EnhancedCTImageStorage if enhanced else uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = stored.shape[1:3]
    if row["layout"] != "single":
        dataset.NumberOfFrames = len(stored)
    photometric = row["photometric"]
    dataset.PhotometricInterpretation = "PALETTE COLOR" if photometric in PALETTES else photometric.split()[0]
    dataset.SamplesPerPixel = 3 if photometric in COLOURS else 1
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = int(photometric == "RGB planar")
    dataset.BitsAllocated, dataset.BitsStored = row["bits"]
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, row["sign"]
    if row["shape"]:
        dataset.PresentationLUTShape = row["shape"]
    data = packed(row, stored)
    dataset.add_new("PixelData", "OB" if row["bits"][0] <= 8 else "OW", data + bytes(len(data) % 2))
    return dataset


# compression


def encode(dataset: FileDataset, stored: np.ndarray, row: dict) -> np.ndarray:
    """Compress the pixels; the values that a decoder must give."""
    syntax = row["syntax"]
    if syntax in NATIVE:
        return stored
    if syntax == uid.RLELossless:
        dataset.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
        return stored
    if syntax == uid.JPEGBaseline8Bit or row["photometric"] in ("YBR_RCT", "YBR_ICT"):
        streams = [by_pillow(frame.astype(np.uint8), row) for frame in stored]
        replace_pixels(dataset, syntax, pydicom.encaps.encapsulate(streams))
        return np.stack([np.asarray(Image.open(io.BytesIO(stream))) for stream in streams]).astype(np.int64)
    streams, decoded = zip(*(by_gdcm(frame, row) for frame in stored), strict=True)
    replace_pixels(dataset, syntax, pydicom.encaps.encapsulate(list(streams)))
    if syntax not in LOSSY:
        return stored
    decoded = np.stack(decoded).astype(np.int64)
    assert np.abs(decoded - stored).mean() <= 0.02 * np.ptp(stored) + 1
    return decoded


def replace_pixels(dataset: FileDataset, syntax: uid.UID, data: bytes) -> None:
    dataset.PixelData = data
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = syntax
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0


def by_pillow(values: np.ndarray, row: dict) -> bytes:
    buffer, image = io.BytesIO(), Image.fromarray(values)
    if row["syntax"] == uid.JPEGBaseline8Bit:
        subsampling = "4:2:2" if row["photometric"] == "YBR_FULL_422" else "4:4:4"
        image.save(buffer, "JPEG", quality=95, subsampling=subsampling)
    else:
        image.save(buffer, "JPEG2000", irreversible=row["photometric"] == "YBR_ICT", no_jp2=True, mct=1)
    return buffer.getvalue()


def by_gdcm(frame: np.ndarray, row: dict) -> tuple[bytes, np.ndarray]:
    """The code stream of one frame, and what GDCM itself makes of it."""
    bare = dict.fromkeys(row, "") | {name: row[name] for name in ("bits", "sign")} | {"layout": "single"}
    bare["photometric"] = "RGB" if frame.ndim == 3 else "MONOCHROME2"
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "source.dcm", Path(folder) / "made.dcm"
        pydicom.dcmwrite(source, plain(bare, frame[None]), enforce_file_format=True)
        reader, change, writer = gdcm_reader(source), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        change.SetTransferSyntax(gdcm.TransferSyntax(GDCM[row["syntax"]]))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(made))
        assert writer.Write()
        reader = gdcm_reader(made)  # owns its image
        buffer = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
        kind = f"{'i' if row['sign'] else 'u'}{row['bits'][0] // 8}"
        stream = pydicom.encaps.get_frame(pydicom.dcmread(made).PixelData, 0, number_of_frames=1)
        return stream, np.frombuffer(buffer, kind, frame.size).reshape(frame.shape)


def gdcm_reader(path: Path) -> gdcm.ImageReader:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    return reader


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
        if row["layout"] in ("shared", "per frame", "mixed"):
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
    if row["layout"] in ("shared", "per frame", "mixed"):
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


# the file


def written(dataset: FileDataset, syntax: uid.UID) -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    if syntax == uid.ExplicitVRBigEndian:
        if dataset.BitsAllocated > 8:
            values = np.frombuffer(dataset.PixelData, f"u{dataset.BitsAllocated // 8}")
            dataset.PixelData = values.byteswap().tobytes()
        pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
    else:
        implicit = syntax == uid.ImplicitVRLittleEndian
        pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()
