"""Search for copies among made-up fingerprints with known copies: time, memory, and whether all were found.

The fingerprints are as skewed as those of real radiographs and more: few positions, black borders, nearly empty images.
"""

import os
import resource
import sys
import time

import numpy as np

from ortholib.data import copies

N, POSITIONS, BLOCK = 1_200_000, 10, 1_000


def fingerprints(n: int, planted: int) -> tuple[np.ndarray, np.ndarray, set[tuple[int, int]]]:
    """Hashes and thumbnails of n smooth pictures, of which the last `planted` repeat others with up to HASH_BITS bits
    turned and a little noise; and the planted pairs. Each is of one of POSITIONS, most have black borders, one in a
    hundred is black but for a few faint points."""
    rng = np.random.default_rng(0)
    hashes, thumbs = np.empty((n, 32), np.uint8), np.empty((n, 1024), np.uint8)
    frequency = np.add.outer(np.arange(12), np.arange(12))
    positions = rng.normal(size=(POSITIONS, 12, 12)) / (1 + frequency)
    for at in range(0, n, BLOCK):
        size = min(BLOCK, n - at)
        waves = positions[rng.integers(0, POSITIONS, size)] + 0.35 * rng.normal(size=(size, 12, 12)) / (1 + frequency)
        empty = rng.random(size) < 0.01
        border = rng.uniform(-0.8, 0.8, (size, 2, 2)).clip(0)  # shares that are black: rows, columns x before, after
        pictures = []
        for shape in ((16, 17), (32, 32)):
            y, x = ((np.arange(length) + 0.5) / length for length in shape)
            tall, wide = (np.cos(np.pi * np.outer(np.arange(12), place)) for place in (y, x))
            picture = 110 + 45 * np.einsum("nfg,fy,gx->nyx", waves, tall, wide, optimize=True)
            for places, (before, after) in ((y[:, None], border[:, 0].T), (x, border[:, 1].T)):
                before, after = before[:, None, None], after[:, None, None]
                picture *= (places >= before / 2) & (places <= 1 - after / 2)
            picture[empty] = 9 * (rng.random((empty.sum(), *shape)) < 0.005)
            pictures.append(picture.clip(0, 255).astype(np.uint8))
        small, thumb = pictures
        hashes[at : at + size] = np.packbits((small[:, :, 1:] > small[:, :, :-1]).reshape(size, 256), axis=1)
        thumbs[at : at + size] = thumb.reshape(size, 1024)
    sources = rng.choice(np.flatnonzero(thumbs[: n - planted].max(axis=1) > 60), planted, replace=False)
    for copy, source in enumerate(sources, n - planted):
        turned = np.zeros(256, bool)
        turned[rng.choice(256, rng.integers(0, copies.HASH_BITS + 1), replace=False)] = True
        hashes[copy] = hashes[source] ^ np.packbits(turned)
        thumbs[copy] = np.clip(thumbs[source] + rng.normal(0, 0.5, 1024), 0, 255)
    return hashes, thumbs, {(int(source), copy) for copy, source in enumerate(sources, n - planted)}


def run(n: int = N) -> dict:
    """The fingerprints are made a block at a time, so that the peak of memory is that of the search."""
    hashes, thumbs, planted = fingerprints(n, n // 100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    start = time.perf_counter()
    pairs = copies.near_pairs(hashes, thumbs)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    found = {(int(i), int(j)) for i, j in pairs}
    return {
        "seconds": round(seconds, 1),
        "n": n,
        "found_of_planted": f"{len(found & planted)} of {len(planted)}",
        "found_besides": len(found - planted),
        "found_twice": len(pairs) - len(found),
        "fingerprints_mib": round((hashes.nbytes + thumbs.nbytes) / 2**20),
        "memory_beyond_them_mib": round(peak - before),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":  # python bench/duplicates.py 100000: another size
    print(run(int(sys.argv[1])))
