"""The arms of the chapter on DINO-Ortho, and every fit that they need.

Three arms are published; the others are controls that the paper lacks. An arm whose weights are absent is left out, and
said to be.
"""

from collections.abc import Mapping
from itertools import product
from typing import NamedTuple

from ortholib.encoders import registry
from ortholib.errors import UsageError
from ortholib.settings import Finetune, Pretrain, Probe, Transfer, on

SEEN, UNSEEN = "every image", "training parts"  # what a pretraining was shown


class Arm(NamedTuple):
    """start: weights that the arm starts from. shown: what DINO-Ortho then shows it, empty where it is left out."""

    start: str
    shown: str


ARMS = {
    "SL": Arm("resnet50", ""),
    "DINO + SL": Arm("dino-resnet50", ""),
    "DINO + DINO-Ortho + SL": Arm("dino-resnet50", SEEN),  # as published: its images were in the pretraining
    "DINO + DINO-Ortho + SL, test images unseen": Arm("dino-resnet50", UNSEEN),
    "random + SL": Arm("random", ""),
    "DINO-Ortho + SL": Arm("random", UNSEEN),
    "DINO-Ortho + SL, test images seen": Arm("random", SEEN),
}
# controls that are fine-tuned on the set of `leak_set` alone, and frozen on every set
NARROW = ("DINO-Ortho + SL, test images seen",)
WORDS = {"fracture": "FracAtlas, fracture", "abnormal": "MURA, abnormal", "oa": "kneeKL224, KL ≥ 2"}
PUBLISHED = ("SL", "DINO + SL", "DINO + DINO-Ortho + SL")
CURVES = (*PUBLISHED, "random + SL", "DINO-Ortho + SL")  # drawn as curves; more cannot be told apart

# arm and reference: what each difference is about. The rest of the pairs nobody asks for, and Holm would charge for
PAIRS = {
    ("DINO + DINO-Ortho + SL", "SL"): "claim",
    ("DINO + DINO-Ortho + SL", "DINO + SL"): "claim",
    ("DINO + SL", "SL"): "claim",
    ("DINO + DINO-Ortho + SL", "DINO + DINO-Ortho + SL, test images unseen"): "contamination",
    ("DINO-Ortho + SL", "random + SL"): "pretraining",
    ("DINO-Ortho + SL, test images seen", "DINO-Ortho + SL"): "contamination",
}
REFERENCES = ("SL", "random + SL")  # the first that is run is what the training speed of the others is measured by

FINETUNED, PROBED, TRANSFERRED = "fine-tuned", "frozen", "transfer"
SPLITS = {"random": "copies left in training", "random without copies": "copies taken out of training"}
TRAINING = ("size", "epochs", "backbone", "batch", "learning_rate", "contrast", "flip", "ema")
FRACTIONS = (0.125, 0.25, 0.5, 1.0)


class Planned(NamedTuple):
    """use: `FINETUNED`, `PROBED` or `TRANSFERRED`. settings: of the fit."""

    use: str
    arm: str
    settings: Finetune | Probe | Transfer


def sets(parameters: Mapping) -> list[tuple[str, str, str]]:
    """(set, task, split) of each entry of the parameter `sets`; another form raises UsageError."""
    found = [tuple(entry.split(":")) for entry in parameters["sets"]]
    for entry in found:
        if len(entry) != 3:
            raise UsageError(f"sets: '{':'.join(entry)}' is not set:task:split, such as fracatlas:fracture:clean.")
    return found


def missing(parameters: Mapping) -> dict[str, str]:
    """arm -> the way to run it, of the arms whose weights are absent, or of another network than the one asked for."""
    edition, backbone, found = parameters["edition"], parameters["backbone"], {}
    for name, (start, _) in ARMS.items():
        if start == "random" or edition == "phantom":  # stand-ins come with the phantom, of its own tiny network
            continue
        network = registry.ENCODERS[start].network
        ways = [registry.way(start)] if registry.absent(start) else []
        ways += [f"Set backbone to {network}, which these weights are of (here: {backbone})."] * (network != backbone)
        if ways:
            found[name] = " ".join(ways)
    return found


def run(parameters: Mapping) -> list[str]:
    """The arms that can be run here."""
    lacking = missing(parameters)
    return [name for name in ARMS if name not in lacking]


def initial(arm: str, parameters: Mapping) -> str:
    """What an arm's supervised training starts from, in words, as the ledger names it."""
    start, shown = ARMS[arm]
    if not shown:
        return start
    told = f"{start}, then DINO on {' and '.join(name for name, _, _ in sets(parameters))}"
    return told if shown == SEEN else f"{told}, {UNSEEN}"


def start(arm: str, parameters: Mapping) -> str | Pretrain:
    """The same as the settings of a fit take it. Both ways of pretraining have one recipe; `epochs_seen` is to give the
    larger set as many steps."""
    begin, shown = ARMS[arm]
    if not shown:
        return begin
    recipe = dict(parameters["pretraining"])
    if shown == SEEN:
        recipe["epochs"] = parameters["epochs_seen"]
    shown_sets = tuple(f"{name}:{'all' if shown == SEEN else split}" for name, _, split in sets(parameters))
    return Pretrain(sets=shown_sets, backbone=parameters["backbone"], initial=begin, **recipe)


def planned(parameters: Mapping) -> list[Planned]:
    """Every fit of the chapter but the pretrainings, which these name as their start."""
    found = []
    for asked, arm in product(sets(parameters), run(parameters)):
        begin = start(arm, parameters)
        narrow = arm in NARROW and asked[0] != parameters["leak_set"].split(":")[0]
        found += [
            Planned(FINETUNED, arm, _finetune(parameters, begin, asked, seed, fraction))
            for fraction, seed in product(parameters["fractions"], range(parameters["seeds"]))
            if not narrow
        ]
        found += _probes(parameters, arm, begin, asked, FRACTIONS)
    for arm in run(parameters):
        if arm in parameters["leak_arms"]:
            found += _leak(parameters, arm)
    whole = [one for one in found if one.use == FINETUNED and one.settings.fraction == 1.0]
    for _, arm, trained in whole:
        for name, task, split in sets(parameters):
            if name != trained.dataset and trained.split not in SPLITS:
                found.append(Planned(TRANSFERRED, arm, Transfer(trained, dataset=name, task=task, split=split)))
    return found


def _leak(parameters: Mapping, arm: str) -> list[Planned]:
    """The same test images, their copies left in training and taken out: frozen, and fine-tuned `leak_seeds` times."""
    begin, found = start(arm, parameters), []
    name, task = parameters["leak_set"].split(":")
    for split in SPLITS:
        asked = (name, task, split)
        seeds = range(parameters["leak_seeds"])
        found += [Planned(FINETUNED, arm, _finetune(parameters, begin, asked, seed)) for seed in seeds]
        found += _probes(parameters, arm, begin, asked, (1.0,))
    return found


def _finetune(parameters: Mapping, begin, asked: tuple, seed: int, fraction: float = 1.0) -> Finetune:
    training = {name: parameters[name] for name in TRAINING}
    # as many epochs for every arm, however its validation goes
    arm = Finetune(initial=begin, seed=seed, fraction=fraction, patience=parameters["epochs"], **training)
    return on(arm, *asked)


def _probes(parameters: Mapping, arm: str, begin, asked: tuple, fractions: tuple) -> list[Planned]:
    """One for each seed of random weights; pretrained ones have no luck in a probe."""
    seeds = range(parameters["seeds"] if begin == "random" else 1)
    settings = (parameters["size"], parameters["backbone"], begin)
    return [Planned(PROBED, arm, on(Probe(*settings, seed, fractions=fractions), *asked)) for seed in seeds]
