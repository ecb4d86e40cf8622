"""Generated files: a folder of them is there whole or not at all, and some are damaged on purpose."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from ortholib import paths
from ortholib.errors import UsageError


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """A folder to write into, which is renamed to `out` in the end and deleted where that fails.

    Raises UsageError where `out` holds files already (they might be real ones) or lies in the user's data.
    """
    out, data = Path(out).resolve(), paths.data_root()
    if data is not None and out.is_relative_to(data):
        raise UsageError(f"{out} lies in ORTHOLIB_DATA ({data}), which is never written to; choose another folder.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not an empty folder; remove it or choose another one.")
    partial = out.with_name(f"{out.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def check_count(count: int, fewest: int, name: str, unit: str) -> None:
    """Raise UsageError for fewer images (or films, exams) than a set needs."""
    if count < fewest:
        raise UsageError(f"count={count}: the {name} phantom needs at least {fewest} {unit} to hold all its kinds.")


def encoded(image: Image.Image | np.ndarray, form: str, defect: str = "", **options) -> bytes:
    """The bytes of an image file, all but the last two fifths where the `defect` is "truncated"."""
    buffer = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(buffer, form, **options)
    data = buffer.getvalue()
    return data[: int(0.6 * len(data))] if defect == "truncated" else data


def yolo_line(number: int, box: tuple[float, float, float, float], width: int, height: int, digits: str) -> str:
    """A box (x0, y0, x1, y1) in pixels as YOLO writes it: class, centre, size, in shares of the image."""
    x0, y0, x1, y1 = box
    shares = (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height
    return " ".join([str(number), *(format(share, digits) for share in shares)]) + "\n"
