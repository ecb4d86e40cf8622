"""Hostile image files: sound ones of every format the project reads, and what a bad disk or hand makes of them."""

import gzip
import io
import os
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import gdcm
import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

EXTREMES = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]


def picture(seed: int) -> np.ndarray:
    """(40, 48) uint8: a bright bone on a dark ground, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :48]
    bone = 150 * (np.abs(x - 24 - 4 * np.sin(y / 9 + seed)) < 7)
    return np.clip(40 + bone + rng.normal(0, 12, (40, 48)), 0, 255).astype(np.uint8)


def sound(seed: int) -> dict[str, bytes]:
    """One file of every format, as suffix -> bytes; kinds that share a suffix are told apart by a word before it."""
    grey = picture(seed)
    deep = grey.astype(np.uint16) * 16 + 7
    made = {}
    for name, values, options in (
        (".jpg", grey, {"format": "JPEG", "quality": 90}),
        (".png", grey, {"format": "PNG"}),
        (".16.png", deep, {"format": "PNG"}),
        (".tif", grey, {"format": "TIFF", "compression": "tiff_deflate"}),
        (".16.tif", deep, {"format": "TIFF"}),
        (".float.tif", deep.astype(np.float32), {"format": "TIFF"}),
        (".bmp", grey, {"format": "BMP"}),
        (".webp", np.stack([grey] * 3, 2), {"format": "WEBP"}),
        (".gif", grey, {"format": "GIF"}),
    ):
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, **options)
        made[name] = buffer.getvalue()
    made[".dcm"] = dicom(deep)
    made[".frames.dcm"] = dicom(np.stack([deep, deep // 2]))
    for name, syntax in ((".rle.dcm", RLELossless), (".j2k.dcm", JPEG2000Lossless), (".jpg.dcm", JPEGBaseline8Bit)):
        made[name] = compressed(grey, syntax)
    made[".ls.dcm"] = by_gdcm(deep, gdcm.TransferSyntax.JPEGLSLossless)
    made[".lossless.dcm"] = by_gdcm(deep, gdcm.TransferSyntax.JPEGLosslessProcess14_1)
    stack = np.stack([grey, grey[::-1], grey // 2])
    for name, values in ((".npy", stack), (".deep.npy", stack.astype(np.int16) * 9), (".float.npy", stack / 7)):
        buffer = io.BytesIO()
        np.save(buffer, values)
        made[name] = buffer.getvalue()
    made[".nii"] = nibabel.Nifti1Image(stack.T.astype(np.int16), np.eye(4)).to_bytes()
    made[".nii.gz"] = gzip.compress(made[".nii"], 1)
    return made


def dicom(values: np.ndarray, **elements) -> bytes:
    """An uncompressed DICOM file of (H, W) or (n, H, W) values."""
    dataset = FileDataset(None, {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    if values.ndim == 3:
        dataset.NumberOfFrames = len(values)
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored = 8 * values.itemsize, 12 if values.itemsize == 2 else 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OB" if values.itemsize == 1 else "OW"
    for name, value in elements.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def compressed(grey: np.ndarray, syntax: str) -> bytes:
    """A DICOM file with encapsulated pixels."""
    dataset = pydicom.dcmread(io.BytesIO(dicom(grey)))
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    else:
        buffer = io.BytesIO()
        Image.fromarray(grey).save(buffer, "JPEG2000" if syntax == JPEG2000Lossless else "JPEG")
        dataset.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def by_gdcm(values: np.ndarray, syntax: int) -> bytes:
    """A DICOM file in a transfer syntax that only GDCM writes."""
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.dcm", Path(folder) / "packed.dcm"
        plain.write_bytes(dicom(values))
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(plain))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(packed))
        assert writer.Write()
        return packed.read_bytes()


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(0, len(data))]


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    values = np.frombuffer(data, np.uint8).copy()
    for at in rng.integers(0, len(values), rng.choice([1, 2, 8, 64])):
        values[at] ^= 1 << rng.integers(8)
    return values.tobytes()


def lie(data: bytes, rng: np.random.Generator) -> bytes:
    """An extreme number somewhere in the header, where sizes, offsets and counts stand."""
    width = int(rng.choice([1, 2, 4]))
    at = int(rng.integers(0, max(1, min(len(data), 700) - width)))
    value = int(rng.choice(EXTREMES)) & (256**width - 1)
    return data[:at] + value.to_bytes(width, str(rng.choice(["little", "big"]))) + data[at + width :]


def blot(data: bytes, rng: np.random.Generator) -> bytes:
    """A stretch overwritten with zeros, noise or another stretch."""
    length = int(rng.integers(1, max(2, len(data) // 3)))
    at, other = (int(v) for v in rng.integers(0, max(1, len(data) - length), 2))
    stretch = [bytes(length), rng.bytes(length), data[other : other + length]][rng.integers(3)]
    return data[:at] + stretch + data[at + length :]


def lengthen(data: bytes, rng: np.random.Generator) -> bytes:
    return data + [data, rng.bytes(500), bytes(5000)][rng.integers(3)]


MUTATIONS: tuple[Callable, ...] = (cut, flip, flip, lie, lie, blot, lengthen)


def mutated(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """`count` files as (name, bytes): mutated once or twice, a tenth of them under another format's suffix."""
    rng = np.random.default_rng(seed)
    originals = [sound(s) for s in range(5)]
    kinds = list(originals[0])
    for number in range(count):
        kind = kinds[number % len(kinds)]
        data = originals[rng.integers(5)][kind]
        for _ in range(rng.integers(1, 3)):
            data = MUTATIONS[rng.integers(len(MUTATIONS))](data, rng) or b"\0"
        suffix = str(rng.choice(kinds)) if rng.random() < 0.1 else kind
        yield f"m{number:04d}{suffix}", data


def bombs() -> dict[str, bytes]:
    """Small files that say they are huge, or become so."""

    def png(width: int, height: int, body: bytes) -> bytes:
        def chunk(name: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

        header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")

    nifti = nibabel.Nifti1Header()
    nifti.set_data_shape((2000, 2000, 100))
    nifti.set_data_dtype(np.float64)
    big = nibabel.Nifti1Header()
    big.set_data_shape((30000, 30000, 3000))
    npy = io.BytesIO()
    np.lib.format.write_array_header_1_0(npy, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**4, 10**3)})
    small = picture(0)
    return {
        "bomb-size.png": png(60000, 60000, zlib.compress(bytes(1000))),
        "bomb-below-the-limit.png": png(9400, 9400, zlib.compress(bytes(9401 * 9400), 9)),
        "bomb-stream.png": png(40, 40, zlib.compress(bytes(200_000_000), 9)),
        "bomb.tif": _tiff(60000, 60000),
        "bomb.nii": big.binaryblock + bytes(100),
        "bomb.nii.gz": gzip.compress(nifti.binaryblock + bytes(4) + bytes(300_000_000), 9),
        "bomb.npy": npy.getvalue(),
        "bomb-rows.dcm": dicom(small, Rows=65535, Columns=65535),
        "bomb-frames.dcm": dicom(small, NumberOfFrames=2**31 - 1),
        "bomb-nested.dcm": _nested(dicom(small), 2000),
    }


def _nested(data: bytes, levels: int) -> bytes:
    """A DICOM file whose first data element is a sequence in a sequence, `levels` deep."""
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 2**32 - 1)
    opening += struct.pack("<HHI", 0xFFFE, 0xE000, 2**32 - 1)
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    start = 132 + 12 + int.from_bytes(data[140:144], "little")  # behind the file's meta information
    return data[:start] + opening * levels + closing * levels + data[start:]


def _tiff(width: int, height: int) -> bytes:
    """A TIFF header of one deflated strip."""
    body = zlib.compress(bytes(10_000_000), 9)
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 200), (277, 3, 1)]
    tags += [(278, 4, height), (279, 4, len(body))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    return head + bytes(200 - len(head)) + body


def odd_entries(folder: Path, outside: Path) -> None:
    """Things that are no plain file: links out of the folder and in circles, a pipe, folders named like images."""
    (folder / "link-out.png").symlink_to(outside)
    (folder / "linked-folder").symlink_to(outside.parent, target_is_directory=True)
    (folder / "circle.png").symlink_to(folder / "circle.png")
    (folder / "dangling.png").symlink_to(folder / "nothing.png")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
