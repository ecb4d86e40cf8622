"""Search for copies among 100,000 made-up fingerprints with known copies: time, memory, and whether all were found."""

import os
import resource
import time

import numpy as np

from ortholib.data import copies

N, COPIES = 100_000, 1_000


def fingerprints() -> tuple[np.ndarray, np.ndarray, set[tuple[int, int]]]:
    """Fingerprints, of which the last COPIES repeat others with up to HASH_BITS bits turned; and the pairs."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (N, 32), np.uint8)
    thumbs = rng.integers(0, 256, (N, 1024), np.uint8)
    sources = rng.choice(N - COPIES, COPIES, replace=False)
    for copy, source in enumerate(sources, N - COPIES):
        turned = np.zeros(256, bool)
        turned[rng.choice(256, rng.integers(0, copies.HASH_BITS + 1), replace=False)] = True
        hashes[copy] = hashes[source] ^ np.packbits(turned)
        thumbs[copy] = np.clip(thumbs[source] + rng.normal(0, 2, 1024), 0, 255)
    return hashes, thumbs, {(int(source), copy) for copy, source in enumerate(sources, N - COPIES)}


def run() -> dict:
    hashes, thumbs, planted = fingerprints()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    start = time.perf_counter()
    found = {(int(i), int(j)) for i, j in copies.near_pairs(hashes, thumbs)}
    seconds = time.perf_counter() - start
    pairs = N * (N - 1) / 2
    return {
        "seconds": round(seconds, 1),
        "n": N,
        "million_pairs_per_s": round(pairs / seconds / 1e6),
        "found_of_planted": f"{len(found & planted)} of {COPIES}",
        "found_besides": len(found - planted),
        "fingerprints_mib": round((hashes.nbytes + thumbs.nbytes) / 2**20),
        "memory_beyond_them_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10 - before),
        "hours_for_1.2_million": round(1.2e6**2 / 2 / (pairs / seconds) / 3600, 2),
        "cores": os.cpu_count(),
    }
