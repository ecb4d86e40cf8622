"""DICOM: what is shown follows the standard (pydicom's own functions as oracle), whatever the pixels are packed in."""

import copy
import io
import os
import re
import signal
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicoms import by_gdcm, encapsulated, item, lut, make, written
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_modality_lut, apply_rescale, apply_voi, apply_windowing
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from ortholib.data import dicom, files, gdcmworker

RAMP = np.linspace(0, 4095, 48 * 64).round().astype(np.uint16).reshape(48, 64)


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
    table = lut(4095 * (np.arange(4096) / 4095) ** 2, bits=12)
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


@pytest.mark.parametrize(
    ("syntax", "kind"),
    [
        (RLELossless, "RLELossless"),
        (JPEG2000Lossless, "JPEG2000Lossless"),
        (JPEGLSLossless, "JPEGLSLossless"),
        (JPEGLosslessSV1, "JPEGLosslessProcess14_1"),
    ],
)
def test_compressed_lossless(tmp_path, syntax, kind):
    plain = written(tmp_path / "plain.dcm", make(RAMP))
    packed = by_gdcm(plain, tmp_path / "packed.dcm", kind)
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
    dataset = encapsulated(make(grey), buffer.getvalue(), JPEGBaseline8Bit)
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


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT"])
@pytest.mark.parametrize(
    ("centre", "width", "slope", "intercept"),
    [(0.0107, 0.02, 5.6e-6, 0), (0.5, 0.999, 1 / 4096, 0), (0, 0.5, 1 / 4096, -0.5), (-0.4, 0.9, -1 / 4096, 0)],
)
def test_windows_narrower_than_one(tmp_path, function, centre, width, slope, intercept):
    elements = {"WindowCenter": centre, "WindowWidth": width, "VOILUTFunction": function}
    path = written(tmp_path / "a.dcm", make(RAMP, RescaleSlope=slope, RescaleIntercept=intercept, **elements))
    values = RAMP * pydicom.dcmread(path).RescaleSlope + intercept
    truth = to_byte(values, centre - width / 2, centre + width / 2)  # C.11.2.1.3.2
    assert np.abs(files.read(path).astype(int) - truth).max() <= 1
    assert np.ptp(truth) > 200


@pytest.mark.parametrize("slope", [1, 0.25, -0.5, 1e-5])
@pytest.mark.parametrize("width", [0.01, 0.7, 1.5, 300])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_as_highdicom_shows_them(tmp_path, function, width, slope):
    highdicom = pytest.importorskip("highdicom")
    elements = {"WindowCenter": 2000 * slope, "WindowWidth": width, "VOILUTFunction": function}
    path = written(tmp_path / "a.dcm", make(RAMP, RescaleSlope=slope, RescaleIntercept=0, **elements))
    meant = "LINEAR_EXACT" if width < 1 and function == "LINEAR" else function  # where highdicom divides by width - 1
    values = apply_rescale(RAMP, pydicom.dcmread(path))
    with np.errstate(over="ignore"):
        truth = highdicom.pixels.apply_voi_window(values, 2000 * slope, width, meant, (0, 255))
    assert np.abs(files.read(path) - truth).max() <= 1


def test_a_window_of_one_is_a_threshold_and_unknown_functions_are_refused(tmp_path):
    path = written(tmp_path / "a.dcm", make(RAMP, WindowCenter=1000, WindowWidth=1))
    assert np.array_equal(files.read(path), np.where(RAMP > 999.5, 255, 0))
    path = written(tmp_path / "b.dcm", make(RAMP, WindowCenter=1000, WindowWidth=9, VOILUTFunction="LOG"))
    assert "VOILUTFunction 'LOG', expected LINEAR" in files.inspect(path)[2]


@pytest.mark.parametrize("values", [RAMP.astype(np.int16) - 2048, (RAMP // 16).astype(np.int16) - 128])
def test_the_sign_of_a_jpeg_2000_stream_counts(tmp_path, values):
    deep = np.ptp(values) > 255
    bits, stored = (16, values) if deep else (8, values.astype(np.int8))
    buffer = io.BytesIO()
    picture = Image.fromarray(stored.view(np.uint16 if deep else np.uint8))
    picture.save(buffer, "JPEG2000", no_jp2=True, irreversible=False, signed=True)
    for sign in (0, 1):
        dataset = make(stored, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=sign)
        path = written(tmp_path / "a.dcm", encapsulated(dataset, buffer.getvalue(), JPEG2000Lossless))
        assert np.array_equal(files.read(path), to_byte(values.astype(float), values.min(), values.max()))
        assert np.array_equal(gdcmworker.decode(path, 0), values)


def squared(top, n=4096):
    return np.round(top * np.linspace(0, 1, n) ** 2)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(
    "table",
    [
        lut(squared(4095), bits=16),  # says 16 bits, holds 12
        lut(squared(255), bits=16),
        lut(squared(1023), bits=12),
        lut(squared(255), bits=8),  # 4096 entries: more than a byte counts
        lut(squared(255), bits=8, vr="OW", packed=True),
        lut(squared(255), bits=8, vr="US", packed=True),
        lut(squared(4095), bits=8),  # says 8, holds 12
        lut(squared(65535), bits=16, vr="OW"),
        lut(squared(1023), bits=10),
    ],
)
def test_voi_tables_of_any_depth(tmp_path, table, syntax):
    if syntax == ExplicitVRBigEndian and table["LUTData"].VR == "OW":
        table = copy.deepcopy(table)
        table.LUTData = np.frombuffer(table.LUTData, np.uint16).byteswap().tobytes()
    shown = files.read(written(tmp_path / "a.dcm", make(RAMP, VOILUTSequence=[table]), syntax))
    assert np.abs(shown - 255 * (RAMP / 4095) ** 2).max() < 2  # of a table of 256 levels


def test_a_dim_table_that_means_it_stays_dim(tmp_path):
    dataset = make(RAMP, VOILUTSequence=[lut(squared(2047), bits=12)])
    assert files.read(written(tmp_path / "a.dcm", dataset)).max() == round(2047 / 4095 * 255)


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_tables_of_signed_values(tmp_path, vr):
    values = RAMP.astype(np.int16) - 2048
    table = lut(squared(4095), bits=12)
    table.add_new("LUTDescriptor", vr, [4096, -2048 if vr == "SS" else 2**16 - 2048, 12])
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        path = written(tmp_path / "a.dcm", make(values, **{name: [table]}))
        assert np.abs(files.read(path) - 255 * (RAMP / 4095) ** 2).max() <= 1


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_modality_tables_of_any_depth(tmp_path, bits):
    table = lut(squared(2**bits - 1), bits=bits)
    window = {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits}
    shown = files.read(written(tmp_path / "a.dcm", make(RAMP, ModalityLUTSequence=[table], **window)))
    assert np.abs(shown - 255 * (RAMP / 4095) ** 2).max() <= 2
    dataset = make(RAMP, ModalityLUTSequence=[table])
    if bits != 12:  # for which pydicom has no numpy type
        truth = to_byte(apply_modality_lut(RAMP, dataset).astype(float), 0, 2**bits - 1)
        assert np.array_equal(files.read(written(tmp_path / "a.dcm", dataset)), truth)


def test_a_table_that_is_too_short_says_so(tmp_path):
    table = lut(squared(4095))
    table.LUTData = table.LUTData[:1000]
    reason = files.inspect(written(tmp_path / "a.dcm", make(RAMP, VOILUTSequence=[table])))[2]
    assert "LUTData of 1000 entries, and its descriptor names 4096" in reason


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("n", [256, 4096])
@pytest.mark.parametrize("top", [65280, 255, 4095, "packed"])
@pytest.mark.parametrize("named", [8, 16])
def test_palettes_of_any_depth(tmp_path, n, named, top, syntax):
    indexes = RAMP if n == 4096 else RAMP // 16
    entries = (np.arange(n) * (255 if top == "packed" else top) // (n - 1)).astype(np.uint16)
    data = entries.astype(np.uint8).view(np.uint16) if top == "packed" else entries
    dataset = make(indexes, PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [n, 0, named])
        words = data.byteswap() if syntax == ExplicitVRBigEndian else data
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW", words.tobytes())
    shown = files.read(written(tmp_path / "a.dcm", dataset, syntax))
    assert np.abs(shown - indexes / (n - 1) * 255).max() < 2


def test_palettes_in_segments_or_absent(tmp_path):
    dataset = make(RAMP // 16, PhotometricInterpretation="PALETTE COLOR")
    assert "PALETTE COLOR without a palette" in files.inspect(written(tmp_path / "a.dcm", dataset))[2]
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        segments = np.array([0, 1, 0, 1, 255, 65280], np.uint16)  # one entry of 0, then a line to 65280
        dataset.add_new(f"Segmented{colour}PaletteColorLookupTableData", "OW", segments.tobytes())
    assert np.abs(files.read(written(tmp_path / "b.dcm", dataset)).astype(int) - RAMP // 16).max() <= 1


@pytest.mark.parametrize(("high", "shift"), [(15, 4), (13, 2), (15, 0), (11, 0)])
@pytest.mark.parametrize("signed", [False, True])
def test_values_at_the_high_end_of_their_cells(tmp_path, high, shift, signed):
    values = RAMP.astype(np.int16) - 2048 if signed else RAMP
    dataset = make(values << shift, BitsStored=12, HighBit=high)  # 15 and 0: it says so, and they are not
    shown = files.read(written(tmp_path / "a.dcm", dataset))
    assert np.array_equal(shown, to_byte(RAMP.astype(float), 0, 4095))


def test_deep_colour(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 4096, (20, 30, 3), np.uint16)
    truth = Image.fromarray(to_byte(rgb.astype(float), 0, 4095)).convert("L")
    assert np.array_equal(files.read(written(tmp_path / "a.dcm", make(rgb))), np.asarray(truth))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    "voi",
    [{}, {"WindowCenter": 2048, "WindowWidth": 4096}, {"VOILUTSequence": [lut(np.arange(4096), bits=12)]}],
    ids=["range", "window", "table"],
)
@pytest.mark.parametrize(("low", "high"), [(4095, None), (4000, 4095), (4095, 4000), (0, None), (0, 60)])
def test_padding_is_black(tmp_path, photometric, voi, low, high):
    values = np.clip(RAMP, 100, 3900)
    values[:, :8] = low
    values[:, 8:10] = low if high is None else (low + high) // 2
    dataset = make(values, PhotometricInterpretation=photometric, **voi)
    dataset.add_new("PixelPaddingValue", "US", low)
    if high is not None:
        dataset.add_new("PixelPaddingRangeLimit", "US", high)
    shown = files.read(written(tmp_path / "a.dcm", dataset))
    truth = to_byte(values[:, 10:].astype(float), *((0, 4095) if voi else (100, 3900)))
    assert not shown[:, :10].any()
    assert np.abs(shown[:, 10:].astype(int) - (255 - truth if photometric == "MONOCHROME1" else truth)).max() <= 1


def test_padding_named_with_the_other_sign_or_nothing(tmp_path):
    values = RAMP.astype(np.int16)
    values[:, :10] = -2000
    dataset = make(values, BitsStored=16, HighBit=15)
    dataset.add_new("PixelPaddingValue", "US", 2**16 - 2000)
    shown = files.read(written(tmp_path / "a.dcm", dataset))
    assert not shown[:, :10].any()
    assert np.array_equal(shown[:, 10:], to_byte(RAMP[:, 10:].astype(float), RAMP[:, 10:].min(), 4095))
    values[:] = -2000
    assert not files.read(written(tmp_path / "b.dcm", make(values, PixelPaddingValue=-2000))).any()


def grouped(stack, shared=None, per_frame=None, **elements):
    dataset = make(stack, **elements)
    if shared:
        dataset.SharedFunctionalGroupsSequence = [item(**shared)]
    if per_frame:
        dataset.PerFrameFunctionalGroupsSequence = [item(**one) for one in per_frame]
    return dataset


WINDOWS = [
    {"WindowCenter": [centre, 1], "WindowWidth": [width, 9], "VOILUTFunction": function}
    for centre, width, function in ((500, 900, "LINEAR"), (1000, 300, "SIGMOID"), (-1, 2000, "LINEAR_EXACT"))
]
RESCALES = [{"RescaleSlope": s, "RescaleIntercept": i, "RescaleType": "US"} for s, i in ((1, 0), (0.5, 10), (2, -1024))]
VOI, MODALITY = "FrameVOILUTSequence", "PixelValueTransformationSequence"


@pytest.mark.parametrize("where", ["shared", "per frame", "both", "over the data set's"])
def test_functional_groups_say_what_the_data_set_does_not(tmp_path, where):
    stack = np.stack([RAMP, RAMP[::-1], RAMP // 2])
    windows, rescales, top = WINDOWS, RESCALES, {}
    if where == "shared":
        windows, rescales = [WINDOWS[0]] * 3, [RESCALES[1]] * 3
        dataset = grouped(stack, shared={VOI: WINDOWS[0], MODALITY: RESCALES[1]})
    elif where == "both":
        rescales = [RESCALES[1]] * 3
        dataset = grouped(stack, {VOI: WINDOWS[0], MODALITY: RESCALES[1]}, [{VOI: window} for window in WINDOWS])
    else:
        if where == "over the data set's":
            top = {"WindowCenter": 7, "WindowWidth": 7, "RescaleSlope": 7, "RescaleIntercept": 7}
        groups = [{VOI: window, MODALITY: rescale} for window, rescale in zip(WINDOWS, RESCALES, strict=True)]
        dataset = grouped(stack, None, groups, **top)
    path = written(tmp_path / "a.dcm", dataset)
    for frame in range(3):
        single = written(tmp_path / "one.dcm", make(stack[frame], **windows[frame], **rescales[frame]))
        shown = files.read(path, frame=frame)
        assert np.array_equal(shown, files.read(single)) and np.ptp(shown) > 100


def test_what_a_file_is_shown_by_in_words(tmp_path):
    stack = np.stack([RAMP, RAMP + 100])
    for dataset, words in (
        (make(stack), "none in the file, its whole range"),
        (make(stack, WindowCenter=None, WindowWidth=None), "none in the file, its whole range"),
        (grouped(stack, {VOI: WINDOWS[1]}, WindowCenter=7, WindowWidth=7), "centre 1000, width 300, SIGMOID"),
        (make(stack, VOILUTSequence=[lut(squared(4095))]), "the VOI lookup table"),
    ):
        dataset.BitsStored, dataset.HighBit = 16, 15
        assert dicom.window(written(tmp_path / "a.dcm", dataset)) == (0, 4195, words)


def test_functional_groups_with_a_table_with_padding_and_with_less_than_all_frames(tmp_path):
    stack = np.stack([RAMP, RAMP])
    table = {VOI: {"VOILUTSequence": [lut(squared(4095), bits=12)]}}
    path = written(tmp_path / "a.dcm", grouped(stack, {VOI: WINDOWS[0]}, [table]))
    assert np.abs(files.read(path) - 255 * (RAMP / 4095) ** 2).max() <= 1
    single = written(tmp_path / "one.dcm", make(RAMP, **WINDOWS[0]))
    assert np.array_equal(files.read(path, frame=1), files.read(single))
    padded = grouped(stack, {VOI: {}})
    padded.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0].add_new("PixelPaddingValue", "US", 4095)
    path = written(tmp_path / "b.dcm", padded)
    assert files.read(path)[-1, -1] == 0 and files.read(path)[-1, -2] == 255


emptied = pydicom.Dataset()
for name in ("LUTDescriptor", "LUTData"):
    emptied.add_new(name, "US", None)


@pytest.mark.parametrize(
    "elements",
    [
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": None},
        {"RescaleIntercept": None, "RescaleType": None},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": 40, "WindowWidth": None},
        {"VOILUTSequence": None},
        {"VOILUTSequence": [pydicom.Dataset()], "ModalityLUTSequence": [pydicom.Dataset()]},
        {"VOILUTSequence": [emptied], "ModalityLUTSequence": [emptied]},
        {"VOILUTFunction": None, "PresentationLUTShape": None, "PixelPaddingValue": None},
        {"PixelPaddingValue": None, "PixelPaddingRangeLimit": None},
        {"SharedFunctionalGroupsSequence": [], "PerFrameFunctionalGroupsSequence": None},
        {"SharedFunctionalGroupsSequence": [item(FrameVOILUTSequence=None, PixelValueTransformationSequence={})]},
        {"NumberOfFrames": None},
    ],
    ids=lambda elements: " ".join(elements),
)
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_empty_elements_say_nothing(tmp_path, elements, syntax):
    path = written(tmp_path / "a.dcm", make(RAMP, **elements), syntax)
    assert files.inspect(path) == (64, 48, "")
    assert np.array_equal(files.read(path), to_byte(RAMP.astype(float), 0, 4095))


def test_twelve_bit_jpeg(tmp_path):
    plain = written(tmp_path / "plain.dcm", make(RAMP))
    packed = by_gdcm(plain, tmp_path / "packed.dcm", "JPEGExtendedProcess2_4")
    assert pydicom.dcmread(packed).file_meta.TransferSyntaxUID == JPEGExtended12Bit
    assert files.inspect(packed) == (64, 48, "")
    assert np.abs(files.read(packed).astype(int) - files.read(plain)).max() <= 1
    data = packed.read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[: len(data) * 2 // 3])
    assert files.inspect(tmp_path / "cut.dcm")[2]


def test_a_twelve_bit_jpeg_of_another_hand(tmp_path):
    path = Path(pydicom.data.get_testdata_file("JPGExtended.dcm", download=False))
    assert files.inspect(path) == (256, 1024, "")
    stored = gdcmworker.decode(path, 0)
    assert (stored.min(), stored.max(), round(stored.mean(), 2)) == (0, 264, 14.37)  # as libjpeg-turbo decodes it


def test_eight_bit_jpeg_under_the_name_of_twelve(tmp_path):
    buffer = io.BytesIO()
    grey = to_byte(RAMP.astype(float), 0, 4095)
    Image.fromarray(grey).save(buffer, "JPEG", quality=95)
    path = written(tmp_path / "a.dcm", encapsulated(make(grey), buffer.getvalue(), JPEGExtended12Bit))
    assert np.abs(files.read(path).astype(int) - grey).max() <= 6


def test_jpeg_2000_that_pillow_cannot_read(tmp_path):
    path = Path(pydicom.data.get_testdata_file("GDCMJ2K_TextGBR.dcm", download=False))
    with pytest.raises(RuntimeError, match="pillow"):
        pydicom.pixels.pixel_array(path, decoding_plugin="pillow")
    truth = pydicom.pixels.pixel_array(path, decoding_plugin="gdcm")
    assert np.array_equal(files.read(path), np.asarray(Image.fromarray(truth).convert("L")))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.dcm", "a"])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("lacks", ["nothing", "preamble", "preamble and group 2", "transfer syntax"])
def test_dicom_is_known_by_its_content(tmp_path, name, syntax, lacks):
    path = written(tmp_path / name, make(RAMP, PatientID="7"), syntax)
    data = path.read_bytes()
    body = data[data.index(b"\0\x08\0\x16" if syntax == ExplicitVRBigEndian else b"\x08\0\x16\0") :]
    match lacks:
        case "preamble":
            path.write_bytes(data[132:])
        case "preamble and group 2":
            path.write_bytes(body)
        case "transfer syntax":
            path.write_bytes(data[:132] + body)
    assert files.kind(path) == "dicom" and files.inspect(path) == (64, 48, "") and files.frames(path) == 1
    assert np.array_equal(files.read(path), to_byte(RAMP.astype(float), 0, 4095))
    assert dicom.header(path).PatientID == "7"


def test_compressed_without_a_transfer_syntax_says_so(tmp_path):
    path = written(tmp_path / "a.dcm", encapsulated(make(RAMP), b"\xff\xd8" + bytes(100), JPEGLosslessSV1))
    data = path.read_bytes()
    path.write_bytes(data[data.index(b"\x08\0\x16\0") :])
    assert "compressed pixels, and no transfer syntax" in files.inspect(path)[2]


@pytest.mark.parametrize(
    "start", [b"\x89PNG", b"II*\0\x08\0", b"BM", b"\x02\0\xff\xff", b"\x08\0\x02\0", b"\0\x08AAAA"]
)
def test_other_files_are_no_dicom(tmp_path, start):
    (tmp_path / "a").write_bytes(start + bytes(300))
    assert files.kind(tmp_path / "a") == "picture"


def test_boxes_without_an_end_and_streams_that_no_decoder_reads(tmp_path):
    for stream, words in (
        (dicom.JP2 + bytes(80) + b"\xff\xd9", "a JPEG 2000 box of 0 bytes"),
        (b"\xff\x4f\xff\x51" + bytes(80) + b"\xff\xd9", "pillow: .*; gdcm: cannot decode it"),
    ):
        path = written(tmp_path / "a.dcm", encapsulated(make(RAMP), stream, JPEG2000Lossless))
        with pytest.raises(ValueError, match=f"DICOM pixels: {words}"):
            dicom.planes(path)


def test_reasons_are_whole(tmp_path):
    path = written(tmp_path / "a.dcm", make(RAMP, PhotometricInterpretation="A NONSENSE"))
    with pytest.raises(ValueError, match=r"DICOM pixels: .{60,}"):
        dicom.planes(path)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / ("x" * 90)))):
        gdcmworker.decode(tmp_path / ("x" * 90), 0)


def test_a_file_without_pixels_says_so(tmp_path):
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    del dataset.PixelData
    dataset.save_as(tmp_path / "a.dcm")
    assert files.inspect(tmp_path / "a.dcm")[2] == "a DICOM file without pixels (no PixelData)"
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    del dataset.BitsAllocated
    dataset.save_as(tmp_path / "b.dcm")
    assert "Bits Allocated" in files.inspect(tmp_path / "b.dcm")[2]
