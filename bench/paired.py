"""Paired clustered bootstrap of six arms over 5,000 predictions: time, and memory beyond what was there before."""

import os
import resource
import time

import numpy as np
import pandas as pd

from ortholib.metrics import bootstrap
from ortholib.metrics.compare import compare

N, ARMS, REPEATS = 5000, 6, 3
METRICS = ("roc_auc", "average_precision", "sensitivity", "specificity", "accuracy", "f1", "brier", "ece")


def predictions() -> pd.DataFrame:
    """Six arms of rising skill over the same units, 30 % positive; groups hold 1 to 4 units, 2.0 on average."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(N), rng.choice([1, 2, 3, 4], N, p=[0.4, 0.3, 0.2, 0.1]))[:N]
    y_true, shared, frames = (rng.random(N) < 0.3).astype(int), rng.normal(size=N), []
    for arm in range(ARMS):
        score = 1 / (1 + np.exp(-((1 + 0.1 * arm) * y_true + shared + rng.normal(size=N) - 1)))
        frame = {"unit_id": np.arange(N), "group": group, "y_true": y_true, "arm": f"arm {arm}"}
        frames.append(pd.DataFrame(frame | {"score_0": 1 - score, "score_1": score}))
    return pd.concat(frames, ignore_index=True)


def run() -> dict:
    """Median seconds of `compare` from predictions to the table: eight metrics, all 15 pairs."""
    table = predictions()
    thresholds = dict.fromkeys(table["arm"].unique(), 0.5)
    compare(table, METRICS, draws=20, thresholds=thresholds)  # warm-up
    before, times = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(REPEATS):
        start = time.perf_counter()
        compare(table, METRICS, thresholds=thresholds)
        times.append(time.perf_counter() - start)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "seconds": round(float(np.median(times)), 3),
        "peak_memory_beyond_start_mib": round(grown / 1024, 1),
        "all_weights_would_be_mib": round(bootstrap.DRAWS * N * 8 / 2**20, 1),
        "draws": bootstrap.DRAWS,
        "arms": ARMS,
        "metrics": len(METRICS),
        "n": N,
        "n_groups": int(table["group"].nunique()),
        "cores": os.cpu_count(),
    }
