"""Frozen features put to the test: what arms reach on labelled sets, and the differences between them."""

from collections.abc import Iterable

import pandas as pd

from ortholib.metrics import compare, evaluation

# task -> the metrics that are spoken of: few, since they share one correction
METRICS = {
    "fracture": ["roc_auc", "average_precision"],
    "kl": ["kappa_quadratic_expectation", "auc_ovr_macro"],
}
NAMES = {
    "roc_auc": "fracture, ROC AUC",
    "average_precision": "fracture, average precision",
    "kappa_quadratic_expectation": "KL grade, quadratic κ",
    "auc_ovr_macro": "KL grade, mean ROC AUC of a grade against the rest",
}
ABOUT = ["dataset", "task", "split", "part"]


def evaluate(
    scored: pd.DataFrame, asked: Iterable[tuple[str, str]], draws: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(values, differences) on the test parts: every metric of `METRICS` of each arm with its interval, and the pairs
    (arm, reference) with each head, Holm-corrected over the metrics and heads of a set. scored: `study.predictions`."""
    values, differences = [], []
    for about, rows in scored[scored["part"] == "test"].groupby(ABOUT, sort=False):
        about = dict(zip(ABOUT, about, strict=True))
        metrics = METRICS[about["task"]]
        for arm, of_arm in rows.groupby("arm", sort=False):
            facts = of_arm.iloc[0][["backbone", "initial", "head"]].to_dict()
            values.append(evaluation.evaluate(of_arm, names=metrics, draws=draws).assign(arm=arm, **about, **facts))
        named = {(one.base, one.head): one.arm for one in rows[["base", "head", "arm"]].drop_duplicates().itertuples()}
        pairs = [(named[a, head], named[b, head]) for head in rows["head"].unique() for a, b in asked]
        differences.append(compare.compare(rows, metrics, pairs=pairs, draws=draws).assign(**about))
    table = pd.concat(values, ignore_index=True)
    order = table["metric"].map(list(NAMES).index).sort_values(kind="stable").index  # arms side by side
    return table.loc[order].reset_index(drop=True), pd.concat(differences, ignore_index=True)
