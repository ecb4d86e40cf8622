"""Does the 95 % interval hold the truth 95 times in 100? Simulated patients with several images and a known ROC AUC.

The score of image j of patient i by arm a is MU y_ij + sqrt(RHO) u_ai + sqrt(1 - RHO) e_aij, standard normal, so the
ROC AUC over images of different patients is Phi(MU / sqrt 2) for every arm. u and e of two arms correlate by BETWEEN:
the arms differ image by image, never in the truth, and a test of their difference should reject 5 times in 100.
Images of one patient share their label more often than not, as both knees or all views of one bone do.
"""

import json
import os
import time

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm

from ortholib import paths
from ortholib.metrics import bootstrap
from ortholib.metrics.compare import ALPHA, two_sided_p
from ortholib.metrics.delong import contrast, delong, obuchowski
from ortholib.metrics.scores import Ranking

SETS, PATIENTS = 1000, 120
IMAGES = (1, 2, 3, 4, 5, 6)  # a patient, equally often
MU, RHO, BETWEEN = 1.2, 0.5, 0.6
TRUTH = float(norm.cdf(MU / np.sqrt(2)))
GROUPED, ALONE = "clustered bootstrap", "bootstrap of images"


def simulate(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y_true (n,), scores of two equally good arms (2, n), patient (n,)."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(PATIENTS), rng.choice(IMAGES, PATIENTS))
    y_true = (rng.random(len(patient)) < rng.beta(0.4, 0.6, PATIENTS)[patient]).astype(int)

    def correlated(size):
        shared, own = rng.normal(size=size), rng.normal(size=(2, size))
        return np.sqrt(BETWEEN) * shared + np.sqrt(1 - BETWEEN) * own

    noise = np.sqrt(RHO) * correlated(PATIENTS)[:, patient] + np.sqrt(1 - RHO) * correlated(len(patient))
    return y_true, MU * y_true + noise, patient


def one(seed: int) -> list[dict]:
    """Value, interval and p of the difference for one data set, by each method."""
    y_true, scores, patient = simulate(seed)
    rankings = [Ranking(y_true, score) for score in scores]
    value, rows = float(rankings[0].areas()[0][0]), []
    for method, groups in ((GROUPED, patient), (ALONE, np.arange(len(patient)))):
        areas = bootstrap.bootstrap_draws(
            lambda weights: {a: ranking.areas(weights)[0] for a, ranking in enumerate(rankings)}, groups, seed=seed
        )
        low, high, *_ = bootstrap.percentile_interval(value, areas[0], len(np.unique(groups)))
        rows.append({"method": method, "low": low, "high": high, "p": two_sided_p(areas[0] - areas[1])})
    for method, areas in (("Obuchowski", obuchowski(y_true, scores, patient)), ("DeLong", delong(y_true, scores))):
        alone, apart = contrast(areas, (1, 0)), contrast(areas, (1, -1))
        rows.append({"method": method, "low": alone["low"], "high": alone["high"], "p": apart["p"]})
    return [{"set": seed, "value": value, "truth": TRUTH, **row} for row in rows]


def run() -> dict:
    """Coverage and rejections over SETS data sets, with their own exact 95 % intervals.

    Every data set goes to `runs/bench/coverage.csv` (set, method, low, high, p), the rest to `coverage.json` beside it.
    The methods page of the book is made from both, copied to `results/bench/`.
    """
    start = time.perf_counter()
    table = pd.DataFrame([row for seed in range(SETS) for row in one(seed)])
    path = paths.runs() / "bench" / "coverage.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table[["set", "method", "low", "high", "p"]].to_csv(path, index=False, float_format="%.5g")
    summary = []
    for method, rows in table.groupby("method", sort=False):
        covered = int(((rows["low"] <= TRUTH) & (rows["high"] >= TRUTH)).sum())
        rejected = int((rows["p"] <= ALPHA).sum())
        entry = {"method": method, "mean_width": round(float((rows["high"] - rows["low"]).mean()), 4)}
        for name, count in (("coverage", covered), ("false_positive", rejected)):
            interval = binomtest(count, SETS).proportion_ci()
            bounds = {f"{name}_low": round(interval.low, 4), f"{name}_high": round(interval.high, 4)}
            entry |= {name: count / SETS} | bounds
        summary.append(entry)
    clustered = summary[0]["coverage"]
    found = {
        "coverage_clustered": clustered,
        "coverage_unclustered": summary[1]["coverage"],
        "false_positive_clustered": summary[0]["false_positive"],
        "false_positive_unclustered": summary[1]["false_positive"],
        "holds": 0.93 <= clustered <= 0.97,
        "methods": summary,
        "sets": SETS,
        "patients": PATIENTS,
        "images_mean": round(float(np.mean([len(simulate(seed)[0]) for seed in range(20)])), 1),
        "draws": bootstrap.DRAWS,
        "true_roc_auc": round(TRUTH, 4),
        "mean_value": round(float(table["value"].mean()), 4),
        "seconds": round(time.perf_counter() - start, 1),
        "cores": os.cpu_count(),
    }
    path.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    return found | {"each_set": str(path)}
