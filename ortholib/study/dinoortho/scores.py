"""What the fits of the chapter say: predictions of all arms, their values, and the differences between them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ortholib.classify.probe import HEADS
from ortholib.metrics import compare, curves, evaluation, scores, speed, thresholds
from ortholib.settings import Pretrain
from ortholib.study import fits
from ortholib.study.dinoortho import plan
from ortholib.study.dinoortho.plan import FINETUNED, PROBED, SPLITS, TRANSFERRED

AREAS = ["roc_auc", "average_precision"]
ABOUT = ["dataset", "task", "split", "part"]
SPECIFICITY = 0.9  # at which sensitivity is also told; its threshold comes from validation

Made = list[tuple[plan.Planned, fits.Fit]]


def ensure(parameters: Mapping) -> Made:
    """Every fit of the chapter, made now where it is missing."""
    asked = plan.planned(parameters)
    made = fits.ensure_all([one.settings for one in asked], parameters["edition"])
    return list(zip(asked, made, strict=True))


def keys(made: Made, edition: str) -> list[str]:
    """Keys of all fits, the pretrainings among them, each once."""
    starts = {one.settings.initial for one, _ in made if isinstance(one.settings.initial, Pretrain)}
    return list(dict.fromkeys(fit.key for fit in [*fits.ensure_all(starts, edition), *(fit for _, fit in made)]))


def predictions(made: Made, parameters: Mapping) -> pd.DataFrame:
    """Scores of all fits on validation and test, arms named by what they are:

    "DINO-Ortho + SL"; "…, 25 % of the labels"; "…, frozen, linear"; "…, trained on kneekl"; and on the split `random`
    "…, copies left in training" and "…, copies taken out of training". Columns beside those of predictions: base (the
    arm of the plan), use, fraction, head, backbone and initial as the ledger names them, threshold and
    specificity_threshold of the seed, chosen on validation (NaN for a transfer).
    """
    frames = []
    for one, fit in made:
        frame = fit.predictions
        frame = frame.assign(fraction=getattr(one.settings, "fraction", 1.0)) if "fraction" not in frame else frame
        frame = frame if "head" in frame else frame.assign(head="")
        frame = frame[(frame["head"] != "kNN") | (frame["fraction"] == 1)]
        frame = frame.assign(base=one.arm, use=one.use, backbone=parameters["backbone"])
        frame = frame.assign(initial=plan.initial(one.arm, parameters), seed=one.settings.seed)
        for (head, fraction), rows in frame.groupby(["head", "fraction"], sort=False):
            rows = rows.assign(arm=_name(one, head, fraction), split=_split(one.settings.split))
            frames.append(rows.assign(**_thresholds(rows, one.use)))
    return pd.concat(frames, ignore_index=True)


def _name(one: plan.Planned, head: str, fraction: float) -> str:
    parts = [one.arm]
    if one.use == PROBED:
        parts += ["frozen", head]
    if fraction < 1:
        parts.append(f"{100 * fraction:g} % of the labels")
    if one.use == TRANSFERRED:
        parts.append(f"trained on {one.settings.initial.dataset}")
    if one.settings.split in SPLITS:
        parts.append(SPLITS[one.settings.split])
    return ", ".join(parts)


def _split(split: str) -> str:
    """Both leak splits are one to the reader: they have the same test images."""
    return "random" if split in SPLITS else split


def _thresholds(rows: pd.DataFrame, use: str) -> dict[str, float]:
    if use == TRANSFERRED:
        return {"threshold": np.nan, "specificity_threshold": np.nan}
    known = rows[rows["part"] == "val"]
    truth, score = known["y_true"].to_numpy(), known["score_1"].to_numpy()
    youden = scores.youden_threshold(truth, score)
    return {
        "threshold": youden,
        "specificity_threshold": thresholds.threshold_at_specificity(truth, score, SPECIFICITY),
    }


def fine_tuned(scored: pd.DataFrame, part: str = "test") -> pd.DataFrame:
    """Rows of the arms fine-tuned with all labels on the chapter's own splits: what the paper's table is about."""
    whole = (scored["use"] == FINETUNED) & (scored["fraction"] == 1) & (scored["split"] != "random")
    return scored[whole & (scored["part"] == part)].reset_index(drop=True)


def values(scored: pd.DataFrame, draws: int) -> pd.DataFrame:
    """Metrics of every arm on test with intervals: of trainings and probes with all labels every one, else `AREAS`."""
    rows = []
    for about, of_arm in scored[scored["part"] == "test"].groupby([*ABOUT, "arm"], sort=False):
        first = of_arm.iloc[0]
        facts = dict(zip([*ABOUT, "arm"], about, strict=True)) | first[["backbone", "initial", "base", "use"]].to_dict()
        facts |= {"fraction": first["fraction"], "head": first["head"]}
        if first["use"] == TRANSFERRED or first["fraction"] < 1:
            made = evaluation.evaluate(of_arm, names=AREAS, draws=draws)
        else:
            chosen = of_arm.groupby("seed")[["threshold", "specificity_threshold"]].first().to_dict()
            made = evaluation.evaluate(of_arm, draws=draws, **chosen)
        rows.append(made.assign(**facts))
    return pd.concat(rows, ignore_index=True)


def half(scored: pd.DataFrame, draws: int) -> pd.DataFrame:
    """Sensitivity and specificity of the fine-tuned arms when 0.5 is the threshold, with intervals."""
    rows = []
    for about, of_arm in fine_tuned(scored).groupby([*ABOUT, "arm"], sort=False):
        made = evaluation.evaluate(of_arm, names=["sensitivity", "specificity"], draws=draws, threshold=0.5)
        rows.append(made.assign(**dict(zip([*ABOUT, "arm"], about, strict=True))))
    return pd.concat(rows, ignore_index=True)


def differences(scored: pd.DataFrame, draws: int) -> pd.DataFrame:
    """Differences of `AREAS` between the pairs of the plan, Holm-corrected over all of a set and split, with the column
    question: claim, pretraining, contamination, leak."""
    tables = []
    for about, rows in scored[scored["part"] == "test"].groupby(ABOUT, sort=False):
        pairs = _pairs(rows)
        if not pairs:
            continue
        named = {arm for pair in pairs for arm in pair}
        made = compare.compare(rows[rows["arm"].isin(named)], AREAS, pairs=list(pairs), draws=draws)
        asked = [pairs[pair] for pair in zip(made["arm"], made["reference"], strict=True)]
        tables.append(made.assign(question=asked, **dict(zip(ABOUT, about, strict=True))))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _pairs(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(arm, reference) -> question, of the arms that are there."""
    left, taken = SPLITS.values()
    ways = ["", *(f", frozen, {head}" for head in HEADS)]
    asked = {(f"{a}{way}", f"{b}{way}"): why for way in ways[:2] for (a, b), why in plan.PAIRS.items()}
    leaks = [(f"{base}{way}, {left}", f"{base}{way}, {taken}") for base in rows["base"].unique() for way in ways]
    asked |= dict.fromkeys(leaks, "leak")
    there = set(rows["arm"])
    return {pair: why for pair, why in asked.items() if there.issuperset(pair)}


def bands(scored: pd.DataFrame, task: str, draws: int) -> pd.DataFrame:
    """ROC and precision-recall curves of the arms in `plan.CURVES`, as `figures.roc_pr` draws them."""
    rows = fine_tuned(scored)
    of_arms = rows[(rows["task"] == task) & rows["arm"].isin(plan.CURVES)].groupby("arm", sort=False)
    return pd.concat([curves.curve_bands(one, draws).assign(arm=arm) for arm, one in of_arms], ignore_index=True)


def decision(scored: pd.DataFrame, task: str, draws: int) -> pd.DataFrame:
    """Net benefit of the first training of each arm in `plan.CURVES`, as `figures.decision_curves` draws it."""
    rows = fine_tuned(scored)
    rows = rows[(rows["task"] == task) & (rows["seed"] == 0) & rows["arm"].isin(plan.CURVES)].sort_values("unit_id")
    each = {arm: of_arm["score_1"].to_numpy() for arm, of_arm in rows.groupby("arm", sort=False)}
    first = rows[rows["arm"] == rows["arm"].iloc[0]]
    return thresholds.decision_curve(first["y_true"].to_numpy(), each, first["group"], draws=draws)


def whole(made: Made) -> Made:
    """The trainings of the arms with all labels on the chapter's own splits."""
    kept = [(one, fit) for one, fit in made if one.use == FINETUNED and one.settings.split not in SPLITS]
    return [(one, fit) for one, fit in kept if one.settings.fraction == 1]


def courses(made: Made) -> dict[str, list[speed.Course]]:
    """Task -> the validation scores of its fine-tuned arms after each epoch, for `speed`."""
    found = {}
    for one, fit in whole(made):
        course = speed.Course(one.arm, one.settings.seed, fit.courses, fit.history["seconds"].to_numpy())
        found.setdefault(one.settings.task, []).append(course)
    return found
