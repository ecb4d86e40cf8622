"""Stored values of the pictures of which Pillow gives less than the file holds: deep, signed and WhiteIsZero ones.

Pillow keeps the high byte of 16-bit colour (12 bits stored in 16 end at 15), reads unsigned 32 bits as signed ones, and
inverts WhiteIsZero up to 8 bits only. Everything is decoded by Pillow still: the low bytes by naming the other order.
"""

import re
import sys
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin

PHOTOMETRIC, BITS, SAMPLES, FORMAT, PLANAR = 262, 258, 277, 339, 284  # tags of TIFF 6.0
FORMATS = {1: "unsigned", 2: "signed", 3: "floating point"}


def _complete(order: bytes) -> None:
    """Name the layouts of TIFF to Pillow that it can decode and does not list."""
    b = "B" if order == b"MM" else ""
    grey = {
        (1, 12): ("I;16", "I;12"),
        (1, 16): (f"I;16{b}", f"I;16{b}"),
        (1, 32): ("I", f"I;32{b}"),
        (2, 8): ("L", "L"),
        (2, 16): ("I", f"I;16{b}S"),
        (2, 32): ("I", f"I;32{b}S"),
        (3, 32): ("F", f"F;32{b}F"),
        (3, 64): ("F", f"F;64{b}F"),
    }
    for photometric in (0, 1):
        for (kind, bits), modes in grey.items():
            TiffImagePlugin.OPEN_INFO.setdefault((order, photometric, (kind,), 1, (bits,), ()), modes)
        for extra in (0, 1, 2):  # grey and alpha: the four bytes, see `stored`
            key = (order, photometric, (1,), 1, (16, 16), (extra,))
            TiffImagePlugin.OPEN_INFO.setdefault(key, ("RGBA", "RGBA"))


_complete(b"II")
_complete(b"MM")


def stored(image: Image.Image) -> np.ndarray | None:
    """Values (H, W), (H, W, 3) or, of CMYK, (H, W, 4) of a picture that Pillow has opened and not yet decoded.

    Alpha is left out. None where Pillow's own 8 bits are all there is. Raises ValueError for 16-bit colour in separate
    compressed planes, and what Pillow raises.
    """
    tags = image.tag_v2 if image.format == "TIFF" else {}
    bits, kind = tags.get(BITS, (8,))[0], tags.get(FORMAT, (1,))[0]
    if image.mode.startswith(("I", "F")):
        image.tile = [_native(tile) for tile in image.tile]
        values = np.asarray(image)
        return values.view(np.uint32) if (image.mode, bits, kind) == ("I", 32, 1) else values
    if image.mode == "L" and kind == 2:
        return np.asarray(image).view(np.int8)
    raw = _raw(image.tile[0]) if image.tile and image.format in ("PNG", "TIFF") else ""
    if raw == "LA;16B" or (bits, tags.get(SAMPLES)) == (16, 2):
        order = _order(image)
        image.tile = [_named(tile, "RGBA") for tile in image.tile]
        high, low = (0, 1) if order == "big" else (1, 0)
        pixels = np.asarray(image)
        return pixels[..., high].astype(np.uint16) << 8 | pixels[..., low]
    if image.mode in ("RGB", "RGBA", "CMYK") and (bits == 16 or raw.endswith(";16B")):
        return _colour(image, tags)
    return None


def white_is_zero(image: Image.Image) -> bool:
    """Whether a picture's lowest stored value is its white."""
    return image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == 0


def unlisted(path: Path) -> str:
    """What a TIFF holds that Pillow does not know, "" for other files."""
    with open(path, "rb") as file:
        head = file.read(16)
        if not head.startswith(tuple(TiffImagePlugin.PREFIXES)):
            return ""
        tags = TiffImagePlugin.ImageFileDirectory_v2(head if head[2:4] in (b"\0+", b"+\0") else head[:8])
        file.seek(tags.next)
        tags.load(file)
    bits, kind = " + ".join(map(str, tags.get(BITS, (1,)))), tags.get(FORMAT, (1,))[0]
    return (
        f"a TIFF of {bits} bits, {FORMATS.get(kind, f'sample format {kind}')}, photometric interpretation "
        f"{tags.get(PHOTOMETRIC)}, which is not read; save it as grey of 8 or 16 bits"
    )


def _colour(image: Image.Image, tags) -> np.ndarray:
    """16-bit colour from two decodings, of the high and of the low bytes."""
    tiles, order = image.tile, _order(image)
    if tags.get(PLANAR) == 2 and tiles[0].codec_name == "libtiff":
        raise ValueError("16-bit colour in separate compressed planes, which is not read; save it interleaved")
    high, low = ("B", "L") if order == "big" else ("L", "B")
    bases = [_raw(tile).partition(";")[0].replace("a", "A") for tile in tiles]  # premultiplied colour stays so
    image.tile = [_named(tile, f"{base};16{high}") for tile, base in zip(tiles, bases, strict=True)]
    values = np.asarray(image).astype(np.uint16) << 8
    with Image.open(image.filename) as again:
        again.seek(image.tell())
        again.tile = [_named(tile, f"{base};16{low}") for tile, base in zip(again.tile, bases, strict=True)]
        values |= np.asarray(again)
    return values if image.mode == "CMYK" else values[..., :3]


def _order(image: Image.Image) -> str:
    """Order of the bytes that the decoder hands on; libtiff's are the machine's."""
    if image.tile[0].codec_name == "libtiff":
        return sys.byteorder
    return "little" if image.format == "TIFF" and image.tag_v2.prefix == b"II" else "big"


def _native(tile):
    """The tile of a deep picture in the machine's order, where libtiff decodes: Pillow knows that of 16 bits only."""
    deep = re.fullmatch(r"([IF];(?:16|32|64))B?([SF]?)", _raw(tile))
    return _named(tile, f"{deep[1]}N{deep[2]}") if deep and tile.codec_name == "libtiff" else tile


def _raw(tile) -> str:
    """Pillow's name for the layout of the bytes of a tile."""
    return tile.args if isinstance(tile.args, str) else tile.args[0]


def _named(tile, raw: str):
    return tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:]))
