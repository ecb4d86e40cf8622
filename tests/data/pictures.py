"""PNG and TIFF files of any depth, sign, polarity and byte order, written without any library that reads them."""

import struct
import zlib

import numpy as np


def png(values: np.ndarray) -> bytes:
    """16-bit PNG of values (H, W) grey, or (H, W, 2) grey + alpha, (H, W, 3) RGB, (H, W, 4) RGBA."""
    height, width, *channels = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[(*channels, 1)[0]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)), (b"IDAT", zlib.compress(rows)))
    body = b"\x89PNG\r\n\x1a\n"
    for name, data in (*chunks, (b"IEND", b"")):
        body += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return body


def tiff(
    values: np.ndarray, photometric: int = 1, order: str = "<", packed: bool = False, planar: bool = False, extra=()
) -> bytes:
    """TIFF 6.0 of values (H, W) or (H, W, channels), stored as their dtype says; packed: deflated.

    photometric: 0 WhiteIsZero, 1 BlackIsZero, 2 RGB, 5 CMYK, 8 CIELab. extra: of each extra sample, its kind.
    """
    height, width, *channels = values.shape
    samples = (*channels, 1)[0]
    data = values.astype(values.dtype.newbyteorder(order))
    strips = [data[..., k].tobytes() for k in range(samples)] if planar else [data.tobytes()]
    bits, kind = [8 * values.itemsize] * samples, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    return _tiff(strips, width, height, photometric, kind, bits, extra, order, packed, planar)


def raw_tiff(photometric: int, kind: int, bits, extra, order: str) -> bytes:
    """TIFF of 16 x 8 pixels of any layout, all bits of which are 0."""
    return _tiff([bytes(16 * 8 * sum(bits) // 8)], 16, 8, photometric, kind, bits, extra, order, False, False)


def _tiff(strips, width, height, photometric, kind, bits, extra, order, packed, planar) -> bytes:
    strips = [zlib.compress(strip) for strip in strips] if packed else strips
    offsets = np.cumsum([8, *map(len, strips)])
    tags = [
        (256, "I", [width]),
        (257, "I", [height]),
        (258, "H", bits),
        (259, "H", [8 if packed else 1]),
        (262, "H", [photometric]),
        (273, "I", offsets[:-1]),
        (277, "H", [len(bits)]),
        (278, "I", [height]),
        (279, "I", [len(strip) for strip in strips]),
        (284, "H", [2 if planar else 1]),
        *([(338, "H", extra)] if extra else []),
        (339, "H", [kind] * len(bits)),
    ]
    at = int(offsets[-1]) + int(offsets[-1]) % 2
    entries, more, after = b"", b"", at + 2 + 12 * len(tags) + 4
    for tag, form, numbers in tags:
        field = struct.pack(f"{order}{len(numbers)}{form}", *map(int, numbers))
        if len(field) > 4:
            field, more = struct.pack(f"{order}I", after + len(more)), more + field
        entries += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[form], len(numbers)) + field.ljust(4, b"\0")
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, at)
    body = (head + b"".join(strips)).ljust(at, b"\0")
    return body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + more
