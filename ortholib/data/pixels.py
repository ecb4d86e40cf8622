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

from ortholib import locks, progress
from ortholib.data import files
from ortholib.data.files import Plane
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
        image_ids = np.asarray(image_ids, str)
        rows = np.minimum(np.searchsorted(self.image_ids, image_ids), len(self.image_ids) - 1)
        wrong = self.image_ids[rows] != image_ids
        if wrong.any():
            raise OrthoError(f"{self.folder} holds no image '{image_ids[wrong][0]}'; pack the set again.")
        return rows


def letterbox(width: int, height: int, size: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of a width x height image scaled to fit and centred in a size x size square."""
    scale = size / max(width, height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    x, y = (size - w) // 2, (size - h) // 2
    return x, y, x + w, y + h


def square(plane: Plane, size: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """One plane as a (size, size) uint8 square, black around the image, and where the image is in it."""
    pixels = files.read(plane.path, size, plane.frame)
    box = letterbox(pixels.shape[1], pixels.shape[0], size)
    canvas = np.zeros((size, size), np.uint8)
    canvas[box[1] : box[3], box[0] : box[2]] = pixels
    return canvas, box


def pack(planes: dict[str, Plane], name: str, size: int, folder: Path) -> PixelStore:
    """Pack the planes (by image id) into `folder/<name>-<size>-<plan>`; an existing store is opened.

    plan = hash of ids, file names, frames, sizes and times. A killed or interrupted packing leaves `.partial` and
    goes on from its last whole image. Memory is a few images per core, whatever N is.
    Raises UsageError for a size below 8, OrthoError for no files, for a file that went away since the set was
    read, and for a disk that cannot hold the store.
    """
    if size < 8:
        raise UsageError(f"size {size} is too small for a pixel store; expected 8 or more.")
    if not planes:
        raise OrthoError(f"{name}: nothing to pack, no readable image was found. See `ortholib data check {name}`.")
    ids = sorted(planes)
    try:
        stats = {path: _stamp(path) for path in {plane.path for plane in planes.values()}}
    except OSError as error:
        raise OrthoError(f"{error.filename}: {error.strerror}, though {name} was just read. Run again.") from error
    state = [(i, planes[i].path.name, planes[i].frame, *stats[planes[i].path]) for i in ids]
    plan = hashlib.sha256(repr((VERSION, size, state)).encode()).hexdigest()[:12]
    target = folder / f"{name}-{size}-{plan}"
    try:
        with locks.held(target):
            if not (target / "store.json").is_file():
                _write(planes, ids, size, target)
    except OSError as error:
        raise OrthoError(
            f"{target}.partial: writing stopped ({error.strerror or error}). See that its disk has room and may be "
            "written to, then run again: packing goes on where it stopped."
        ) from error
    return load(target)


def load(folder: Path) -> PixelStore:
    """Open a packed store. Raises OrthoError where its files do not fit together."""
    try:
        index = json.loads((folder / "store.json").read_text())
        ids, size, valid = np.array(index["image_ids"]), index["size"], np.array(index["valid"], np.int16)
        digest, failed = index["hash"], index["failed"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise OrthoError(f"{folder} is no pixel store ({error}); delete it and pack again.") from error
    file, n = folder / "pixels.u8", len(ids)
    if not file.is_file() or file.stat().st_size != n * size * size:
        raise OrthoError(f"{file} should hold {n * size * size:,} bytes and does not; delete {folder} and pack again.")
    return PixelStore(folder, ids, np.memmap(file, np.uint8, "r", shape=(n, size, size)), valid, digest, failed)


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _write(planes: dict[str, Plane], ids: list[str], size: int, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    file, log = partial / "pixels.u8", partial / "index.jsonl"
    square_bytes = size * size
    file.touch()
    log.touch()
    done, log_bytes = _whole(log.read_bytes(), file.stat().st_size // square_bytes)
    needed, free = (len(ids) - done) * square_bytes + RESERVE, shutil.disk_usage(partial).free
    if needed > free:
        raise OrthoError(
            f"{partial} needs {needed / 2**30:.1f} GiB and its disk has {free / 2**30:.1f} GiB free. "
            "Free some space, choose a smaller --size, or point ORTHOLIB_RUNS to a larger disk."
        )
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,  # Pillow decodes outside the interpreter lock
        open(file, "r+b") as out,
        open(log, "r+b") as index,
    ):
        # cut in place: rewriting the log on a full disk would lose what was done
        for stream, end in ((out, done * square_bytes), (index, log_bytes)):
            stream.truncate(end)
            stream.seek(end)
        todo = iter(ids[done:])
        window = deque(pool.submit(_one, planes[i], size) for i in islice(todo, 4 * os.cpu_count()))
        for _ in progress.bar(range(done, len(ids)), initial=done, total=len(ids), desc="packing", unit="image"):
            canvas, box, problem = window.popleft().result()
            if (following := next(todo, None)) is not None:
                window.append(pool.submit(_one, planes[following], size))
            # flushed image by image: a kill would take the last 8 KiB of the log, which are hundreds of images
            out.write(canvas.tobytes())
            out.flush()
            index.write(json.dumps([box, problem]).encode() + b"\n")
            index.flush()
    boxes, problems = zip(*(json.loads(line) for line in log.read_text().splitlines()), strict=True)
    digest = hashlib.sha256(repr((VERSION, size, ids, boxes)).encode())
    with open(file, "rb") as pixels:
        while block := pixels.read(2**24):
            digest.update(block)
    store = {"size": size, "image_ids": ids, "valid": boxes, "hash": digest.hexdigest()[:16]}
    store["failed"] = {i: problem for i, problem in zip(ids, problems, strict=True) if problem}
    (partial / "store.json").write_text(json.dumps(store))
    partial.replace(target)
    (target / log.name).unlink()


def _one(plane: Plane, size: int) -> tuple[np.ndarray, list[int], str]:
    try:
        canvas, box = square(plane, size)
        return canvas, list(box), ""
    except files.UNREADABLE as error:
        return np.zeros((size, size), np.uint8), [0, 0, 0, 0], files.reason(error)


def _whole(log: bytes, squares: int) -> tuple[int, int]:
    """(images, bytes of the log) that are whole: a kill may have cut its last line, or written fewer squares."""
    lines = log.split(b"\n")[:-1][:squares]
    return len(lines), sum(len(line) + 1 for line in lines)
