"""Which fits a chapter asks for: one truth for the notebook that shows them and the batch that makes them first."""

from ortholib.classify.settings import Finetune

# parameters of a chapter that go into its fits unchanged
TRAINING = ("size", "epochs", "backbone", "batch", "learning_rate", "contrast", "start", "ema", "patience")


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
    "30-knee-oa": (["kneekl"], knee_oa),
}
