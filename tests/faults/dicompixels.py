"""Pixels of DICOM files: made up, packed or compressed as a row of settings says, and the file around them.

Compressed ones come from Pillow, pydicom (RLE) or GDCM; what of them is lossy is what the same library decodes.
"""

import io
import tempfile
from pathlib import Path

import gdcm
import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset

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
PALETTES = ("PALETTE 8", "PALETTE 16")
ENHANCED = ("shared", "per frame", "mixed")  # layouts with functional groups


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
    if row["unused bits"] == "overlay":  # PS3.5 8.1.1: what lies above the bits stored is no part of the value
        stored = stored | (np.arange(stored.size).reshape(stored.shape) % 2 << bits)
    return (stored & (2**allocated - 1)).astype(f"<u{allocated // 8}").tobytes()


def plain(row: dict, stored: np.ndarray) -> FileDataset:
    """The data set in Explicit VR Little Endian, its grey scale pipeline still missing."""
    dataset = FileDataset(None, {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    enhanced = row["layout"] in ENHANCED
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = uid.EnhancedCTImageStorage if enhanced else uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = stored.shape[1:3]
    if row["layout"] != "single":
        dataset.NumberOfFrames = len(stored)
    photometric = row["photometric"]
    dataset.PhotometricInterpretation = "PALETTE COLOR" if photometric in PALETTES else photometric.split()[0]
    dataset.SamplesPerPixel = 3 if stored.ndim == 4 else 1
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = int(photometric == "RGB planar")
    dataset.BitsAllocated, dataset.BitsStored = row["bits"]
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, row["sign"]
    if row["shape"]:
        dataset.PresentationLUTShape = row["shape"]
    data = packed(row, stored)
    dataset.add_new("PixelData", "OB" if row["bits"][0] <= 8 else "OW", data + bytes(len(data) % 2))
    return dataset


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
