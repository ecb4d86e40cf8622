"""From images to studies: one score and one truth for an examination of several images, and MURA's official metric."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ortholib import evaluation, metrics, stats
from ortholib.errors import OrthoError, UsageError

STUDY_THRESHOLD = 0.5  # MURA calls a study abnormal above it: Rajpurkar et al. 2017, arXiv:1712.06957, section 3


def to_studies(predictions: pd.DataFrame, study_of: Mapping | pd.Series, how: str = "mean") -> pd.DataFrame:
    """Predictions of studies (or exams) from those of their images: one row a study and seed.

    predictions  as `evaluation.evaluate` takes them, a row an image
    study_of     unit_id -> study
    how          "mean" (arithmetic, MURA's rule) or "max" (k = 2 only: the most suspicious image decides) of the images

    Columns stay; `unit_id` is the study, and `images` says how many images it has. A study with several truths is
    positive where one of its images is (k = 2). Raises OrthoError for images without a study, for a study in several
    groups (patients) and for grades that differ within a study; UsageError for another `how`.
    """
    columns = [f"score_{c}" for c in range(sum(str(name).startswith("score_") for name in predictions.columns))]
    if how not in ("mean", "max"):
        raise UsageError(f"how is {how}; expected mean or max")
    if how == "max" and len(columns) != 2:
        raise UsageError(f"max was asked for {len(columns)} classes; it is for 2, take mean")
    if predictions.duplicated([*({"seed", "arm"} & set(predictions.columns)), "unit_id"]).any():
        raise OrthoError("an image is there twice; score each once and pick one part before gathering studies")
    study = predictions["unit_id"].map(study_of)
    if study.isna().any():
        first = predictions.loc[study.isna(), "unit_id"].iloc[0]
        raise OrthoError(f"{study.isna().sum()} of {len(study)} images have no study, first {first}; add them")
    frame = predictions.assign(unit_id=study, images=1)
    one = ["unit_id", *[name for name in ("arm", "seed", *evaluation.ONE_OF) if name in frame.columns]]
    grouped = frame.groupby(list(dict.fromkeys(one)), sort=False, dropna=False)
    for column in ["group"] if len(columns) == 2 else ["group", "y_true"]:
        differing = grouped[column].nunique(dropna=False)
        if (differing > 1).any():
            where = differing.index[differing > 1][0]
            where = where[0] if isinstance(where, tuple) else where
            raise OrthoError(f"study {where} has several values of {column}; expected one: check `study_of`")
    rest = [name for name in frame.columns if name not in {*one, *columns, "y_true", "images"}]
    rules = dict.fromkeys(rest, "first") | dict.fromkeys(columns, how) | {"y_true": "max", "images": "sum"}
    studies = grouped.agg(rules).reset_index()
    if how == "max":
        studies["score_0"] = 1 - studies["score_1"]
    return studies[[*predictions.columns, "images"]]


def study_kappa(y_true, score, weights=None) -> np.ndarray:
    """Cohen's kappa (D,) of studies called abnormal at a score above 0.5: the official metric of MURA.

    y_true (n,) of 0 and 1, score (n,) of studies; weights (D, n) or None. 0.5 is part of the metric, not chosen.
    """
    return metrics.kappa(metrics.confusion(y_true, np.asarray(score) > STUDY_THRESHOLD, 2, weights))


def mura_kappa(
    predictions: pd.DataFrame, study_of: Mapping | pd.Series, draws: int = stats.DRAWS, seed: int = 0
) -> pd.DataFrame:
    """MURA's official metric with its group-clustered interval, one row, from the image predictions of one arm.

    Arguments and errors as `to_studies` (mean of the images) and `evaluation.evaluate`; n counts studies. For the
    table of MURA by body part, give the images of one.
    """
    arm = evaluation.read_arm(to_studies(predictions, study_of))
    if arm.n_classes != 2:
        raise UsageError(f"MURA's kappa is for 2 classes; these predictions have {arm.n_classes}")
    runs = [(run["y_true"].to_numpy(), run["score_1"].to_numpy()) for run in arm.runs]

    def compute(weights):
        return {"kappa_study": np.mean([study_kappa(y, score, weights) for y, score in runs], axis=0)}

    table = stats.bootstrap(compute, arm.runs[0]["group"], draws, seed)
    by_seed = [float(study_kappa(y, score)[0]) for y, score in runs]
    spread = np.std(by_seed, ddof=1) if len(runs) > 1 else np.nan
    return table.assign(seeds=len(runs), seed_sd=spread, threshold=STUDY_THRESHOLD)
