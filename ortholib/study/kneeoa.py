"""Chapter knee osteoarthritis: its arms, and what is asked of their predictions.

One rule names a grade throughout: the rounded expected grade (the mean of the grades weighted by their probabilities).
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from ortholib.data import datasets, ids
from ortholib.encoders import registry
from ortholib.metrics import calibration, compare, evaluation
from ortholib.metrics.scores import selection_metric
from ortholib.settings import Embed, Finetune, Learn, parse

MEAN = "mean of its trainings"  # the end of the name of an arm that averages probabilities
PAPER_LEARNER = "XGBoost"  # of Chavoshi et al. 2025
RULE = "_expectation"  # the end of the names of metrics by that rule
HEADLINE = f"kappa_quadratic{RULE}"
VERDICT = 5  # times as many draws where a comparison hangs on them
OA = 2  # osteoarthritis: KL grade 2 or more

# of every arm, in the order of the table
METRICS = {
    HEADLINE: "quadratic κ",
    f"kappa_linear{RULE}": "linear κ",
    f"accuracy{RULE}": "accuracy",
    f"balanced_accuracy{RULE}": "balanced accuracy",
    "auc_ovr_macro": "macro AUC",
    f"mae{RULE}": "MAE (grades)",
    "ece": "ECE",
    "kappa_quadratic": "quadratic κ, most probable grade",  # beside the rule: some learners spread their probabilities
}
RECALLS = [f"recall{RULE}_{grade}" for grade in range(5)]
SIDES = {"R": "right knees", "L": "left knees"}


def supervised(named: Mapping[str, Mapping], training: Mapping, pretraining: Mapping) -> dict[str, Finetune]:
    """Networks trained on the grades: name -> settings, those of `training` unless it says otherwise.

    pretraining: settings of the own DINO pretraining, which `initial: DINO` means; without them such arms are left out.
    """
    arms = {}
    for name, own in named.items():
        facts = {**training, **own}
        if facts.get("initial") == "DINO":
            if not pretraining:
                continue
            facts["initial"] = {"kind": "pretrain", **pretraining}
        arms[name] = parse({"kind": "finetune", **facts})
    return arms


def embeddings(names: Iterable[str], size: int, pretraining: Mapping, random: Iterable[str]) -> dict[str, Embed]:
    """Frozen encoders: published ones (no name: all of the registry that embed images), the own DINO, and networks of
    random weights. size: of the stored squares."""
    names = list(names) or [name for name, one in registry.ENCODERS.items() if one.dimension]
    found = {name: Embed(size, name, registry.ENCODERS[name].network) for name in names}
    if pretraining:
        own = parse({"kind": "pretrain", **pretraining})
        found[f"own DINO, {own.backbone}"] = Embed(own.size, own, own.backbone)
    return found | {f"random {network}": Embed(size, "random", network) for network in random}


def learned(frozen: Mapping[str, Embed], learners: Iterable[str], tries: int) -> dict[str, Learn]:
    """Every learner on every frozen encoder: "rad-dino + XGBoost"."""
    return {f"{name} + {learner}": Learn(one, learner, tries) for learner in learners for name, one in frozen.items()}


def values(scored: pd.DataFrame, draws: int) -> pd.DataFrame:
    """Every metric of each arm on test, with its interval: as of `evaluation.evaluate`, and what the row is about. Of
    learners that the paper does not have, the headline alone."""
    found = []
    for arm, rows in scored[scored["part"] == "test"].groupby("arm", sort=False):
        about = rows.iloc[0][["dataset", "task", "split", "part", "backbone", "initial", "head"]].to_dict()
        names = None if about["head"] in ("", PAPER_LEARNER) else [HEADLINE]
        found.append(evaluation.evaluate(rows, names=names, draws=draws).assign(arm=arm, **about))
    return pd.concat(found, ignore_index=True)


def differences(scored: pd.DataFrame, pairs: Iterable[tuple[str, str]], draws: int) -> pd.DataFrame:
    """The declared comparisons in quadratic κ on test, one family: as of `compare.compare`."""
    pairs = list(pairs)
    test = scored[(scored["part"] == "test") & scored["arm"].isin({arm for pair in pairs for arm in pair})]
    about = test.iloc[0][["dataset", "task", "split", "part"]].to_dict()
    return compare.compare(test, [HEADLINE], pairs=pairs, draws=VERDICT * draws).assign(**about)


def osteoarthritis(scored: pd.DataFrame, draws: int) -> pd.DataFrame:
    """ROC AUC, average precision, Brier score and calibration error of "KL grade 2 or more" on test, by the summed
    probability of those grades: rows as of `values`, without a training of their own."""
    columns = evaluation.score_columns(scored)
    likely = scored[columns[OA:]].sum(axis=1).clip(0, 1)
    binary = scored.drop(columns=columns).assign(y_true=(scored["y_true"] >= OA).astype(int))
    binary = binary.assign(score_0=1 - likely, score_1=likely, task="oa")
    binary = binary[binary["head"].isin(["", PAPER_LEARNER])]
    found = []
    for arm, rows in binary[binary["part"] == "test"].groupby("arm", sort=False):
        names = ["roc_auc", "average_precision", "brier", "ece"]
        found.append(evaluation.evaluate(rows, names=names, draws=draws).assign(arm=arm))
    return pd.concat(found, ignore_index=True)


def ensemble(scored: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The mean of the probabilities of the trainings of an arm, as an arm of its own; no rows for one training."""
    rows = scored[scored["arm"] == arm]
    seeds = rows["seed"].nunique()
    if seeds < 2:
        return rows.iloc[:0]
    columns = evaluation.score_columns(rows)
    first = rows[rows["seed"] == rows["seed"].min()]
    mean = rows.groupby(["part", "unit_id"], sort=False)[columns].mean().reset_index()
    joined = first.drop(columns=columns).merge(mean, on=["part", "unit_id"])
    return joined.assign(arm=f"{arm}, {MEAN}", seed=0)


def sides(scored: pd.DataFrame, edition: str, draws: int) -> pd.DataFrame:
    """Quadratic κ of each arm on left and on right test knees; column `side`."""
    images = datasets.load("kneekl", edition).usable
    side = dict(zip(ids.hashed(images["image_id"].to_numpy(str), "kneekl"), images["plane"], strict=True))
    test = scored[scored["part"] == "test"].assign(side=lambda rows: rows["unit_id"].map(side))
    found = []
    for (arm, letter), rows in test.groupby(["arm", "side"], sort=False):
        found.append(evaluation.evaluate(rows, names=[HEADLINE], draws=draws).assign(arm=arm, side=SIDES[letter]))
    return pd.concat(found, ignore_index=True)


def confidence(scored: pd.DataFrame, arm: str, draws: int) -> tuple[pd.DataFrame, dict]:
    """(calibration before and after temperature scaling, temperature of each seed), fitted on validation alone."""
    of_arm = scored[scored["arm"] == arm]
    val, test = (of_arm[of_arm["part"] == part].reset_index(drop=True) for part in ("val", "test"))
    return calibration.before_after(val, test, draws), calibration.temperatures(val)


def best(scored: pd.DataFrame, arms: Iterable[str]) -> str:
    """The arm among some with the highest quadratic κ on validation, mean of its trainings: test chooses nothing."""
    found = {}
    for arm in arms:
        rows = scored[(scored["arm"] == arm) & (scored["part"] == "val")]
        columns = evaluation.score_columns(rows)
        of_seeds = [
            selection_metric(one["y_true"].to_numpy(), one[columns].to_numpy(float), "ordinal")
            for _, one in rows.groupby("seed")
        ]
        found[arm] = float(np.mean(of_seeds))
    return max(found, key=found.get)
