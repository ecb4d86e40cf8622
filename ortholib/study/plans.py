"""Which fits a chapter asks for: one truth for the notebook that shows them and the batch that makes them first."""

from ortholib.settings import Finetune, Pretrain
from ortholib.study.dinoortho import plan as dinoplan

# parameters of a chapter that go into its fits unchanged
TRAINING = ("size", "epochs", "backbone", "batch", "learning_rate", "contrast", "start", "ema", "patience")

PRETRAINING = ("size", "epochs", "backbone", "initial", "batch", "optimizer", "learning_rate", "weight_decay")
PRETRAINING += ("teacher_temperature", "prototypes", "global_size", "local_size", "locals")


def pretrain_dino(parameters: dict) -> list[Pretrain]:
    """Chapter 10: one pretraining without labels."""
    training = {name: parameters[name] for name in PRETRAINING}
    decay = parameters["weight_decay"]  # the same throughout
    return [Pretrain(sets=tuple(parameters["sets"]), final_weight_decay=decay, **training)]


def dino_ortho(parameters: dict) -> list[Pretrain | Finetune]:
    """Chapter 20: the pretrainings, then the trainings that start from them. Its probes and transfers take seconds."""
    trained = [one.settings for one in dinoplan.planned(parameters) if one.use == dinoplan.FINETUNED]
    pretrained = {one.initial: None for one in trained if isinstance(one.initial, Pretrain)}
    return [*pretrained, *dict.fromkeys(trained)]


def knee_oa(parameters: dict) -> list[Finetune]:
    """Chapter 30: one supervised training on the KL grade per seed."""
    training = {name: parameters[name] for name in TRAINING}
    return [
        Finetune(dataset="kneekl", task="kl", split="official", seed=seed, **training)
        for seed in range(parameters["seeds"])
    ]


def needs(planned: list, number: int) -> list[int]:
    """Numbers of the fits of a chapter that one of them starts from."""
    return [place for place, one in enumerate(planned) if one == planned[number].initial]


# chapter -> (data sets it reads, its fits), both by its parameters
CHAPTERS = {
    "00-data": (lambda parameters: ["fracatlas", "kneekl"], lambda parameters: []),
    "10-pretrain-dino": (lambda parameters: [entry.split(":")[0] for entry in parameters["sets"]], pretrain_dino),
    "20-dino-ortho": (lambda parameters: [name for name, _, _ in dinoplan.sets(parameters)], dino_ortho),
    "30-knee-oa": (lambda parameters: ["kneekl"], knee_oa),
}
