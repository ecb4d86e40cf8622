"""One volume file (`.npy`, `.nii`, `.nii.gz`): its planes as one 8-bit channel.

Planes of one volume share one scale. `.npy` holds (frames, H, W) or one (H, W); a NIfTI's frames lie along its third
axis (then its fourth), turned so that y goes up the picture. No pickle is ever read.
"""

import gzip
import math
from functools import lru_cache
from pathlib import Path

import nibabel
import numpy as np

from ortholib import wording
from ortholib.data import grey

SUFFIXES = (".npy", ".nii", ".nii.gz")
MAX_VOXELS = 2**27  # 134 million: 500 planes of 512 x 512
MAX_BYTES = 2**29  # of a decompressed NIfTI


def is_volume(path: Path) -> bool:
    """Whether the file's name ends like a volume's."""
    return path.name.lower().endswith(SUFFIXES)


def planes(path: Path) -> np.ndarray:
    """All planes (n, H, W) uint8 of a volume; the last two volumes are kept in memory.

    8-bit files are taken as they are (and memory-mapped), deeper whole numbers are scaled by the bits they use,
    floating point ones by their range, over the whole volume. Raises ValueError for what cannot be read.
    """
    stat = path.stat()
    return _planes(path, stat.st_mtime_ns, stat.st_size)


def window(path: Path) -> tuple[float, float, str]:
    """Lowest and highest stored value of a volume, and in words what is shown as black and as white."""
    values = _values(path)
    low, high = _extremes(values)
    ends = (0, 255) if values.dtype == np.uint8 else grey.bounds(low, high, values.dtype.kind)
    return low, high, "{:g} to {:g}, of the whole volume".format(*ends)


@lru_cache(maxsize=2)
def _planes(path: Path, *_stamp: int) -> np.ndarray:
    values = _values(path)
    if values.dtype == np.uint8:
        return values
    return grey.scaled(values, *grey.bounds(*_extremes(values), values.dtype.kind))


def _values(path: Path) -> np.ndarray:
    """Stored values (n, H, W)."""
    try:
        values = _npy(path) if path.name.lower().endswith(".npy") else _nifti(path)
    except Exception as error:  # nibabel raises anything on damaged headers
        raise ValueError(_words(error)) from error
    if values.dtype.kind not in "buif":
        raise ValueError(f"values of type {values.dtype}, expected numbers")
    return values


def _extremes(values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value, plane by plane, as nothing of a mapped file need stay in memory; NaN stays NaN."""
    lows, highs = zip(*((plane.min(), plane.max()) for plane in values), strict=True)
    return np.min(lows), np.max(highs)


def _npy(path: Path) -> np.ndarray:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim == 2:
        array = array[None]
    _check(array.shape)
    return array


def _nifti(path: Path) -> np.ndarray:
    image = nibabel.load(path)
    if len(image.shape) == 2:
        shape = (*image.shape, 1)
    else:
        shape = (*image.shape[:2], math.prod(image.shape[2:]))
    _check((shape[2], shape[1], shape[0]))
    if path.name.lower().endswith(".gz"):
        offset = int(image.dataobj.offset)
        length = offset + math.prod(shape) * image.get_data_dtype().itemsize
        if not 0 <= offset <= 2**20 or length > MAX_BYTES:
            raise ValueError(f"more than the {MAX_BYTES // 2**20} MiB accepted of one volume")
        with gzip.open(path) as file:
            image = type(image).from_bytes(file.read(length))
    values = np.asanyarray(image.dataobj).reshape(shape, order="F")
    return values.transpose(2, 1, 0)[:, ::-1]


def _check(shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"an array of shape {tuple(shape)}, expected (frames, height, width)")
    if math.prod(shape) > MAX_VOXELS:
        raise ValueError(f"more than the {MAX_VOXELS:,} voxels accepted")


def _words(error: Exception) -> str:
    text = wording.one_line(error)
    if "Python objects" in text or "Object arrays" in text:
        return "an array of Python objects, which is never read"
    if isinstance(error, EOFError) or "greater than file size" in text or ("Expected" in text and "bytes" in text):
        return "truncated"
    return text
