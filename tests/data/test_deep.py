"""Deep, signed and inverted pictures: what is shown equals the values that were written, by the rule of the book."""

import numpy as np
import pytest
from pictures import png, tiff
from PIL import Image

from ortholib.data import files

ORDERS = ("<", ">")


def ramp(low: float, high: float, dtype, *channels: int) -> np.ndarray:
    values = np.linspace(low, high, int(np.prod((24, 32, *channels))))
    return np.random.default_rng(0).permutation(values.astype(dtype)).reshape(24, 32, *channels)


def expected(values: np.ndarray) -> np.ndarray:
    """0 (or what is below it) to the top of the bits in use; floating point by its own range."""
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    if values.dtype != np.float64 or not np.array_equal(values, values.round()):
        return (values - low) / (high - low) * 255
    top = next(2.0**bits - 1 for bits in range(8, 65) if high <= 2.0**bits - 1)
    return (values - min(low, 0)) / (top - min(low, 0)) * 255


def luma(rgb: np.ndarray) -> np.ndarray:
    return rgb @ [0.299, 0.587, 0.114]


def shown(path, data: bytes) -> np.ndarray:
    """What is read, after a look that `inspect` says the same."""
    path.write_bytes(data)
    pixels = files.read(path)
    assert files.inspect(path) == (*pixels.shape[::-1], "")
    return pixels.astype(float)


GREY = {
    "u8": ramp(0, 255, np.uint8),
    "i8": ramp(-100, 120, np.int8),
    "12 in 16": ramp(0, 4095, np.uint16),
    "u16": ramp(0, 65535, np.uint16),
    "i16": ramp(-1000, 3000, np.int16),
    "u32 below": ramp(0, 2**20 - 1, np.uint32),
    "u32 above": ramp(0, 2**32 - 1, np.uint32),
    "i32": ramp(-5000, 2**30, np.int32),
    "f32": ramp(-0.25, 7.5, np.float32),
    "f64": ramp(-0.25, 7.5, np.float64),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("name", GREY)
def test_grey_tiff_of_every_depth_sign_polarity_and_order(tmp_path, name, photometric, order, packed):
    truth = expected(GREY[name])
    truth = 255 - truth if photometric == 0 else truth
    pixels = shown(tmp_path / "a.tif", tiff(GREY[name], photometric, order, packed))
    assert np.abs(pixels - truth).max() <= 1


DEPTHS = [4095, 65535, 1023, 255]  # of values stored in 16 bits


@pytest.mark.parametrize("top", DEPTHS)
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bit_png(tmp_path, channels, top):
    values = ramp(0, top, np.uint16, channels)
    values[0, 0, 0] = top
    if channels in (2, 4):
        values[..., -1] = 65535  # opaque, whatever the bits of the colour
    truth = expected(values[..., 0]) if channels == 2 else luma(expected(values[..., :3]))
    assert np.abs(shown(tmp_path / "a.png", png(values)) - truth).max() <= 1


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("top", DEPTHS)
@pytest.mark.parametrize(
    ("channels", "photometric", "extra"),
    [(3, 2, ()), (4, 2, (2,)), (4, 2, (1,)), (2, 1, (2,)), (2, 0, (2,)), (2, 1, (1,))],
)
def test_16_bit_colour_and_alpha_tiff(tmp_path, channels, photometric, extra, top, order, packed):
    values = ramp(0, top, np.uint16, channels)
    values[0, 0, 0] = top
    if extra:
        values[..., -1] = 65535
    truth = expected(values[..., 0]) if channels == 2 else luma(expected(values[..., :3]))
    truth = 255 - truth if photometric == 0 else truth
    pixels = shown(tmp_path / "a.tif", tiff(values, photometric, order, packed, extra=extra))
    assert np.abs(pixels - truth).max() <= 1


@pytest.mark.parametrize("order", ORDERS)
def test_16_bit_colour_in_planes(tmp_path, order):
    values = ramp(0, 4095, np.uint16, 3)
    pixels = shown(tmp_path / "a.tif", tiff(values, 2, order, planar=True))
    assert np.abs(pixels - luma(expected(values))).max() <= 1
    (tmp_path / "b.tif").write_bytes(tiff(values, 2, order, packed=True, planar=True))
    assert files.inspect(tmp_path / "b.tif")[2] == (
        "16-bit colour in separate compressed planes, which is not read; save it interleaved"
    )


def test_16_bit_cmyk(tmp_path):
    values = ramp(0, 65535, np.uint16, 4)
    bytes_ = Image.frombytes("CMYK", (32, 24), (values >> 8).astype(np.uint8).tobytes())
    pixels = shown(tmp_path / "a.tif", tiff(values, 5))
    assert np.abs(pixels - np.asarray(bytes_.convert("L"), float)).max() <= 2


def test_a_later_page_has_its_own_low_bytes(tmp_path):
    flat, ramped = np.zeros((24, 32, 3), np.uint16), ramp(0, 4095, np.uint16, 3)
    first, second = tiff(flat, 2), tiff(ramped, 2)
    # one file of two pages: the second file's offsets are moved behind the first
    path = tmp_path / "a.tif"
    with Image.open(_kept(tmp_path / "1.tif", first)) as one:
        assert one.n_frames == 1
    path.write_bytes(_chained(first, second))
    assert files.frames(path) == 2 and not files.read(path).any()
    assert np.abs(files.read(path, frame=1) - luma(expected(ramped))).max() <= 1


def _kept(path, data: bytes):
    path.write_bytes(data)
    return path


def _chained(first: bytes, second: bytes) -> bytes:
    shift = len(first) + len(first) % 2
    directory = int.from_bytes(second[4:8], "little")
    moved = bytearray(second)
    for k in range(int.from_bytes(second[directory : directory + 2], "little")):
        at = directory + 2 + 12 * k
        tag, form, n = (int.from_bytes(second[at + i : at + j], "little") for i, j in ((0, 2), (2, 4), (4, 8)))
        if tag == 273 or n * {3: 2, 4: 4}[form] > 4:
            value = int.from_bytes(second[at + 8 : at + 12], "little") + shift
            moved[at + 8 : at + 12] = value.to_bytes(4, "little")
    entry = int.from_bytes(first[4:8], "little")
    following = entry + 2 + 12 * int.from_bytes(first[entry : entry + 2], "little")
    link = (shift + directory).to_bytes(4, "little")
    return (first[:following] + link + first[following + 4 :]).ljust(shift, b"\0") + bytes(moved)


def lab_to_luma(l_star, a, b) -> tuple[np.ndarray, np.ndarray]:
    """CIE 15 and IEC 61966-2-1: L*a*b* (D50) to XYZ, Bradford to D65, to sRGB, its luma; and where it lies in sRGB."""
    fy = (l_star + 16) / 116
    f = np.stack([fy + a / 500, fy, fy - b / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1, 0.8249]
    linear = xyz @ np.array([[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]]).T
    inside = ((linear >= 0) & (linear <= 1)).all(-1)
    linear = np.clip(linear, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return luma(255 * srgb), inside


@pytest.mark.parametrize("packed", [False, True])
def test_lab_is_shown_as_its_srgb_is(tmp_path, packed):
    lightness = ramp(0, 255, np.uint8)
    colour = np.random.default_rng(1).integers(-20, 20, (24, 32, 2))
    values = np.dstack([lightness, colour.astype(np.int8).view(np.uint8)])
    truth, inside = lab_to_luma(lightness / 255 * 100, colour[..., 0], colour[..., 1])
    pixels = shown(tmp_path / "a.tif", tiff(values, 8, packed=packed))
    assert np.abs(pixels - truth)[inside].max() <= 2 and inside.mean() > 0.7


@pytest.mark.parametrize(
    ("values", "photometric", "words"),
    [
        (ramp(0, 1, np.float16), 1, "a TIFF of 16 bits, floating point, photometric interpretation 1, which is not"),
        (ramp(0, 9, np.uint64), 1, "a TIFF of 64 bits, unsigned, photometric interpretation 1, which is not read"),
        (ramp(0, 1, np.float32, 3), 2, "a TIFF of 32 + 32 + 32 bits, floating point, photometric interpretation 2"),
        (ramp(0, 9, np.uint16, 3), 8, "a TIFF of 16 + 16 + 16 bits, unsigned, photometric interpretation 8"),
    ],
)
def test_layouts_that_are_not_read_are_said(tmp_path, values, photometric, words):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(values, photometric))
    assert files.inspect(path)[2].startswith(words)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "PPM", "JPEG2000"])
def test_the_ending_of_a_name_says_nothing(tmp_path, mode, kind):
    path = tmp_path / "0017"
    Image.fromarray(ramp(0, 255, np.uint8)).convert(mode).save(path, kind)
    with Image.open(path) as image:
        truth = np.asarray(image.convert("L"))
    for name in ("0017", "a.dcm", "a.txt", "a.png"):
        assert np.array_equal(files.read(path.rename(path.with_name(name))), truth)
        path = path.with_name(name)
