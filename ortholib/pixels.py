"""PixelStore: every image of a set decoded once, as one-channel letterboxed squares in one file.

The file is raw uint8 (N, S, S) in the order of `image_ids`, so that a memory map serves any batch and a
killed packing goes on where it stopped.
"""

import hashlib
import json
import os
import shutil
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ortholib import imagefile, locks, progress
from ortholib.errors import OrthoError, UsageError

VERSION = 1  # of the stored form; part of every store's name
RESERVE = 256 * 2**20  # bytes left free on the disk


@dataclass(frozen=True)
class PixelStore:
    """pixels: (N, S, S) uint8 memory map. valid: (N, 4) int16, x0 y0 x1 y1 of the image inside its square.
    hash: sha256 over ids, geometry and pixels, 16 digits. failed: image id -> why it could not be decoded
    (its square is black)."""

    folder: Path
    image_ids: np.ndarray
    pixels: np.ndarray
    valid: np.ndarray
    hash: str
    failed: dict[str, str]

    def rows(self, image_ids) -> np.ndarray:
        """Row numbers of image ids. Raises OrthoError naming the first id that is not in the store."""
        rows = np.searchsorted(self.image_ids, image_ids)
        rows = np.minimum(rows, len(self.image_ids) - 1)
        wrong = self.image_ids[rows] != np.asarray(image_ids)
        if wrong.any():
            raise OrthoError(f"{self.folder} holds no image '{np.asarray(image_ids)[wrong][0]}'; pack the set again.")
        return rows


def letterbox(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of a width x height image scaled to fit and centred in a size x size square."""
    scale = size / max(width, height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    x, y = (size - w) // 2, (size - h) // 2
    return x, y, x + w, y + h


def square(path: Path, size: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """One file as a (size, size) uint8 square, black around the image, and where the image is in it."""
    pixels = imagefile.read(path, size)
    box = letterbox(pixels.shape[1], pixels.shape[0], size)
    canvas = np.zeros((size, size), np.uint8)
    canvas[box[1] : box[3], box[0] : box[2]] = pixels
    return canvas, box


def pack(files: dict[str, Path], name: str, size: int, folder: Path) -> PixelStore:
    """Pack the files (image id -> path) into `folder/<name>-<size>-<plan>`; an existing store is opened.

    plan = hash of ids, file names, sizes and times. A killed or interrupted packing leaves `.partial` and
    goes on from its last whole image. Memory is a few images per core, whatever N is.
    Raises UsageError for a size below 8, OrthoError for no files and for a disk that cannot hold the store.
    """
    if size < 8:
        raise UsageError(f"size {size} is too small for a pixel store; expected 8 or more.")
    if not files:
        raise OrthoError(f"{name}: nothing to pack, no readable image was found. See `ortholib data check {name}`.")
    ids = sorted(files)
    state = [(i, files[i].name, files[i].stat().st_size, files[i].stat().st_mtime_ns) for i in ids]
    plan = hashlib.sha256(repr((VERSION, size, state)).encode()).hexdigest()[:12]
    target = folder / f"{name}-{size}-{plan}"
    with locks.held(target):
        if not (target / "store.json").is_file():
            _write(files, ids, size, target)
    return load(target)


def load(folder: Path) -> PixelStore:
    """Open a packed store. Raises OrthoError where its files do not fit together."""
    index = json.loads((folder / "store.json").read_text())
    n, size = len(index["image_ids"]), index["size"]
    file = folder / "pixels.u8"
    if not file.is_file() or file.stat().st_size != n * size * size:
        raise OrthoError(f"{file} should hold {n * size * size:,} bytes and does not; delete {folder} and pack again.")
    pixels = np.memmap(file, np.uint8, "r", shape=(n, size, size))
    ids, valid = np.array(index["image_ids"]), np.array(index["valid"], np.int16)
    return PixelStore(folder, ids, pixels, valid, index["hash"], index["failed"])


def _write(files: dict[str, Path], ids: list[str], size: int, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    file, log = partial / "pixels.u8", partial / "index.jsonl"
    square_bytes = size * size
    lines = log.read_text().splitlines() if log.is_file() else []
    done = min(len(lines), file.stat().st_size // square_bytes if file.is_file() else 0)
    done = _whole(lines[:done])
    needed, free = (len(ids) - done) * square_bytes + RESERVE, shutil.disk_usage(partial).free
    if needed > free:
        raise OrthoError(
            f"{partial} needs {needed / 2**30:.1f} GiB and its disk has {free / 2**30:.1f} GiB free. "
            "Free some space, choose a smaller --size, or point ORTHOLIB_RUNS to a larger disk."
        )
    log.write_text("".join(line + "\n" for line in lines[:done]))
    try:
        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,  # Pillow decodes outside the interpreter lock
            open(file, "r+b" if file.is_file() else "wb") as out,
            open(log, "a") as index,
        ):
            out.truncate(done * square_bytes)
            out.seek(done * square_bytes)
            todo = iter(ids[done:])
            window = deque(pool.submit(_one, files[i], size) for i in islice(todo, 4 * os.cpu_count()))
            for _ in progress.bar(range(done, len(ids)), initial=done, total=len(ids), desc="packing", unit="image"):
                canvas, box, problem = window.popleft().result()
                if (following := next(todo, None)) is not None:
                    window.append(pool.submit(_one, files[following], size))
                out.write(canvas.tobytes())
                index.write(json.dumps([box, problem]) + "\n")
    except OSError as error:
        raise OrthoError(
            f"{partial}: writing stopped ({error.strerror or error}). Free some space and run again: "
            "packing goes on where it stopped."
        ) from error
    boxes, problems = zip(*(json.loads(line) for line in log.read_text().splitlines()), strict=True)
    digest = hashlib.sha256(repr((VERSION, size, ids, boxes)).encode())
    with open(file, "rb") as pixels:
        while block := pixels.read(2**24):
            digest.update(block)
    store = {"size": size, "image_ids": ids, "valid": boxes, "hash": digest.hexdigest()[:16]}
    store["failed"] = {i: problem for i, problem in zip(ids, problems, strict=True) if problem}
    (partial / "store.json").write_text(json.dumps(store))
    log.unlink()
    partial.replace(target)


def _one(path: Path, size: int) -> tuple[np.ndarray, list[int], str]:
    try:
        canvas, box = square(path, size)
        return canvas, list(box), ""
    except imagefile.UNREADABLE as error:
        return np.zeros((size, size), np.uint8), [0, 0, 0, 0], imagefile.reason(error)


def _whole(lines: list[str]) -> int:
    """Number of leading lines that are complete JSON: a kill may have cut the last one."""
    for number, line in enumerate(lines):
        try:
            json.loads(line)
        except ValueError:
            return number
    return len(lines)
