"""Arms of a comparison: what a chapter declares, put to sets and seeds, made, and scored.

An arm is settings under a name: `{"random + SL": Finetune(224, 20), ...}`. A set is `set:task:split`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import pandas as pd

from ortholib.encoders import registry
from ortholib.errors import UsageError
from ortholib.settings import STOCHASTIC, Embed, Finetune, Learn, Pretrain, Probe, Transfer, on

FINETUNED, FROZEN, TRANSFERRED = "fine-tuned", "frozen", "transfer"
USES = {
    Finetune: FINETUNED,
    Learn: FROZEN,
    Probe: FROZEN,
    Transfer: TRANSFERRED,
}  # what is done with the network an arm starts from


class Planned(NamedTuple):
    """One fit of an arm."""

    arm: str
    settings: Finetune | Learn | Probe | Transfer


class Made(NamedTuple):
    """A planned fit, finished. fit: a `fits.Fit`."""

    arm: str
    settings: Finetune | Learn | Probe | Transfer
    fit: object


def parts(entry: str) -> tuple[str, str, str]:
    """(set, task, split) of `set:task:split`. Raises UsageError for another form."""
    found = tuple(str(entry).split(":"))
    if len(found) != 3 or not all(found):
        raise UsageError(f"sets: '{entry}' is not set:task:split, such as fracatlas:fracture:clean.")
    return found


def plan(arms: Mapping[str, Finetune | Probe], sets: Iterable[str], seeds: int = 1) -> list[Planned]:
    """Every arm on every set with every seed. An arm that names a data set of its own is put to that one alone; what
    holds no luck, such as a probe of pretrained weights, is made once."""
    found = []
    for entry, (arm, asked) in product(sets, arms.items()):
        dataset, task, split = parts(entry)
        if asked.dataset in ("", dataset):
            lucky = seeds if _has_luck(asked) else 1
            found += [Planned(arm, on(asked, dataset, task, split, seed=seed)) for seed in range(lucky)]
    return found


def _has_luck(asked: Finetune | Learn | Probe) -> bool:
    if isinstance(asked, Learn):
        return asked.learner in STOCHASTIC or asked.initial.initial == "random"
    return isinstance(asked, Finetune) or asked.initial == "random"


def with_labels(arms: Mapping[str, Finetune], share: float) -> dict[str, Finetune]:
    """The same arms with a share of the labels."""
    return {arm: replace(asked, fraction=share) for arm, asked in arms.items()}


def frozen(arms: Mapping[str, Finetune], shares: tuple[float, ...] = (1.0,)) -> dict[str, Probe]:
    """Probes of what the arms start from, on every set, with shares of the labels."""
    probes = {}
    for arm, asked in arms.items():
        probes[arm] = Probe(asked.size, asked.backbone, asked.initial, fractions=shares)
    return probes


def elsewhere(made: Iterable[Made], sets: Iterable[str]) -> list[Planned]:
    """Every training put to the other sets, as it is."""
    pairs = product(made, map(parts, sets))
    return [
        Planned(one.arm, Transfer(one.settings, dataset=dataset, task=task, split=split))
        for one, (dataset, task, split) in pairs
        if dataset != one.settings.dataset
    ]


def make(
    arms: Mapping[str, Finetune | Probe] | list[Planned], sets: Iterable[str] = (), seeds: int = 1, edition: str = ""
) -> list[Made]:
    """The fits of the arms on the sets, or those of a plan, made now where they are missing."""
    from ortholib.study import fits  # data and trainers, which planning needs not

    planned = arms if isinstance(arms, list) else plan(arms, sets, seeds)
    made = fits.ensure_all([one.settings for one in planned], edition)
    return [Made(*one, fit) for one, fit in zip(planned, made, strict=True)]


def starts(planned: Iterable[Planned | Made]) -> list[Embed | Pretrain | Finetune]:
    """The pretrainings, trainings and embeddings that fits start from, each once, the earliest first."""
    found = {}
    for one in planned:
        chain = [one.settings.initial]
        while isinstance(chain[-1], Embed | Finetune | Pretrain):
            chain.append(chain[-1].initial)
        found |= dict.fromkeys(reversed(chain[:-1]))
    return list(found)


def keys(made: Iterable[Made], edition: str) -> list[str]:
    """Keys of all fits of a chapter, those that they start from among them, each once."""
    from ortholib.study import fits

    made = list(made)
    begun = fits.ensure_all(starts(made), edition)
    return list(dict.fromkeys([*(fit.key for fit in begun), *(one.fit.key for one in made)]))


def available(arms: Mapping[str, Finetune | Probe], edition: str) -> tuple[dict, dict[str, str]]:
    """The arms that can be run here, and the others with the way to run them: weights that are absent and that no
    promoted fit started from, or of another network than the one asked for. The phantom has stand-ins for all."""
    from ortholib.study import fits

    lacking = {}
    for arm, asked in arms.items() if edition != "phantom" else ():
        start = asked.initial
        while not isinstance(start, str):
            start = start.initial
        if start in registry.ENCODERS:
            network = registry.ENCODERS[start].network
            gone = registry.absent(start) and not fits.promoted_start(start, edition)
            ways = [registry.way(start)] if gone else []
            if asked.backbone not in ("", network):
                ways.append(f"Set backbone to {network}, which these weights are of (here: {asked.backbone}).")
            if ways:
                lacking[arm] = " ".join(ways)
    return {arm: asked for arm, asked in arms.items() if arm not in lacking}, lacking


def predictions(made: Iterable[Made]) -> pd.DataFrame:
    """Scores of all fits on validation and test. Columns beside those of a fit's predictions: base (the arm as it was
    declared), use, fraction (share of the labels), trained_on (the set of a transfer's training, else empty), and arm,
    which tells heads, shares and transfers apart too: "SL, linear", "SL, 25 % of the labels", "SL, trained on kneekl".
    """
    frames, heads = [], []
    for one in made:
        frame = one.fit.predictions.assign(base=one.arm, use=USES[type(one.settings)])
        if "fraction" not in frame:
            frame["fraction"] = getattr(one.settings, "fraction", 1.0)
        frame["trained_on"] = one.settings.initial.dataset if isinstance(one.settings, Transfer) else ""
        frames.append(frame)
        named_by_arm = isinstance(one.settings, Learn)
        heads.append(pd.Series("", frame.index) if named_by_arm else frame["head"])
    scored = pd.concat(frames, ignore_index=True)
    return scored.assign(arm=named(scored["base"], pd.concat(heads), shares(scored), trained_elsewhere(scored)))


def named(*columns: pd.Series) -> list[str]:
    """What rows are called: the words of some columns, the empty ones left out."""
    return [", ".join(filter(None, words)) for words in zip(*columns, strict=True)]


def shares(scored: pd.DataFrame) -> pd.Series:
    """ "25 % of the labels", empty for all of them."""
    return scored["fraction"].map(lambda share: "" if share == 1 else f"{100 * share:g} % of the labels")


def trained_elsewhere(scored: pd.DataFrame) -> pd.Series:
    """ "trained on kneekl", empty for what was trained where it is put to."""
    return scored["trained_on"].map(lambda name: f"trained on {name}" if name else "")
