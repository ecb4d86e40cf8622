"""Find copies: pixel-identical and near-identical images, as groups that no honest split may cut.

Rule: two images are near-identical when their 16x16 difference hashes differ in at most 12 of 256 bits
and their 32x32 thumbnails correlate with at least 0.998. Both thresholds together: the hash alone pairs
different knees of one position, the correlation alone pairs empty backgrounds.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ortholib import imagefile, paths, progress
from ortholib.datasets.base import ImageSet

HASH_BITS = 12
CORRELATION = 0.998
BLOCK = 2048  # rows compared at once: 2048 x N products, never N x N
PAIRS = 2**13  # candidate pairs correlated at once: thousands of empty images have millions of them


def fingerprints(files: list[Path]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Of each file: difference hash (256,) in -1/+1, unit-norm zero-mean thumbnail (1024,), sha256 of its pixels."""

    def one(path: Path) -> tuple[np.ndarray, np.ndarray, str]:
        pixels = imagefile.read(path)
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        image = Image.fromarray(pixels)
        small = np.asarray(image.resize((17, 16), Image.Resampling.BILINEAR), np.int16)
        thumb = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR), np.float32).ravel()
        thumb -= thumb.mean()
        return np.where(np.diff(small, axis=1) > 0, 1, -1).ravel(), thumb / max(np.linalg.norm(thumb), 1e-6), digest

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = list(progress.bar(pool.map(one, files), total=len(files), desc="fingerprints", unit="image"))
    hashes, thumbs, digests = zip(*rows, strict=True) if rows else ((), (), ())
    n = len(rows)
    return np.array(hashes, np.float32).reshape(n, 256), np.array(thumbs, np.float32).reshape(n, 1024), list(digests)


def near_pairs(hashes: np.ndarray, thumbs: np.ndarray) -> np.ndarray:
    """Index pairs (P, 2), i < j, that satisfy the rule. Memory is O(BLOCK x N)."""
    found = []
    for start in range(0, len(hashes), BLOCK):
        rows = slice(start, start + BLOCK)
        # the dot product of two +-1 hashes is 256 - 2 x (bits that differ)
        i, j = np.nonzero(hashes[rows] @ hashes[start:].T >= 256 - 2 * HASH_BITS)
        i, j = i + start, j + start
        i, j = i[i < j], j[i < j]
        chunks = [slice(at, at + PAIRS) for at in range(0, len(i), PAIRS)]
        alike = [np.einsum("pd,pd->p", thumbs[i[c]], thumbs[j[c]]) >= CORRELATION for c in chunks]
        alike = np.concatenate([np.zeros(0, bool), *alike])
        found.append(np.column_stack([i[alike], j[alike]]))
    return np.concatenate(found) if found else np.empty((0, 2), int)


def find(files: dict[str, Path]) -> pd.DataFrame:
    """Duplicate groups among readable images, given as image id -> file.

    Returns `image_id, near, identical`: the smallest image id of the image's near-identical group and of
    its pixel-identical group (the image's own id where it has no copy).
    """
    ids = np.array(sorted(files))
    hashes, thumbs, digests = fingerprints([files[image_id] for image_id in ids])
    _, first, copy_of = np.unique(digests, return_index=True, return_inverse=True)
    same = np.column_stack([first[copy_of], np.arange(len(ids))])  # empty images correlate with nothing, but are copies
    near = _group_names(ids, np.concatenate([near_pairs(hashes, thumbs), same]))
    return pd.DataFrame({"image_id": ids, "near": near, "identical": ids[first[copy_of]]}).astype(str)


def grouped(image_set: ImageSet) -> tuple[ImageSet, pd.DataFrame]:
    """The set with `group` = near-duplicate group, and the frame of `find`.

    For sets that name no patient. The search is kept under `runs/cache`, keyed by the files' names, sizes
    and times and by this rule.
    """
    usable = image_set.usable
    files = {row.image_id: image_set.root / row.path for row in usable.itertuples()}
    state = [(i, str(f.relative_to(image_set.root)), f.stat().st_size, f.stat().st_mtime_ns) for i, f in files.items()]
    key = hashlib.sha256(repr((sorted(state), HASH_BITS, CORRELATION)).encode()).hexdigest()[:16]
    cache = paths.runs() / "cache" / f"duplicates-{image_set.name}-{key}.parquet"
    if cache.is_file():
        copies = pd.read_parquet(cache)
    else:
        copies = find(files)
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
