"""One file: what is read equals what Pillow and numpy say, and nothing that can lie on a disk raises from `inspect`."""

import io
import resource
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import raw_tiff
from PIL import Image, ImageOps, TiffImagePlugin

from ortholib.data import files
from ortholib.data.files import Plane
from ortholib.data.pixels import letterbox, square

ORIENTATION = 0x0112


def noise(height: int, width: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, *channels), np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    """Gradients, an edge and fine structure, as in a radiograph."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    values = 120 + 60 * np.sin(9 * x) * np.cos(7 * y) + 40 * (x + y > 0.9) + 6 * np.sin(180 * x)
    return np.clip(values, 0, 255).astype(np.uint8)


def tagged(value) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif


@pytest.mark.parametrize("kind", ["png", "jpg", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_equal_pillow(tmp_path, orientation, kind):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(noise(37, 52, 3)).save(path, exif=tagged(orientation))
    with Image.open(path) as image:
        truth = np.asarray(ImageOps.exif_transpose(image).convert("L"))
    assert truth.shape == ((52, 37) if orientation >= 5 else (37, 52))
    assert np.array_equal(files.read(path), truth)
    assert files.inspect(path) == (*truth.shape[::-1], "")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_equal_pillow_when_shrunk(tmp_path, orientation):
    path = tmp_path / "a.jpg"
    Image.fromarray(smooth(370, 521)).save(path, exif=tagged(orientation), quality=95)
    with Image.open(path) as image:
        turned = ImageOps.exif_transpose(image)
    truth = np.asarray(turned.resize((52, 73) if orientation >= 5 else (73, 52), Image.Resampling.BICUBIC))
    assert files.read(path, 73).shape == truth.shape
    assert np.abs(files.read(path, 73).astype(int) - truth).mean() < 2.5
    assert np.abs(files.read(path, 73).astype(int) - truth[::-1, ::-1]).mean() > 15  # a wrong turn is seen


def raw_tag(kind: int, value: bytes) -> bytes:
    """An EXIF block whose orientation has another type than a number: 2 text, 7 bytes."""
    return b"Exif\0\0II*\0" + struct.pack("<IHHHI4sI", 8, 1, ORIENTATION, kind, 4, value, 0)


@pytest.mark.parametrize("exif", [tagged(0), tagged(9), tagged(200), raw_tag(2, b"up!\0"), raw_tag(7, b"\6\0\0\0")])
def test_unknown_orientation_counts_as_upright(tmp_path, exif):
    path = tmp_path / "a.jpg"
    Image.fromarray(noise(8, 16)).save(path, exif=exif)
    assert files.inspect(path) == (16, 8, "")
    assert files.read(path).shape == (8, 16)


def test_damaged_exif_block_does_not_cost_the_image(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(noise(8, 16)).save(path, exif=b"Exif\0\0" + b"\x99" * 40)
    assert files.inspect(path) == (16, 8, "")
    assert files.read(path).shape == (8, 16)


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize("top", [65535, 4095, 255])
def test_deep_files_are_scaled_not_clipped(tmp_path, kind, top):
    path = tmp_path / f"deep.{kind}"
    values = np.linspace(0, top, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    Image.fromarray(values).save(path)
    with Image.open(path) as image:
        assert image.mode.startswith("I")
    assert files.inspect(path) == (64, 64, "")
    assert np.array_equal(files.read(path), np.floor(values * (255 / top) + 0.5))


def test_deep_file_survives_resizing(tmp_path):
    path = tmp_path / "deep.png"
    flat = smooth(300, 200)
    Image.fromarray(flat.astype(np.uint16) * 257).save(path)
    Image.fromarray(flat).save(tmp_path / "flat.png")
    assert np.array_equal(files.read(path, 64), files.read(tmp_path / "flat.png", 64))


@pytest.mark.parametrize("value", [0.0, -3.5, 1e6, 3e38])
def test_constant_float_file_is_black(tmp_path, value):
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((4, 5), value, np.float32)).save(path)
    assert files.inspect(path) == (5, 4, "")
    assert not files.read(path).any()


def test_float_file_is_scaled_by_its_own_range(tmp_path):
    path = tmp_path / "a.tif"
    values = np.linspace(-1000, 3000, 256, dtype=np.float32).reshape(16, 16)
    Image.fromarray(values).save(path)
    assert np.array_equal(files.read(path).ravel(), np.arange(256))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_float_file_with_a_hole_is_unreadable_when_inspected(tmp_path, value):
    path = tmp_path / "a.tif"
    values = np.ones((4, 5), np.float32)
    values[2, 2] = value
    Image.fromarray(values).save(path)
    assert files.inspect(path) == (0, 0, "pixel values that are not finite")


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("1", "png"), ("P", "png"), ("LA", "png"), ("RGBA", "png"), ("RGB", "png"), ("CMYK", "jpg"), ("CMYK", "tif")],
)
def test_every_mode_equals_pillows_grey(tmp_path, mode, kind):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(noise(21, 34, 3)).convert(mode).save(path)
    with Image.open(path) as image:
        assert image.mode == mode
        truth = np.asarray(image.convert("L"))
    assert np.array_equal(files.read(path), truth)
    assert files.inspect(path) == (34, 21, "")


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_thinnest_images(tmp_path, shape):
    path = tmp_path / "a.png"
    Image.fromarray(np.full(shape, 200, np.uint8)).save(path)
    assert files.inspect(path) == (*shape[::-1], "")
    canvas, (x0, y0, x1, y1) = square(Plane(path), 16)
    assert (canvas[y0:y1, x0:x1] == 200).all() and canvas.sum() == 200 * (x1 - x0) * (y1 - y0) > 0


def claims(width: int, height: int) -> bytes:
    """A 1-bit PNG of a few bytes that says it is that large."""
    body = b""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")):
        body += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [30_000, 12_000])  # above Pillow's error line, and between its warning and its error
@pytest.mark.filterwarnings("error")
def test_giant_is_refused_before_it_is_decoded(tmp_path, side):
    path = tmp_path / "giant.png"
    path.write_bytes(claims(side, side))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert files.inspect(path) == (0, 0, "more than the 89,478,485 pixels accepted")
    with pytest.raises(files.UNREADABLE):
        files.read(path, 64)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024  # KiB; its pixels are 140 to 900 MB


def jpeg(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (jpeg(noise(60, 60))[:900], "truncated"),
        (b"", "empty file (0 bytes)"),
        (b"IMG0000001 is on holiday\n", "not an image"),
        (jpeg(noise(60, 60))[:2], "not an image"),
        (None, "missing file"),
    ],
)
def test_reason_of_an_unreadable_file(tmp_path, content, reason):
    path = tmp_path / "a.jpg"
    if content is not None:
        path.write_bytes(content)
    assert files.inspect(path) == (0, 0, reason)


def test_reason_does_not_repeat_the_path(tmp_path):
    for error in (PermissionError(13, "Permission denied", str(tmp_path)), OSError(5, "Input/output error", "/a/b")):
        assert files.reason(error) == f"{type(error).__name__}: {error.strerror}"


def test_reason_of_another_library_is_whole_and_on_one_line():
    cause = "no codec: " + "install the plugin\n" * 20 + "because of the last word"
    for kind, before in ((ValueError, ""), (TypeError, "TypeError: "), (SyntaxError, "SyntaxError: ")):
        assert files.reason(kind(cause)) == before + cause.replace("\n", " ")


LAYOUTS = [(*key[1:], key[0]) for key in TiffImagePlugin.OPEN_INFO if key[3] == 1 and len(key[4]) < 5]


@pytest.mark.parametrize(("photometric", "sample", "_", "bits", "extra", "order"), LAYOUTS)
def test_what_inspect_calls_readable_can_be_read(tmp_path, photometric, sample, _, bits, extra, order):
    """Every layout of TIFF that Pillow opens, whatever it then can do with it."""
    path, mark = tmp_path / "a.tif", "<" if order == b"II" else ">"
    path.write_bytes(raw_tiff(photometric, sample[0], bits, extra, mark))
    width, height, reason = files.inspect(path)
    if photometric == 3:  # no palette
        assert reason
    else:
        assert (width, height, reason) == (16, 8, "")
        assert files.read(path).shape == (8, 16)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on the damage
def test_damaged_bytes_never_raise_and_inspect_keeps_its_word(tmp_path):
    rng = np.random.default_rng(0)
    sources = []
    for kind, mode in (("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "L"), ("TIFF", "L"), ("GIF", "L"), ("BMP", "L")):
        buffer = io.BytesIO()
        options = {"exif": tagged(6)} if kind in ("JPEG", "PNG") else {}
        Image.fromarray(noise(30, 40, 3)).convert(mode).save(buffer, kind, **options)
        sources.append(buffer.getvalue())
    path, sound = tmp_path / "a.jpg", 0
    for trial in range(600):
        damaged = bytearray(sources[trial % len(sources)])
        # every other trial hits the headers, where most code paths are
        for place in rng.integers(0, len(damaged) if trial % 2 else min(len(damaged), 150), rng.integers(1, 6)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, len(damaged))] if trial % 5 == 0 else damaged)
        width, height, reason = files.inspect(path)
        assert bool(reason) == (width == 0 or height == 0)
        if not reason:
            assert files.read(path).shape == (height, width)
            sound += 1
    assert 100 < sound < 550  # both outcomes were met often


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("size", [512, 224, 96, 64])
def test_codec_downscaling_is_close_to_full_decoding(tmp_path, size, color):
    path = tmp_path / "a.jpg"
    image = Image.fromarray(smooth(1150, 919))
    (image.convert("RGB") if color else image).save(path, quality=90)
    with Image.open(path) as image:
        full = image.convert("L")
    truth = np.asarray(full.resize((round(919 * size / 1150), size), Image.Resampling.BICUBIC)).astype(int)
    ours = files.read(path, size)
    assert ours.shape == truth.shape
    assert np.abs(ours - truth).mean() < 1.0


@settings(max_examples=60)
@given(width=st.integers(1, 400), height=st.integers(1, 400), size=st.integers(8, 130), turn=st.sampled_from([1, 6]))
def test_what_is_read_has_the_size_that_letterbox_says(tmp_path, width, height, size, turn):
    path = tmp_path / "a.jpg"
    Image.new("L", (width, height), 255).save(path, exif=tagged(turn))
    shown = files.inspect(path)[:2]
    assert shown == ((width, height) if turn == 1 else (height, width))
    canvas, box = square(Plane(path), size)
    assert box == letterbox(*shown, size)  # of the original size, as boxes are placed, not of what was read
    x0, y0, x1, y1 = box
    assert max(x1 - x0, y1 - y0) == size and min(x0, y0) >= 0 and max(x1, y1) <= size
    inside = np.zeros((size, size), bool)
    inside[y0:y1, x0:x1] = True
    assert (canvas[inside] > 250).all() and not canvas[~inside].any()
    assert abs((x0 + x1) - size) <= 1 and abs((y0 + y1) - size) <= 1  # centred


@pytest.mark.parametrize("compression", ["raw", "tiff_deflate"])
@pytest.mark.parametrize("mode", ["L", "P", "I;16", "RGB"])
@pytest.mark.parametrize("tag", [1, 3, 6, 8])
def test_a_tiff_is_turned_once(tmp_path, mode, compression, tag):
    """Pillow turns TIFFs itself when it loads them, and maps uncompressed ones with their sides swapped."""
    ramp = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)
    exif = Image.Exif()
    exif[files.ORIENTATION] = tag
    whole = ramp.astype(np.uint16) * 257
    image = Image.fromarray(whole) if mode == "I;16" else Image.fromarray(ramp).convert(mode)
    file = tmp_path / "turned.tif"
    image.save(file, compression=compression, exif=exif)
    expected = {1: ramp, 3: ramp[::-1, ::-1], 6: np.rot90(ramp, -1), 8: np.rot90(ramp)}[tag]
    assert np.abs(files.read(file).astype(int) - expected).max() <= 1
    assert files.inspect(file)[:2] == expected.shape[::-1]
    assert files.read(file, size=10).shape == tuple(side // 2 for side in expected.shape)
