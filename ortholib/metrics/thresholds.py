"""What a threshold does in practice: the one for a wanted specificity, the rates at it, and its net benefit.

Weights are those of `metrics`: (D, n), a row for each bootstrap draw, or None; every value has D first and is NaN where
it is undefined. Thresholds are chosen on validation rows and then kept: on test rows nothing here chooses.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import bootstrap, scores
from ortholib.metrics.scores import _adder, _as_binary, _as_weights, _ratio

# odds at which a finding is worth acting on, 1 to 99 %: at 0 and 1 a false or a missed finding has no weight
PROBABILITIES = np.arange(1, 100) / 100


def threshold_at_specificity(y_true, score, specificity: float) -> float:
    """The threshold t with the largest sensitivity among those whose specificity is at least the one wanted.

    For validation rows and the rule score >= t. y_true (n,) of 0 and 1, score (n,); specificity in 0 to 1. Among equals
    the highest, at the score of a positive; inf when too many negatives rank above every positive: then nobody is
    called. NaN when a class has no unit. Raises UsageError for a specificity outside 0 to 1.
    """
    if not 0 <= specificity <= 1:
        raise UsageError(f"specificity is {specificity}; expected 0 to 1, such as 0.9")
    ranking = scores.Ranking(y_true, score)
    _, above_pos, above_neg = ranking.curve()
    if not (above_pos[-1, 0] and above_neg[-1, 0]):
        return np.nan
    called = above_neg[:-1, 0]
    allowed = np.flatnonzero(called <= (1 - specificity) * above_neg[-1, 0] + 1e-9)
    return float(ranking.thresholds[allowed[-1]]) if len(allowed) else np.inf


def ppv(matrix) -> np.ndarray:
    """Positive predictive value (D,) from confusion (D, 2, 2): how many of those called have it; NaN with no call.

    It holds for the prevalence of these units; with another it is another.
    """
    return _ratio(matrix[:, 1, 1], matrix[:, :, 1].sum(1))


def npv(matrix) -> np.ndarray:
    """Negative predictive value (D,) from confusion (D, 2, 2): how many of those not called are free of it."""
    return _ratio(matrix[:, 0, 0], matrix[:, :, 0].sum(1))


def mcc(matrix) -> np.ndarray:
    """Matthews' correlation of truth and call (D,) from confusion (D, k, k), -1 to 1.

    Gorodkin, 2004, doi:10.1016/j.compbiolchem.2004.09.006, eq. 8; for k = 2 that of Matthews, 1975. NaN when all units
    or all calls are of one class, where scikit-learn returns 0.
    """
    total, true, called = matrix.sum((1, 2)), matrix.sum(2), matrix.sum(1)
    together = np.trace(matrix, axis1=1, axis2=2) * total - (true * called).sum(1)
    spread = (total**2 - (true**2).sum(1)) * (total**2 - (called**2).sum(1))
    return _ratio(together, np.sqrt(np.maximum(spread, 0)))


def net_benefit(y_true, probability, thresholds=PROBABILITIES, weights=None) -> np.ndarray:
    """Net benefit of acting at probability >= t, for each t: (D, T), in true findings a unit.

    Share of units rightly called less t / (1 - t) times the share wrongly called: t is the probability at which a
    reader would be indifferent. Vickers and Elkin, 2006, doi:10.1177/0272989X06295361. y_true (n,) of 0 and 1,
    probability (n,), thresholds (T,) rising, above 0 and below 1; anything else raises OrthoError.
    """
    (y, probability), thresholds = _as_binary(y_true, probability), np.asarray(thresholds, float)
    if not ((probability >= 0) & (probability <= 1)).all():
        bad = int(np.argmin((probability >= 0) & (probability <= 1)))
        raise OrthoError(f"net benefit needs probabilities; row {bad} is {probability[bad]}; apply a sigmoid before")
    if not (len(thresholds) and (np.diff(thresholds) > 0).all() and thresholds[0] > 0 and thresholds[-1] < 1):
        raise OrthoError("the thresholds of a decision curve must rise, above 0 and below 1, such as 0.05, 0.10, 0.15")
    reached = np.searchsorted(thresholds, probability, side="right")  # how many thresholds call the unit
    cells = _adder(2 * reached + (y == 1), 2 * len(thresholds) + 2)
    weights = _as_weights(weights, len(y))
    added = (cells @ weights.T).reshape(len(thresholds) + 1, 2, -1)
    called = added[::-1].cumsum(0)[::-1][1:]  # (T, class, D): weight called at each threshold
    odds = (thresholds / (1 - thresholds))[:, None]
    return _ratio(called[:, 1] - odds * called[:, 0], weights.sum(1)).T


def net_benefit_all(y_true, thresholds=PROBABILITIES, weights=None) -> np.ndarray:
    """Net benefit of acting on every unit (D, T): prevalence - t / (1 - t) (1 - prevalence). On none it is 0."""
    return net_benefit(y_true, np.ones(len(y_true)), thresholds, weights)


def decision_curve(
    y_true, probabilities: Mapping[str, np.ndarray], groups, thresholds=PROBABILITIES, draws: int = bootstrap.DRAWS
) -> pd.DataFrame:
    """Net benefit of each arm, of acting on all and on none, with pointwise group-clustered 95 % intervals.

    y_true (n,); probabilities: arm -> (n,), of the same units; groups (n,). All arms share the draws. Columns strategy
    (the arms, then "all", "none"), threshold, net_benefit, low, high, n, n_groups. Raises what `net_benefit` and
    `bootstrap.bootstrap` raise, and UsageError for an arm called "all" or "none".
    """
    taken = sorted({"all", "none"} & set(probabilities))
    if taken:
        raise UsageError(f"an arm is called {taken[0]}, as the strategy of acting on {taken[0]}; give it another name")

    def compute(weights):
        values = {arm: net_benefit(y_true, p, thresholds, weights) for arm, p in probabilities.items()}
        values["all"] = net_benefit_all(y_true, thresholds, weights)
        return {(arm, t): value[:, i] for arm, value in values.items() for i, t in enumerate(thresholds)}

    table = bootstrap.bootstrap(compute, groups, draws, keys=("strategy", "threshold"))
    table = table.rename(columns={"value": "net_benefit"})
    columns = ["strategy", "threshold", "net_benefit", "low", "high", "n", "n_groups"]
    none = table[table["strategy"] == "all"].assign(strategy="none", net_benefit=0.0, low=0.0, high=0.0)
    return pd.concat([table, none], ignore_index=True)[columns]
