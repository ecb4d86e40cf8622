"""Minutes of training until a KL grader reaches quadratic κ 0.78 on validation: the recorded recipe and the best one.

As cifar10-airbench counts: from the first step to the end of the first epoch that reaches it, validation included,
reading of images not. A run that never gets there counts as longer than all its epochs. Median of the chapter's seeds.
Needs the real kneeKL224 under $ORTHOLIB_DATA and most of two hours on 2 cores; fits that are stored are not made again.
"""

import os

import numpy as np
import pandas as pd

from ortholib import machine as devices
from ortholib import yamlfile
from ortholib.errors import UsageError
from ortholib.paths import project
from ortholib.settings import on
from ortholib.study import arms, fits, kneeoa

TARGET = 0.78


def spent(fit) -> pd.Series:
    """Minutes from the start to the end of each epoch; those of the oldest fits leave out validation."""
    history, images = fit.history, fit.record["counts"]["train"]
    seconds = history["seconds"] if "seconds" in history else images / history["images_per_s"]
    return seconds.cumsum() / 60


def minutes(fit) -> float:
    """Until the target, infinite for a run that never reaches it."""
    reached = spent(fit)[fit.history["val_metric"] >= TARGET]
    return float(reached.min()) if len(reached) else float("inf")


def run() -> dict:
    """Of each arm of chapter 30 that starts from ImageNet, and of the recorded recipe."""
    if not os.environ.get("ORTHOLIB_DATA"):
        raise UsageError("bench knee trains on real knees: set ORTHOLIB_DATA to the folder of the real sets.")
    values = yamlfile.mapping(project() / "params" / "real" / "30-knee-oa.yaml")
    shared = {"size": values["size"], **values["training"]}
    found = {}
    for names, seeds in (("supervised", values["seeds"]), ("once", 1)):
        facts = values[names] if names == "once" else {
            name: {"backbone": network, "initial": start} for name, (network, start) in values[names].items()
        }  # fmt: skip
        asked, _ = arms.available(kneeoa.supervised(facts, shared, values.get("pretraining", {})), "real")
        for name, one in asked.items():
            made = [fits.ensure(on(one, "kneekl", "kl", "official", seed), "real") for seed in range(seeds)]
            taken = [minutes(fit) for fit in made]
            found[name] = {
                "median_minutes": round(float(np.median(taken)), 1) if np.isfinite(np.median(taken)) else None,
                "minutes": [round(one, 1) if np.isfinite(one) else None for one in taken],
                "best_val_kappa": [round(fit.record["val_metric"], 3) for fit in made],
                "whole_minutes": [round(float(spent(fit).iloc[-1]), 1) for fit in made],
                "trained_on": sorted({fit.record["made_by"]["hardware"]["cpu"] for fit in made}),
            }
    machine = devices.describe()
    return {"target": TARGET, "arms": found, "device": machine["gpu"] or machine["cpu"], "cores": os.cpu_count()}
