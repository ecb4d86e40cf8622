"""TIFF, PNG and JPEG pictures of every kind, each with the grey that it must show, from a seed.

TIFF and PNG are written here, sample by sample, as the TIFF 6.0 and PNG (third edition) specifications say: no library
writes half of these. What is shown: whole numbers of more than 8 bits by the bits in use, of all channels together;
floating point by its own range; colour as ITU-R BT.601 luma; transparency not at all.
"""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pairwise
from c11 import luma
from dicompixels import field, ybr
from judge import Case
from PIL import Image

SAMPLES = {  # name -> (bits, TIFF's SampleFormat: 1 unsigned, 2 signed, 3 floating point)
    **{f"uint{bits}": (bits, 1) for bits in (1, 2, 4, 8, 12, 16, 32)},
    **{f"int{bits}": (bits, 2) for bits in (8, 16, 32)},
    **{f"float{bits}": (bits, 3) for bits in (16, 32, 64)},
}
PHOTOMETRIC = {"WhiteIsZero": 0, "BlackIsZero": 1, "RGB": 2, "palette": 3, "CMYK": 5, "YCbCr": 6, "LAB": 8}
GREY = ("WhiteIsZero", "BlackIsZero")
TIFF = {
    "sample": tuple(SAMPLES),
    "photometric": tuple(PHOTOMETRIC),
    "alpha": (False, True),
    "in use": ("all bits", "12 bits"),
    "order": ("<", ">"),
    "compression": ("none", "deflate"),
    "planar": (False, True),
    "orientation": (1, 3, 6),
}
PNG = {
    "colour": ("grey", "RGB", "palette", "grey alpha", "RGB alpha"),
    "bits": (1, 2, 4, 8, 16),
    "in use": ("all bits", "12 bits"),
    "transparent": (False, True),
    "filter": (0, 1, 2),
}
JPEG = {
    "mode": ("L", "RGB", "CMYK"),
    "subsampling": ("4:4:4", "4:2:2", "4:2:0"),
    "progressive": (False, True),
    "orientation": tuple(range(1, 9)),
    "quality": (30, 75, 95),
}
# refused is allowed, by a reason that says of what kind they are: libraries that read them are few
RARE = r"(?i)bit|float|int\d|sample|planar|channel|alpha|mode|photometric"


def tiff_allowed(row: dict) -> bool:
    sample, photometric = row.get("sample"), row.get("photometric")
    deep = sample in ("uint16", "uint32")
    if sample and row.get("in use") == "12 bits" and not deep:
        return False
    if photometric in GREY and row.get("planar"):
        return False
    if photometric == "palette" and (row.get("alpha") or row.get("planar")):
        return False
    if row.get("alpha") and (sample not in (None, "uint8", "uint16") or photometric in ("CMYK", "YCbCr", "LAB")):
        return False
    if photometric in ("YCbCr", "LAB") and row.get("in use") == "12 bits":
        return False
    fits = {"RGB": ("uint8", "uint16"), "CMYK": ("uint8", "uint16"), "palette": ("uint1", "uint4", "uint8")}
    return not (sample and photometric) or photometric in GREY or sample in fits.get(photometric, ("uint8",))


def png_allowed(row: dict) -> bool:
    colour, bits = row.get("colour", ""), row.get("bits")
    if row.get("in use") == "12 bits" and (bits not in (None, 16) or colour == "palette"):
        return False
    if row.get("transparent") and "alpha" in colour:
        return False
    depths = {"grey": (1, 2, 4, 8, 16), "palette": (1, 2, 4, 8)}
    return not (colour and bits) or bits in depths.get(colour, (8, 16))


def cases(seeds: int = 3) -> Iterator[Case]:
    number = 0
    for seed in range(seeds):
        for kind, factors, allowed, maker in (
            ("tif", TIFF, tiff_allowed, tiff_case),
            ("png", PNG, png_allowed, png_case),
            ("jpg", JPEG, lambda row: not (row.get("mode") == "L" and row.get("subsampling", "4:4:4") != "4:4:4"),
             jpeg_case),
        ):  # fmt: skip
            for row in pairwise.rows(factors, allowed, seed):
                if len(row) == len(factors):
                    name = f"{number:03d}.{kind} " + ", ".join(f"{key} {value}" for key, value in row.items())
                    yield maker(name, row, np.random.default_rng(number))
                    number += 1


# TIFF


def tiff_case(name: str, row: dict, rng) -> Case:
    bits, sample_format = SAMPLES[row["sample"]]
    channels = {"RGB": 3, "YCbCr": 3, "LAB": 3, "CMYK": 4}.get(row["photometric"], 1)
    share = np.stack([field(1, rng)[0] for _ in range(channels + row["alpha"])], -1)
    if sample_format == 3:
        values = (share * 4000 - 1000).astype(f"f{bits // 8}")
    elif sample_format == 2:
        values = np.rint(share * (2**bits - 1) - 2 ** (bits - 1)).astype(np.int64)
    else:
        values = np.rint(share * (4095 if row["in use"] == "12 bits" else 2**bits - 1)).astype(np.int64)
    if row["photometric"] == "LAB":  # greys and weak colours: all of them within sRGB
        values[..., 1:] = np.rint((share[..., 1:] - 0.5) * 16)
        values[..., 0] = np.rint(40 + share[..., 0] * 180)
    if row["photometric"] == "YCbCr":  # of colours that there are
        values = ybr(values).astype(np.int64)
    extra, shown = {}, values[..., :channels]
    match row["photometric"]:
        case "palette":
            ramp = np.rint(65535 * np.linspace(0, 1, 2**bits)[:, None] ** [0.6, 1.0, 1.7]).astype(np.int64)
            extra[320] = (3, ramp.T.ravel().tolist())
            grey = luma(ramp[shown[..., 0]] >> 8)
        case "RGB":
            grey = luma(whole(shown, bits))
        case "CMYK":
            ink = np.rint(whole(shown, bits)) / 255  # 8 bits a channel, then mixed
            grey = luma(255 * (1 - ink[..., :3]) * (1 - ink[..., 3:]))
        case "YCbCr":
            grey = luma(from_ycbcr(shown))
            extra[530] = (3, [1, 1])
        case "LAB":
            grey = luma(from_lab(shown))
        case _:
            grey = (own_range if sample_format == 3 else whole)(shown[..., 0], bits)
            if row["photometric"] == "WhiteIsZero":
                grey = 255 - grey
    turned = {1: grey, 3: grey[::-1, ::-1], 6: np.rot90(grey, -1)}[row["orientation"]]
    common = not row["planar"] and row["sample"] not in ("int8", "float16") and row["photometric"] != "CMYK"
    common = common and not (row["alpha"] and row["photometric"] == "WhiteIsZero")
    return Case(name, tiff(values, row, extra), [turned], "" if common else RARE)


def tiff(values: np.ndarray, row: dict, extra: dict) -> bytes:
    """TIFF 6.0, one strip (one a channel where planar)."""
    order, (bits, sample_format), (height, width, channels) = row["order"], SAMPLES[row["sample"]], values.shape
    planes = [values[..., k : k + 1] for k in range(channels)] if row["planar"] else [values]
    strips = [packed(plane, bits, sample_format, order) for plane in planes]
    if row["compression"] == "deflate":
        strips = [zlib.compress(strip) for strip in strips]
    tags = {
        **{256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * channels)},
        259: (3, [8 if row["compression"] == "deflate" else 1]),
        262: (3, [PHOTOMETRIC[row["photometric"]]]),
        274: (3, [row["orientation"]]),
        277: (3, [channels]),
        278: (4, [height]),
        279: (4, [len(strip) for strip in strips]),
        284: (3, [2 if row["planar"] else 1]),
        339: (3, [sample_format] * channels),
        **extra,
    }
    if row["alpha"]:
        tags[338] = (3, [2])
    data, at = b"".join(strips), 8
    tags[273] = (4, [at + sum(map(len, strips[:k])) for k in range(len(strips))])
    data += bytes(len(data) % 2)
    entries, behind = b"", b""
    start = at + len(data)
    end = start + 2 + 12 * len(tags) + 4
    for tag, (kind, numbers) in sorted(tags.items()):
        content = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(content) > 4:
            content, behind = struct.pack(f"{order}I", end + len(behind)), behind + content
        entries += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + content.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + behind


def packed(values: np.ndarray, bits: int, sample_format: int, order: str = ">") -> bytes:
    """Rows of samples, each row begun at a byte; samples of no whole bytes high bits first."""
    if bits % 8:
        shifts = np.arange(bits - 1, -1, -1)
        return np.packbits((values.reshape(len(values), -1, 1) >> shifts & 1).reshape(len(values), -1), 1).tobytes()
    return values.astype(f"{order}{'_uif'[sample_format]}{bits // 8}").tobytes()


# PNG


def png_case(name: str, row: dict, rng) -> Case:
    bits, alpha = row["bits"], "alpha" in row["colour"]
    channels = (3 if "RGB" in row["colour"] else 1) + alpha
    share = np.stack([field(1, rng)[0] for _ in range(channels)], -1)
    values = np.rint(share * (4095 if row["in use"] == "12 bits" else 2**bits - 1)).astype(np.int64)
    kept, chunks = values[..., : channels - alpha], []
    if row["colour"] == "palette":
        colours = np.rint(255 * np.linspace(0, 1, 2**bits)[:, None] ** [0.6, 1.0, 1.7]).astype(np.uint8)
        chunks = [(b"PLTE", colours.tobytes())]
        grey = luma(colours[kept[..., 0]])
    else:
        grey = whole(kept, bits)
        grey = luma(grey) if channels >= 3 else grey[..., 0]
    if row["transparent"]:
        colour = values[3, 3].astype(">u2").tobytes()
        chunks.append((b"tRNS", bytes(range(2**bits)) if row["colour"] == "palette" else colour))
    kind = {"grey": 0, "RGB": 2, "palette": 3, "grey alpha": 4, "RGB alpha": 6}[row["colour"]]
    height, width = grey.shape
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    rows = np.frombuffer(packed(values, bits, 1), np.uint8).reshape(height, -1)
    behind = max(1, bits * channels // 8)  # PNG 9.2: filters 1 (the sample before) and 2 (the row above)
    before = {
        0: np.zeros_like(rows),
        1: np.pad(rows, ((0, 0), (behind, 0)))[:, : rows.shape[1]],
        2: np.pad(rows, ((1, 0), (0, 0)))[:-1],
    }[row["filter"]]
    lines = b"".join(bytes([row["filter"]]) + line.tobytes() for line in rows - before)
    chunks = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return Case(name, b"\x89PNG\r\n\x1a\n" + body, [grey])


# JPEG


def jpeg_case(name: str, row: dict, rng) -> Case:
    """What a JPEG holds is what its decoder says (Pillow's, without conversion)."""
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[row["mode"]]
    values = np.rint(np.stack([field(1, rng)[0] for _ in range(channels)], -1) * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = row["orientation"]
    buffer = io.BytesIO()
    options = {} if row["mode"] == "L" else {"subsampling": row["subsampling"]}
    image = Image.fromarray(values[..., 0]) if channels == 1 else Image.merge(
        row["mode"], [Image.fromarray(values[..., k]) for k in range(channels)]
    )  # fmt: skip
    image.save(buffer, "JPEG", exif=exif, quality=row["quality"], progressive=row["progressive"], **options)
    with Image.open(buffer) as opened:
        decoded = np.asarray(opened).astype(np.float64)
    if channels == 4:
        decoded = 255 * (1 - decoded[..., :3] / 255) * (1 - decoded[..., 3:] / 255)
    grey = decoded if channels == 1 else luma(decoded)
    turned = {
        **{1: grey, 2: grey[:, ::-1], 3: grey[::-1, ::-1], 4: grey[::-1]},
        **{5: grey.T, 6: np.rot90(grey, -1), 7: grey[::-1, ::-1].T, 8: np.rot90(grey)},
    }[row["orientation"]]
    return Case(name, buffer.getvalue(), [turned])


# what is shown


def whole(values: np.ndarray, bits: int) -> np.ndarray:
    """Whole numbers from 0 (or the least below it) to the top of their bits, or of the bits in use, to 0 to 255."""
    low = min(int(values.min()), 0)
    used = bits if bits <= 8 and low == 0 else max(8, int(values.max()).bit_length())
    return (values - low) / (2**used - 1 - low) * 255


def own_range(values: np.ndarray, bits: int) -> np.ndarray:
    values = values.astype(np.float64)
    return (values - values.min()) / np.ptp(values) * 255


def from_ycbcr(values: np.ndarray) -> np.ndarray:
    """TIFF 6.0 section 21 with its default coefficients and CCIR full range."""
    y, cb, cr = np.moveaxis(values.astype(np.float64), -1, 0) - np.array([0, 128, 128])[:, None, None]
    return np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1).clip(0, 255)


def from_lab(values: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of D50 (TIFF 6.0 section 23: L* in 255ths of 100, a* and b* signed) to sRGB (IEC 61966-2-1)."""
    f_y = (values[..., 0] / 255 * 100 + 16) / 116
    f = np.stack([f_y + values[..., 1] / 500, f_y, f_y - values[..., 2] / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1, 0.8249]
    to_linear = np.array([[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540],
                          [0.0719453, -0.2289914, 1.4052427]])  # fmt: skip  # from D50, Bradford
    linear = (xyz @ to_linear.T).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
