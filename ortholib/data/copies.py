"""Find copies: pixel-identical and near-identical images, as groups that no honest split may cut.

Rule: two images are near-identical when their 16x16 difference hashes differ in at most 12 of 256 bits
and their 32x32 thumbnails correlate with at least 0.998. Both thresholds together: the hash alone pairs
different knees of one position, the correlation alone pairs empty backgrounds.
"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image
from scipy.fft import dct
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ortholib import paths, progress
from ortholib.data import files
from ortholib.data.files import Plane
from ortholib.data.table import ImageSet

HASH_BITS = 12
CORRELATION = 0.998
BOUND = CORRELATION - 1e-3  # of sketches: what float32 rounds is far less
FEW = 64  # images that share a band's value: all their pairs are listed; more are compared by tiles
TILE, TILES = 256, 8  # images of a tile, and tiles compared with it at once
CANDIDATES = 2**18  # pairs whose hashes are compared at once
PAIRS = 2**13  # pairs correlated at once: thousands of nearly empty images have millions of them
SAMPLE = 4096  # hashes that tell which bits vary


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


def near_pairs(hashes: np.ndarray, thumbs: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Index pairs (P, 2), i < j, that satisfy the rule, among all images or some rows. Exact, without comparing all.

    Hashes that differ in at most 12 bits are equal in at least one of 13 bands of bits, so only images that share the
    value of a band are compared (multi-index hashing: Norouzi, Punjani, Fleet, CVPR 2012). Where many share one, behind
    black borders say, they are cut into tiles of images that look alike, and tiles too far apart for any pair of theirs
    are passed over. Memory beyond the fingerprints: 0.33 KB an image on 2 cores (see RECORDS.md), some 0.1 KB more for
    each further core up to 13, the pairs found, and blocks of fixed size.
    """
    rows = np.arange(len(hashes)) if rows is None else rows
    rows = rows[(thumbs.min(axis=1) < thumbs.max(axis=1))[rows]]  # a thumbnail of one grey correlates with nothing
    sketch = _sketch(thumbs, rows)
    along = np.argsort(_curve(sketch), kind="stable")
    search = _Search(thumbs, rows[along], hashes[rows[along]], sketch[along])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda band: np.concatenate([np.empty((0, 2), int), *search.band(band)]), range(HASH_BITS + 1))
        found = list(progress.bar(found, total=HASH_BITS + 1, desc="comparing", unit="band"))
    return np.sort(np.concatenate(found), axis=1)


class _Search:
    """The images to compare, in the order of the curve: `rows` (N,) of the thumbnails, `packed` hashes (N, 32) and
    `sketch` (N, 16)."""

    def __init__(self, thumbs: np.ndarray, rows: np.ndarray, packed: np.ndarray, sketch: np.ndarray):
        self.thumbs, self.rows, self.packed, self.sketch = thumbs, rows, packed, sketch
        self.bands = _bands(packed)
        self.masks = np.array([np.packbits(np.isin(np.arange(256), bits)) for bits in self.bands]).view(np.uint64)
        self.words = np.ascontiguousarray(packed.view(np.uint64).T)  # (4, N)

    def band(self, band: int) -> Iterator[np.ndarray]:
        """Pairs (P, 2) that satisfy the rule and are equal in this band and in none before it."""
        value = np.zeros(len(self.packed), np.uint32)
        for bit in self.bands[band]:
            value = value << 1 | self.packed[:, bit // 8] >> (7 - bit % 8) & 1
        order = np.argsort(value, kind="stable")  # so the images of one value stay in the order of the curve
        _, starts, sizes = np.unique(value[order], return_index=True, return_counts=True)
        few = sizes <= FEW
        for first, second in _within(starts[few], sizes[few]):
            yield from self.confirm(order[first], order[second], band)
        for start, size in zip(starts[~few], sizes[~few], strict=True):
            yield from self.tiles(order[start : start + size], band)

    def tiles(self, members: np.ndarray, band: int) -> Iterator[np.ndarray]:
        """The same among members that share the value of the band, tile by tile."""
        sketch, words = self.sketch[members].T.copy(), self.words[:, members]
        cuts = np.arange(0, len(members), TILE)
        low, high = np.minimum.reduceat(sketch, cuts, axis=1), np.maximum.reduceat(sketch, cuts, axis=1)
        common = np.bitwise_and.reduceat(words, cuts, axis=1)
        fixed = ~(np.bitwise_or.reduceat(words, cuts, axis=1) ^ common)  # bits in which all of a tile are equal
        for tile, cut in enumerate(cuts):
            here = slice(tile, tile + 1)
            gap = np.maximum(np.maximum(low[:, tile:] - high[:, here], low[:, here] - high[:, tile:]), 0)
            both = fixed[:, tile:] & fixed[:, here]
            differ = both & (common[:, tile:] ^ common[:, here])
            near = np.square(gap).sum(axis=0) <= 2 - 2 * BOUND  # the squared distance of such unit vectors
            near &= np.bitwise_count(differ).sum(axis=0, dtype=int) <= HASH_BITS
            for mask in self.masks[:band, :, None]:  # all equal in an earlier band: found there
                near &= ((both & ~differ & mask) != mask).any(axis=0)
            others = np.flatnonzero(near) + tile
            for at in range(0, len(others), TILES):
                columns = (cuts[others[at : at + TILES], None] + np.arange(TILE)).ravel()
                columns = columns[columns < len(members)]
                # not @: BLAS starts threads for so little, and takes four times as long beside other work
                alike = np.einsum("di,dj->ij", sketch[:, cut : cut + TILE], sketch[:, columns]) >= BOUND
                i, j = np.divmod(np.flatnonzero(alike), len(columns))
                i, j = i + cut, columns[j]
                yield from self.confirm(members[i[i < j]], members[j[i < j]], band)

    def confirm(self, i: np.ndarray, j: np.ndarray, band: int) -> Iterator[np.ndarray]:
        """Those of the pairs that satisfy the rule and are equal in no band before this one."""
        bits = np.zeros(len(i), np.uint8)
        for word in self.words:
            bits = bits + np.bitwise_count(word[i] ^ word[j])  # at most 12 + 64: no overflow
            keep = bits <= HASH_BITS
            i, j, bits = i[keep], j[keep], bits[keep]
        keep = np.einsum("pd,pd->p", self.sketch[i], self.sketch[j]) >= BOUND
        differ = self.words[:, i] ^ self.words[:, j]
        for mask in self.masks[:band, :, None]:
            keep &= (differ & mask).any(axis=0)
        i, j = self.rows[i[keep]], self.rows[j[keep]]
        for at in range(0, len(i), PAIRS):
            a, b = i[at : at + PAIRS], j[at : at + PAIRS]
            alike = np.einsum("pd,pd->p", _unit(self.thumbs[a]), _unit(self.thumbs[b])) >= CORRELATION
            yield np.column_stack([a[alike], b[alike]])


def _bands(packed: np.ndarray) -> list[np.ndarray]:
    """The 256 bits dealt to HASH_BITS + 1 bands. Every 13th to the same: a black border takes a little of each band.
    Those that hardly vary are dealt after the others, so that no band has only such. Any deal finds the same pairs."""
    ones = np.unpackbits(packed[:: len(packed) // SAMPLE + 1], axis=1)
    share = ones.sum(axis=0) / max(len(ones), 1)
    dealt = np.argsort((share < 0.01) | (share > 0.99), kind="stable")
    return [dealt[band :: HASH_BITS + 1] for band in range(HASH_BITS + 1)]


def _within(starts: np.ndarray, sizes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of positions inside runs of one value, about CANDIDATES at once."""
    first = np.repeat(starts + sizes, sizes)  # the end of the run of each position
    position = np.arange(len(first)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(starts, sizes)
    after = first - position - 1  # partners of each position
    total = np.cumsum(after)
    at = 0
    while at < len(total):
        done = total[at - 1] if at else 0
        stop = max(at + 1, np.searchsorted(total, done + CANDIDATES))
        count = after[at:stop]
        i = np.repeat(position[at:stop], count)
        yield i, i + 1 + np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
        at = stop


def _sketch(thumbs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(N, 16) unit vectors whose dot product is never below the correlation of the thumbnails (Cauchy-Schwarz): the
    15 lowest cosines of the unit thumbnail, and the length of what they leave out."""
    cosines = dct(np.eye(32), axis=0, norm="ortho")[:4]
    basis = np.kron(cosines, cosines)[1:].T.astype(np.float32)
    sketch = np.empty((len(rows), 16), np.float32)
    for at in range(0, len(rows), PAIRS):
        sketch[at : at + PAIRS, :15] = _unit(thumbs[rows[at : at + PAIRS]]) @ basis
    sketch[:, 15] = np.sqrt(np.maximum(1 - np.square(sketch[:, :15]).sum(axis=1), 0))
    return sketch


def _curve(sketch: np.ndarray) -> np.ndarray:
    """Place of each image on a Z-order curve through the first 8 numbers of its sketch: near places look alike."""
    cells = ((sketch[:, :8] + 1) * 127.5).astype(np.uint8)
    bits = np.unpackbits(cells[:, :, None], axis=2)  # (N, 8 numbers, 8 bits)
    return np.packbits(bits.transpose(0, 2, 1).reshape(-1, 64), axis=1).view(">u8").ravel()


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
    near = _group_names(ids, np.concatenate([near_pairs(hashes, thumbs, once), same]))
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
