"""Settings of a transfer. Apart from it, so that planning needs no torch."""

from dataclasses import dataclass

from ortholib.classify.settings import Finetune


@dataclass(frozen=True)
class Transfer:
    """A trained classifier put to another set, as it is. initial: its training, which is made first. size, backbone and
    seed are those of the training."""

    dataset: str
    task: str
    split: str
    size: int
    backbone: str
    initial: Finetune
    seed: int = 0


def of(trained: Finetune, dataset: str, task: str, split: str) -> Transfer:
    """The transfer of a training to another set."""
    return Transfer(dataset, task, split, trained.size, trained.backbone, trained, trained.seed)
