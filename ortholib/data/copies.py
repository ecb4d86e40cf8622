"""Find copies: pixel-identical and near-identical images, as groups that no honest split may cut.

Rule: two images are near-identical when their 16x16 difference hashes differ in at most 12 of 256 bits
and their 32x32 thumbnails correlate with at least 0.998. Both thresholds together: the hash alone pairs
different knees of one position, the correlation alone pairs empty backgrounds.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ortholib import paths, progress
from ortholib.data import files
from ortholib.data.files import Plane
from ortholib.data.table import ImageSet

HASH_BITS = 12
CORRELATION = 0.998
TILE = 4096  # hashes compared with as many at once: memory does not grow with N
PAIRS = 2**13  # candidate pairs correlated at once: thousands of empty images have millions of them


def fingerprints(planes: list[Plane]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each plane: difference hash (32,) uint8 of 256 packed bits, thumbnail (1024,) uint8, sha256 of its pixels.

    1.1 KB an image: 1.2 million fit in 1.4 GB.
    """

    def one(plane: Plane) -> tuple[np.ndarray, np.ndarray, bytes]:
        pixels = files.read(plane.path, frame=plane.frame)
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        image = Image.fromarray(pixels)
        small = np.asarray(image.resize((17, 16), Image.Resampling.BILINEAR), np.int16)
        thumb = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))
        return np.packbits(np.diff(small, axis=1) > 0), thumb.ravel(), digest

    n = len(planes)
    hashes, thumbs, digests = np.empty((n, 32), np.uint8), np.empty((n, 1024), np.uint8), np.empty(n, "S32")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = progress.bar(pool.map(one, planes), total=n, desc="fingerprints", unit="image")
        for row, (hashes[row], thumbs[row], digest) in enumerate(rows):
            digests[row] = digest
    return hashes, thumbs, digests


def near_pairs(hashes: np.ndarray, thumbs: np.ndarray) -> np.ndarray:
    """Index pairs (P, 2), i < j, that satisfy the rule. Every pair of hashes is compared, tile by tile: the time grows
    with N squared (see RECORDS.md), the memory with N."""
    found = [np.empty((0, 2), int)]
    starts = range(0, len(hashes), TILE)
    for start in progress.bar(starts, desc="comparing", unit="tile"):
        rows = _signs(hashes[start : start + TILE])
        for other in range(start, len(hashes), TILE):
            # the dot product of two +-1 hashes is 256 - 2 x (bits that differ)
            i, j = np.nonzero(rows @ _signs(hashes[other : other + TILE]).T >= 256 - 2 * HASH_BITS)
            i, j = i + start, j + other
            i, j = i[i < j], j[i < j]
            for at in range(0, len(i), PAIRS):
                a, b = i[at : at + PAIRS], j[at : at + PAIRS]
                alike = np.einsum("pd,pd->p", _unit(thumbs[a]), _unit(thumbs[b])) >= CORRELATION
                found.append(np.column_stack([a[alike], b[alike]]))
    return np.concatenate(found)


def _signs(hashes: np.ndarray) -> np.ndarray:
    return np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1


def _unit(thumbs: np.ndarray) -> np.ndarray:
    """Zero mean and unit norm; a thumbnail of one grey stays zero and correlates with nothing."""
    centred = thumbs.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)


def find(planes: dict[str, Plane]) -> pd.DataFrame:
    """Duplicate groups among readable images, given as image id -> plane.

    Returns `image_id, near, identical`: the smallest image id of the image's near-identical group and of
    its pixel-identical group (the image's own id where it has no copy).
    """
    ids = np.array(sorted(planes))
    hashes, thumbs, digests = fingerprints([planes[image_id] for image_id in ids])
    _, first, copy_of = np.unique(digests, return_index=True, return_inverse=True)
    same = np.column_stack([first[copy_of], np.arange(len(ids))])  # empty images correlate with nothing, but are copies
    once = np.sort(first)  # one of each: a thousand equal images are no half million pairs
    near = _group_names(ids, np.concatenate([once[near_pairs(hashes[once], thumbs[once])], same]))
    return pd.DataFrame({"image_id": ids, "near": near, "identical": ids[first[copy_of]]}).astype(str)


def grouped(image_set: ImageSet) -> tuple[ImageSet, pd.DataFrame]:
    """The set with `group` = near-duplicate group, and the frame of `find`.

    For sets that name no patient. The search is kept under `runs/cache`, keyed by the files' names, sizes
    and times and by this rule.
    """
    planes = image_set.planes
    stats = {path: path.stat() for path in {plane.path for plane in planes.values()}}
    state = [
        (i, str(path.relative_to(image_set.root)), frame, stats[path].st_size, stats[path].st_mtime_ns)
        for i, (path, frame) in planes.items()
    ]
    key = hashlib.sha256(repr((sorted(state), HASH_BITS, CORRELATION)).encode()).hexdigest()[:16]
    cache = paths.runs() / "cache" / f"duplicates-{image_set.name}-{key}.parquet"
    if cache.is_file():
        copies = pd.read_parquet(cache)
    else:
        copies = find(planes)
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(f".{os.getpid()}.partial")
        copies.to_parquet(partial)
        partial.replace(cache)
    near = dict(zip(copies["image_id"], copies["near"], strict=True))
    group = [near.get(row.image_id, row.group) for row in image_set.images.itertuples()]
    images = image_set.images.assign(group=pd.Series(group, dtype=str))
    return replace(image_set, images=images, grouped_by="copies"), copies


def _group_names(ids: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    n = len(ids)
    if not n:
        return ids
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    first = np.full(n, n)
    np.minimum.at(first, component, np.arange(n))  # ids are sorted: the smallest index is the smallest id
    return ids[first[component]]
