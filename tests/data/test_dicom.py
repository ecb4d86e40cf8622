"""DICOM: what is shown follows the standard (pydicom's own functions as oracle), whatever the pixels are packed in."""

import io
import os
import signal

import numpy as np
import pydicom
import pytest
from dicoms import make
from PIL import Image
from pydicom.pixels import apply_voi, apply_windowing
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from ortholib.data import files, gdcmworker

RAMP = np.linspace(0, 4095, 48 * 64).round().astype(np.uint16).reshape(48, 64)


def written(path, dataset, syntax=None):
    big = syntax == ExplicitVRBigEndian
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
    if big:
        dataset.PixelData = np.frombuffer(dataset.PixelData, np.uint16).byteswap().tobytes()
    implicit = dataset.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    options = {"force_encoding": True} if big else {"enforce_file_format": True}
    pydicom.filewriter.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=not big, **options)
    return path


def to_byte(values, low, high):
    return np.clip((values - low) / (high - low) * 255 + 0.5, 0, 255).astype(np.uint8)


def test_without_a_window_the_whole_range_is_shown(tmp_path):
    path = written(tmp_path / "001", make(RAMP // 2 + 100))  # no suffix: found by its mark
    assert files.inspect(path) == (64, 48, "") and files.frames(path) == 1
    assert np.array_equal(files.read(path), to_byte((RAMP // 2).astype(float), 0, 2047))
    assert files.read(path, 32).shape == (24, 32)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, -1024)])
def test_the_first_window_is_used_as_the_standard_says(tmp_path, function, slope, intercept):
    elements = {"WindowCenter": [1200, 1], "WindowWidth": [900, 2], "VOILUTFunction": function}
    dataset = make(RAMP, RescaleSlope=slope, RescaleIntercept=intercept, **elements)
    path = written(tmp_path / "a.dcm", dataset)
    truth = apply_windowing(RAMP.astype(float) * slope + intercept, dataset)
    low, high = intercept, (2**12 - 1) * slope + intercept  # pydicom gives the window's ends these values
    shown = files.read(path)
    assert np.abs(shown.astype(int) - to_byte(truth, low, high)).max() <= 1
    assert (shown == to_byte(truth, low, high)).mean() > 0.98 and shown.min() < 5 and shown.max() > 250


def test_monochrome1_is_inverted(tmp_path):
    path = written(tmp_path / "a.dcm", make(RAMP, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(files.read(path), 255 - to_byte(RAMP.astype(float), 0, 4095))
    both = make(RAMP, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")  # says it twice
    assert np.array_equal(files.read(written(tmp_path / "b.dcm", both)), files.read(path))


def test_voi_table(tmp_path):
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 12], [(4095 * (i / 4095) ** 2).__round__() for i in range(4096)]
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "US"
    dataset = make(RAMP, VOILUTSequence=[table])
    shown = files.read(written(tmp_path / "a.dcm", dataset))
    assert np.array_equal(shown, to_byte(apply_voi(RAMP, dataset).astype(float), 0, 4095))
    assert shown[24, 0] < 80  # squared: the middle is dark


def test_signed_values_and_padding(tmp_path):
    values = RAMP.astype(np.int16) - 2048
    values[:, :10] = -2048
    dataset = make(values, BitsStored=16, HighBit=15)
    dataset.add_new("PixelPaddingValue", "SS", -2048)
    shown = files.read(written(tmp_path / "a.dcm", dataset))
    inside = values[values != -2048]
    assert not shown[:, :10].any()
    assert np.array_equal(shown[:, 10:], to_byte(values[:, 10:].astype(float), inside.min(), inside.max()))


def test_frames(tmp_path):
    stack = np.stack([RAMP, RAMP[::-1], RAMP // 2])
    path = written(tmp_path / "a.dcm", make(stack, WindowCenter=2048, WindowWidth=4096))
    assert files.frames(path) == 3 and files.inspect(path) == (64, 48, "")
    assert np.array_equal(files.read(path, frame=1), files.read(path, frame=0)[::-1])
    assert files.read(path, frame=2).max() in (127, 128)
    with pytest.raises(ValueError, match="frame 3 of a file that holds 3"):
        files.read(path, frame=3)


def test_colour_becomes_luma(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    path = written(tmp_path / "a.dcm", make(rgb))
    assert np.array_equal(files.read(path), np.asarray(Image.fromarray(rgb).convert("L")))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_plain_transfer_syntaxes(tmp_path, syntax):
    path = written(tmp_path / "a.dcm", make(RAMP), syntax)
    assert np.array_equal(files.read(path), to_byte(RAMP.astype(float), 0, 4095))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1])
def test_compressed_lossless(tmp_path, syntax):
    gdcm = pytest.importorskip("gdcm")
    plain = written(tmp_path / "plain.dcm", make(RAMP))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(plain))
    assert reader.Read()
    kinds = {
        RLELossless: gdcm.TransferSyntax.RLELossless,
        JPEG2000Lossless: gdcm.TransferSyntax.JPEG2000Lossless,
        JPEGLSLossless: gdcm.TransferSyntax.JPEGLSLossless,
        JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    }
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(kinds[syntax]))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(tmp_path / "packed.dcm"))
    assert writer.Write()
    packed = tmp_path / "packed.dcm"
    assert pydicom.dcmread(packed).file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(files.read(packed), files.read(plain))
    data = packed.read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[: len(data) * 2 // 3])
    width, height, reason = files.inspect(tmp_path / "cut.dcm")
    assert reason or (width, height) == (64, 48)  # some codecs fill up what is missing


def test_compressed_baseline(tmp_path):
    buffer = io.BytesIO()
    grey = to_byte(RAMP.astype(float), 0, 4095)
    Image.fromarray(grey).save(buffer, "JPEG", quality=95)
    dataset = make(grey)
    dataset.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = 127.5, 255, "LINEAR_EXACT"
    path = written(tmp_path / "a.dcm", dataset)
    assert np.abs(files.read(path).astype(int) - grey).max() <= 6


def broken(dataset, **elements):
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (broken(make(RAMP), PixelData=RAMP.tobytes()[:-100]), "truncated"),
        (broken(make(RAMP), Rows=65535, Columns=65535), "more than accepted"),
        (broken(make(RAMP), NumberOfFrames=2**30), "more than accepted"),
        (broken(make(RAMP), Rows=0), "0 pixels|64 x 0"),
        (broken(make(RAMP), BitsAllocated=13), "DICOM pixels"),
        (broken(make(RAMP), PhotometricInterpretation="NONSENSE"), "DICOM pixels"),
    ],
)
def test_hostile_headers_are_listed(tmp_path, dataset, words):
    width, height, reason = files.inspect(written(tmp_path / "a.dcm", dataset))
    assert (width, height) == (0, 0)
    assert any(word in reason for word in words.split("|")), reason


def test_without_a_picture_or_deflated(tmp_path):
    dataset = make(RAMP)
    for name in ("Rows", "Columns", "PixelData"):
        del dataset[name]
    assert "without a picture" in files.inspect(written(tmp_path / "a.dcm", dataset))[2]
    dataset = make(RAMP)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert "deflated transfer syntax" in files.inspect(written(tmp_path / "b.dcm", dataset))[2]
    (tmp_path / "c.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 200)
    assert files.inspect(tmp_path / "c.dcm")[:2] == (0, 0)
    (tmp_path / "d.dcm").write_bytes(b"no mark")
    assert files.inspect(tmp_path / "d.dcm") == (0, 0, "not an image")


@pytest.mark.parametrize("width", [0, -3, "nan", ""])
def test_a_window_that_is_none_is_ignored(tmp_path, width):
    dataset = make(RAMP, WindowCenter=100)
    dataset.add_new("WindowWidth", "DS", "") if width == "" else None
    if width != "":
        pydicom.config.settings.reading_validation_mode = pydicom.config.WARN
        dataset._dict[pydicom.tag.Tag("WindowWidth")] = pydicom.DataElement(
            "WindowWidth", "DS", str(width), validation_mode=pydicom.config.IGNORE
        )
    path = written(tmp_path / "a.dcm", dataset)
    assert np.array_equal(files.read(path), to_byte(RAMP.astype(float), 0, 4095))


def test_a_decoder_that_dies_costs_one_file(tmp_path, monkeypatch):
    gdcmworker.decode.__globals__["_process"] = None
    plain = written(tmp_path / "plain.dcm", make(RAMP))
    assert np.array_equal(gdcmworker.decode(plain, 0), RAMP)  # uncompressed: whatever the plugin, pydicom reads it
    served = gdcmworker._process
    served.kill()
    served.wait()
    assert np.array_equal(gdcmworker.decode(plain, 0), RAMP) and gdcmworker._process.pid != served.pid
    with pytest.raises(ValueError, match="No such file"):
        gdcmworker.decode(tmp_path / "absent.dcm", 0)
    os.kill(gdcmworker._process.pid, signal.SIGSTOP)  # hangs
    monkeypatch.setattr(gdcmworker, "SECONDS", 0.2)
    with pytest.raises(ValueError, match="broke down"):
        gdcmworker.decode(plain, 0)
    monkeypatch.undo()
    assert np.array_equal(gdcmworker.decode(plain, 0), RAMP)
