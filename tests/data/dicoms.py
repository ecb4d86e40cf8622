"""DICOM data sets around made-up pixels, and files of them."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian


def make(values: np.ndarray, **elements) -> FileDataset:
    """A data set around stored values (H, W), (n, H, W) or RGB (H, W, 3)."""
    dataset = FileDataset(None, {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    colour = values.ndim == 3 and values.shape[2] == 3
    if values.ndim == 3 and not colour:
        dataset.NumberOfFrames = len(values)
    dataset.Rows, dataset.Columns = values.shape[:2] if colour else values.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * values.itemsize
    dataset.BitsStored = 12 if values.itemsize == 2 else 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OB" if values.itemsize == 1 else "OW"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def written(path, dataset, syntax=None):
    """The path of a data set written in a plain transfer syntax, the one it has or another."""
    big = syntax == ExplicitVRBigEndian
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
    if big:
        dataset.PixelData = np.frombuffer(dataset.PixelData, np.uint16).byteswap().tobytes()
    implicit = dataset.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    options = {"force_encoding": True} if big else {"enforce_file_format": True}
    pydicom.filewriter.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=not big, **options)
    return path


def encapsulated(dataset: FileDataset, stream: bytes, syntax) -> FileDataset:
    """The data set with one compressed frame in place of its pixels."""
    dataset.PixelData = pydicom.encaps.encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def by_gdcm(plain, packed, syntax: str):
    """The path `packed`, where a plain file is written in the transfer syntax that GDCM calls `syntax`."""
    gdcm = pytest.importorskip("gdcm")
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    if syntax == "JPEGExtendedProcess2_4":
        codec = gdcm.JPEGCodec()
        codec.SetLossless(False)
        codec.SetQuality(100)
        change.SetUserCodec(codec)
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(packed))
    assert writer.Write()
    return packed


def lut(entries: np.ndarray, first: int = 0, bits: int = 16, vr: str = "US", packed: bool = False) -> Dataset:
    """An item of a modality or VOI LUT sequence: words as US or OW, or bytes two to a word (packed)."""
    words = entries.astype("u1" if packed else "<u2").tobytes()
    made = Dataset()
    made.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 2**16, first, bits])
    made.add_new("LUTData", vr, words if vr == "OW" else np.frombuffer(words, "<u2").tolist())
    return made


def item(**elements) -> Dataset:
    """A sequence item; a dict among its elements becomes a sequence of one item."""
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, [item(**value)] if isinstance(value, dict) else value)
    return made
