"""From images to studies: one score and one truth for an examination of several images, and MURA's official metric."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ortholib.metrics import bootstrap, evaluation, scores
from ortholib.metrics.frames import refuse

STUDY_THRESHOLD = 0.5  # MURA calls a study abnormal above it: Rajpurkar et al. 2017, arXiv:1712.06957, section 3


def to_studies(predictions: pd.DataFrame, study_of: Mapping | pd.Series) -> pd.DataFrame:
    """Predictions of studies (or exams) from those of their images: one row a study and seed, the mean of its images.

    predictions  as `evaluation.evaluate` takes them, a row an image
    study_of     unit_id -> study

    Columns stay; `unit_id` is the study, and `images` says how many images it has. A study with several truths is
    positive where one of its images is (k = 2). Raises OrthoError for images without a study, for a study in several
    groups (patients) and for grades that differ within a study.
    """
    columns = evaluation.score_columns(predictions)
    twice = predictions.duplicated([*({"seed", "arm"} & set(predictions.columns)), "unit_id"])
    refuse(predictions, twice, "an image is there twice", "score each once and pick one part before gathering studies")
    study = predictions["unit_id"].map(study_of)
    refuse(predictions, study.isna(), "images without a study", "add them")
    frame = predictions.assign(unit_id=study, images=1)
    one = ["unit_id", *[name for name in ("arm", "seed", *evaluation.ONE_OF) if name in frame.columns]]
    grouped = frame.groupby(list(dict.fromkeys(one)), sort=False, dropna=False)
    for column in ["group"] if len(columns) == 2 else ["group", "y_true"]:
        several = grouped[column].transform("nunique", dropna=False) > 1
        refuse(frame, several, f"studies with several values of {column}", "expected one: check `study_of`")
    rest = [name for name in frame.columns if name not in {*one, *columns, "y_true", "images"}]
    rules = dict.fromkeys(rest, "first") | dict.fromkeys(columns, "mean") | {"y_true": "max", "images": "sum"}
    return grouped.agg(rules).reset_index()[[*predictions.columns, "images"]]


def study_kappa(y_true, score, weights=None) -> np.ndarray:
    """Cohen's kappa (D,) of studies called abnormal at a score above 0.5: the official metric of MURA.

    y_true (n,) of 0 and 1, score (n,) of studies; weights (D, n) or None. 0.5 is part of the metric, not chosen.
    """
    return scores.kappa(scores.confusion(y_true, np.asarray(score) > STUDY_THRESHOLD, 2, weights))


def mura_kappa(predictions: pd.DataFrame, study_of: Mapping | pd.Series, draws: int = bootstrap.DRAWS) -> pd.DataFrame:
    """MURA's official metric with its group-clustered interval, one row, from the image predictions of one arm.

    Arguments and errors as `to_studies` and `evaluation.evaluate`; n counts studies. For the table of MURA by body
    part, give the images of one.
    """
    arm = evaluation.read_arm(to_studies(predictions, study_of))
    runs = arm.binary("MURA's kappa")

    def compute(weights):
        return {"kappa_study": np.mean([study_kappa(y, score, weights) for y, score in runs], axis=0)}

    table = bootstrap.bootstrap(compute, arm.runs[0]["group"], draws)
    by_seed = [float(study_kappa(y, score)[0]) for y, score in runs]
    spread = np.std(by_seed, ddof=1) if len(runs) > 1 else np.nan
    return table.assign(seeds=len(runs), seed_sd=spread, threshold=STUDY_THRESHOLD)
