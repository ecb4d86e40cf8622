"""Write DICOM files of one 16-bit plane, uncompressed or losslessly compressed. Same input, same bytes."""

from pathlib import Path

import gdcm
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

from ortholib.phantom.files import encoded

CLASSES = {"DX": DigitalXRayImageStorageForPresentation, "MR": MRImageStorage}
SYNTAXES = {
    "plain": ExplicitVRLittleEndian, "rle": RLELossless, "jpeg2000": JPEG2000Lossless, "jpeg": JPEGLosslessSV1,
}  # fmt: skip


def write_dicom(
    path: Path, stored: np.ndarray, name: str, *, modality: str, bits: int = 12, syntax: str = "plain", **elements
) -> None:
    """Write `stored` (H, W) uint16, of which the low `bits` are used, as one DICOM file.

    `name`: what the UIDs are derived from, so that a file is the same whenever it is written. `modality`: one of
    `CLASSES`. `syntax`: one of `SYNTAXES`, all lossless. `elements`: further data elements by keyword, such as
    `PatientID`; they win over the ones set here.
    """
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CLASSES[modality], _uid("image", name)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid("study", name), _uid("series", name)
    dataset.Modality, dataset.PhotometricInterpretation = modality, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    values = stored.astype("<u2")
    match syntax:
        case "plain" | "rle":
            dataset.PixelData = values.tobytes()
        case "jpeg2000":
            dataset.PixelData = encapsulate([encoded(values, "JPEG2000", no_jp2=True, irreversible=False)])
        case "jpeg":
            dataset.PixelData = encapsulate([_jpeg(values, bits)])
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == "rle" else SYNTAXES[syntax]
    if syntax == "rle":
        dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)


def _uid(kind: str, name: str) -> str:
    return generate_uid(entropy_srcs=["ortholib phantom", kind, name])


def _jpeg(values: np.ndarray, bits: int) -> bytes:
    """A lossless JPEG stream (process 14, selection value 1)."""
    writer = gdcm.ImageWriter()  # owns the image: kept in scope
    image = writer.GetImage()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((values.shape[1], values.shape[0], 1))
    kind = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, bits, bits - 1, 0))
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(values.tobytes())
    image.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(image)
    if not change.Change():
        raise RuntimeError("gdcm could not encode the pixels as lossless JPEG")
    fragment = change.GetOutput().GetDataElement().GetSequenceOfFragments().GetFragment(0)
    return fragment.GetByteValue().GetBuffer().encode("utf-8", "surrogateescape")
