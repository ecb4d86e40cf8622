"""Frozen features put to the test: a pretrained backbone against random ones, on the labelled sets of the study."""

import numpy as np
import pandas as pd

from ortholib.classify import probe
from ortholib.metrics import compare, evaluation
from ortholib.settings import Pretrain, Probe, on
from ortholib.study import fits

# set -> its task, its split, and the metrics that are spoken of: few, since they share one correction
TASKS = {
    "fracatlas": ("fracture", "clean", ["roc_auc", "average_precision"]),
    "kneekl": ("kl", "official", ["kappa_quadratic_expectation", "auc_ovr_macro"]),
}
NAMES = {
    "roc_auc": "fracture, ROC AUC",
    "average_precision": "fracture, average precision",
    "kappa_quadratic_expectation": "KL grade, quadratic κ",
    "auc_ovr_macro": "KL grade, mean ROC AUC of a grade against the rest",
}
ABOUT = ["dataset", "task", "split", "part"]
WEIGHTS = ["backbone", "initial"]  # what the ledger asks of an arm


def ensure(pretrained: Pretrain, random_seeds: int, edition: str) -> list[fits.Fit]:
    """A probe of the pretrained weights and one of each random start, on every set of `TASKS`."""
    starts = [(pretrained, 0), *(("random", seed) for seed in range(random_seeds))]
    size, backbone = pretrained.size, pretrained.backbone
    return [
        fits.ensure(on(Probe(size, backbone, initial, seed), name, task, split), edition)
        for name, (task, split, _) in TASKS.items()
        for initial, seed in starts
    ]


def predictions(made: list[fits.Fit]) -> pd.DataFrame:
    """Scores of all probes on validation and test, arms called "DINO, linear" and "random weights, kNN"."""
    scored = pd.concat([fit.predictions for fit in made], ignore_index=True)
    start = np.where(scored["initial"] == "random", "random weights", "DINO")
    return scored.assign(arm=[f"{name}, {head}" for name, head in zip(start, scored["head"], strict=True)])


def evaluate(scored: pd.DataFrame, draws: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(values, differences) on the test parts: every metric of `TASKS` of each arm with its interval, and the
    pretrained arm minus the random one, Holm-corrected over the metrics and heads of a set."""
    values, differences = [], []
    for name, (_, _, metrics) in TASKS.items():
        rows = scored[(scored["dataset"] == name) & (scored["part"] == "test")]
        about = rows.iloc[0][ABOUT].to_dict()
        for arm, of_arm in rows.groupby("arm", sort=False):
            weights = of_arm.iloc[0][WEIGHTS].to_dict()
            values.append(evaluation.evaluate(of_arm, names=metrics, draws=draws).assign(arm=arm, **about, **weights))
        pairs = [(f"DINO, {head}", f"random weights, {head}") for head in probe.HEADS]
        differences.append(compare.compare(rows, metrics, pairs=pairs, draws=draws).assign(**about))
    table = pd.concat(values, ignore_index=True)
    order = table["metric"].map(list(NAMES).index).sort_values(kind="stable").index  # arms side by side
    return table.loc[order].reset_index(drop=True), pd.concat(differences, ignore_index=True)
