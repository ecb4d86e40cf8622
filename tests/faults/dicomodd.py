"""Single DICOM files of the kinds that no table of settings holds: odd envelopes, lies, and what nobody can read."""

import io

import c11
import dicomcorpus
import dicompixels
import numpy as np
import pydicom
from judge import Case
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset

ROW = {name: values[0] for name, values in dicomcorpus.FACTORS.items()} | {
    "syntax": uid.ExplicitVRLittleEndian,
    "bits": (16, 12),
    "photometric": "MONOCHROME2",
    "window": "none",
}
STORED = dicompixels.whole_numbers(ROW, 1, np.random.default_rng(0))[0]
WINDOWED = {"WindowCenter": 1000, "WindowWidth": 900}
SHOWN = [c11.shown(STORED[0], c11.Grey(window=c11.Window(1000, 900)))]
SIGNED = STORED - 2048


def made(stored: np.ndarray = STORED, row: dict | None = None, **elements) -> FileDataset:
    dataset = dicompixels.plain(ROW | (row or {}), stored)
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def data(dataset: FileDataset, syntax=uid.ExplicitVRLittleEndian) -> bytes:
    return dicompixels.written(dataset, syntax)


def bare(dataset: FileDataset, implicit: bool) -> bytes:
    """The data elements alone: no preamble, no mark, no meta information."""
    buffer = io.BytesIO()
    content = Dataset({element.tag: element for element in dataset})
    pydicom.dcmwrite(buffer, content, implicit_vr=implicit, little_endian=True)
    return buffer.getvalue()


def without(dataset: FileDataset, *names: str) -> FileDataset:
    for name in names:
        del dataset[name]
    return dataset


def table(count: int, entries: np.ndarray, bits: int = 16) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [count, 0, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


def streamed(stored: np.ndarray, row: dict, syntax, **elements) -> bytes:
    """Compressed by GDCM as `row` says; elements: what the header says all the same."""
    row = ROW | row | {"syntax": syntax}
    dataset = dicompixels.plain(row, stored)
    dicompixels.encode(dataset, stored, row)
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dicompixels.written(dataset, syntax)


def floating(values: np.ndarray) -> bytes:
    dataset = without(made(**WINDOWED), "PixelData", "BitsStored", "HighBit", "PixelRepresentation")
    dataset.BitsAllocated, dataset.FloatPixelData = 32, values.astype("<f4").tobytes()
    return data(dataset)


def labelled(syntax: str) -> bytes:
    dataset = made()
    dicompixels.replace_pixels(dataset, uid.UID(syntax), pydicom.encaps.encapsulate([bytes(range(200))]))
    return dicompixels.written(dataset, uid.UID(syntax))


def cases() -> list[Case]:
    """Named files; of one with frames and a reason either is right, never another picture."""
    plain = made(**WINDOWED)
    marked = data(plain)
    shared = Dataset()
    shared.FrameVOILUTSequence, shared.PixelValueTransformationSequence = [Dataset()], [Dataset()]
    group = shared.FrameVOILUTSequence[0]
    group.WindowCenter = group.WindowWidth = None
    rgb = np.stack([STORED, STORED[:, ::-1], STORED // 2], -1)
    left = made(STORED << 4, {"bits": (16, 16)}, BitsStored=12, HighBit=15, WindowCenter=1000, WindowWidth=900)
    mixed = made(SIGNED, {"sign": 1})
    mixed.add_new("PixelPaddingValue", "US", int(SIGNED.min()) + 2**16)
    short = STORED.astype("<u2").tobytes()[:-100]
    lut = np.arange(4096)
    j2k = uid.JPEG2000Lossless
    signed_row = {"sign": 1}
    own_range = [c11.shown(STORED[0], c11.Grey())]
    return [
        Case("no preamble", marked[132:], SHOWN),
        Case("no preamble, no meta information, implicit VR", bare(plain, True), SHOWN),
        Case("no preamble, no meta information, explicit VR", bare(plain, False), SHOWN),
        Case("mark, no meta information, implicit VR", bytes(128) + b"DICM" + bare(plain, True), SHOWN),
        Case("mark, no meta information, explicit VR", bytes(128) + b"DICM" + bare(plain, False), SHOWN),
        Case("called a.png", marked, SHOWN),
        Case("called a.jpg", marked, SHOWN),
        Case("signed stream under PixelRepresentation 0",
             streamed(SIGNED, signed_row, j2k, PixelRepresentation=0), own_range, "sign"),
        Case("signed stream under PixelRepresentation 0, 16 bits",
             streamed(SIGNED * 16, signed_row | {"bits": (16, 16)}, j2k, PixelRepresentation=0), own_range, "sign"),
        Case("empty functional groups",
             data(made(SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=[Dataset()],
                       **WINDOWED)), SHOWN),
        Case("functional groups without an item",
             data(made(SharedFunctionalGroupsSequence=[], PerFrameFunctionalGroupsSequence=[], **WINDOWED)), SHOWN),
        Case("12-bit RGB", data(made(rgb, {"photometric": "RGB"}, SamplesPerPixel=3)),
             [c11.luma(rgb[0] / 4095 * 255)], "RGB|16|bit"),
        Case("padding named unsigned in a signed file", data(mixed),
             [c11.shown(SIGNED[0], c11.Grey(padding=(SIGNED.min(), SIGNED.min())))]),
        Case("values at the high end of their cells", data(left), SHOWN, "HighBit|High Bit"),
        Case("floating point", floating(STORED[0]), SHOWN, "(?i)float"),
        Case("floating point with a hole", floating(np.where(STORED[0] < 9, np.nan, STORED[0])), [],
             "(?i)finite|float"),
        Case("a VOI table of 100 entries that says 4096",
             data(made(VOILUTSequence=[table(4096, lut[:100])])), [], "(?i)lut|table"),
        Case("a modality table of 100 entries that says 4096",
             data(made(ModalityLUTSequence=[table(4096, lut[:100])])), [], "(?i)lut|table"),
        Case("a function of no standard", data(made(VOILUTFunction="CUBIC", **WINDOWED)), [], "CUBIC"),
        Case("no pixels", data(without(made(), "PixelData")), [], "(?i)pixel ?data|without a picture"),
        Case("no rows", data(without(made(), "Rows")), [], "Rows"),
        Case("cut pixels", data(made(PixelData=short)), [], "truncated"),
        Case("fewer frames than said", data(made(NumberOfFrames=3)), [], "truncated"),
        Case("13 bits allocated", data(made(BitsAllocated=13)), [], "Bits ?Allocated"),
        Case("20 of 16 bits", data(made(BitsStored=20, HighBit=19)), [], "Bits ?(Stored|Allocated)"),
        Case("two samples", data(made(SamplesPerPixel=2)), [], "Samples ?per ?Pixel"),
        Case("a photometric interpretation of no standard",
             data(made(PhotometricInterpretation="NONSENSE")), [], "NONSENSE|Photometric ?Interpretation"),
        Case("MPEG2", labelled("1.2.840.10008.1.2.4.100"), [], "MPEG2|4\\.100"),
        Case("HTJ2K that is none", labelled("1.2.840.10008.1.2.4.201"), [], "HTJ2K|4\\.201"),
        Case("a private transfer syntax", labelled("1.2.826.0.1.3680043.99.1"), [],
             "(?i)680043\\.99\\.1|transfer syntax"),
    ]  # fmt: skip
