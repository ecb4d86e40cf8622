"""Which fits a chapter asks for: one truth for the notebook that shows them and the batch that makes them first."""

from ortholib.classify.settings import Finetune
from ortholib.dino.settings import Pretrain

# parameters of a chapter that go into its fits unchanged
TRAINING = ("size", "epochs", "backbone", "batch", "learning_rate", "contrast", "start", "ema", "patience")

PRETRAINING = ("size", "epochs", "backbone", "initial", "batch", "optimizer", "learning_rate", "weight_decay")
PRETRAINING += ("teacher_temperature", "prototypes", "global_size", "local_size", "locals")


def pretrain_dino(parameters: dict) -> list[Pretrain]:
    """Chapter 10: one pretraining without labels."""
    training = {name: parameters[name] for name in PRETRAINING}
    decay = parameters["weight_decay"]  # the same throughout
    return [Pretrain(sets=tuple(parameters["sets"]), final_weight_decay=decay, **training)]


def knee_oa(parameters: dict) -> list[Finetune]:
    """Chapter 30: one supervised training on the KL grade per seed."""
    training = {name: parameters[name] for name in TRAINING}
    return [
        Finetune(dataset="kneekl", task="kl", split="official", seed=seed, **training)
        for seed in range(parameters["seeds"])
    ]


# chapter -> (data sets it reads, its fits)
CHAPTERS = {
    "00-data": (["fracatlas", "kneekl"], lambda parameters: []),
    "10-pretrain-dino": (["fracatlas", "kneekl"], pretrain_dino),
    "30-knee-oa": (["kneekl"], knee_oa),
}
