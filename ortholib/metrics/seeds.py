"""What moves a value: another training seed, or another test set."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ortholib.errors import UsageError
from ortholib.metrics import bootstrap
from ortholib.metrics.compare import count_groups
from ortholib.metrics.evaluation import read_arm


def components(values, drawn) -> dict[str, float]:
    """Standard deviations of a metric from its values by seed (S,) and the same draws of each seed (S, D).

    A value is taken as mean + seed + test set + their interaction (variance components with one value a cell; the draws
    stand for test sets). seed_sd: of the values as they are, on this test set. between_seed_sd: what of it another test
    set would show again, the interaction taken out (0 where nothing is left). sampling_sd: over test sets, of the mean
    over these seeds, which is what the printed interval is about. one_seed_sd: the same for a single training.
    The first two are NaN for one seed. Undefined draws are left out; more than 5 % of them make all four NaN.
    """
    values, drawn = np.asarray(values, dtype=np.float64), np.atleast_2d(np.asarray(drawn, dtype=np.float64))
    if drawn.shape[0] != len(values) or drawn.shape[1] < 2:
        raise UsageError(f"draws have shape {drawn.shape}; expected ({len(values)} seeds, 2 draws or more)")
    defined, n = ~np.isnan(drawn).any(axis=0), len(values)
    drawn = drawn[:, defined]
    if drawn.shape[1] < 2 or (~defined).mean() > bootstrap.MAX_UNDEFINED:
        return dict.fromkeys(("seed_sd", "between_seed_sd", "sampling_sd", "one_seed_sd"), np.nan)
    sampling = {"sampling_sd": drawn.mean(axis=0).std(ddof=1), "one_seed_sd": np.sqrt(drawn.var(axis=1, ddof=1).mean())}
    if n == 1:
        return {"seed_sd": np.nan, "between_seed_sd": np.nan} | {name: float(sd) for name, sd in sampling.items()}
    seed_variance = values.var(ddof=1)
    interaction = (drawn - drawn.mean(axis=0)).var(axis=1, ddof=1).sum() / (n - 1)
    seeds = {"seed_sd": np.sqrt(seed_variance), "between_seed_sd": np.sqrt(max(0.0, seed_variance - interaction))}
    return {name: float(sd) for name, sd in (seeds | sampling).items()}


def seed_spread(predictions: pd.DataFrame, names: Iterable[str], *, draws: int = bootstrap.DRAWS) -> pd.DataFrame:
    """`components` of each metric of one arm, one row a metric: metric, value, seeds, then the four deviations.

    Arguments and errors are those of `evaluation.evaluate`; fewer than 2 groups raise OrthoError.
    """
    arm, names = read_arm(predictions), list(names)
    count_groups(arm.runs[0]["group"])
    value = arm.mean(names)
    by_seed = [compute(None) for compute in arm.computes]

    def each(weights):
        found = [compute(weights) for compute in arm.computes]
        return {(name, s): of_seed[name] for s, of_seed in enumerate(found) for name in names}

    drawn = bootstrap.bootstrap_draws(each, arm.runs[0]["group"], draws)
    rows = []
    for name in names:
        values, of_seeds = zip(*((of_seed[name][0], drawn[name, s]) for s, of_seed in enumerate(by_seed)), strict=True)
        found = {"metric": name, "value": float(value[name][0]), "seeds": len(by_seed)}
        rows.append(found | components(values, of_seeds))
    return pd.DataFrame(rows)
