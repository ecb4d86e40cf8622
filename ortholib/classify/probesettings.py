"""Settings of a probe of frozen features. Apart from the probe, so that planning needs no torch."""

from dataclasses import dataclass

from ortholib.dino.settings import Pretrain


@dataclass(frozen=True)
class Probe:
    """Settings of one probe: a frozen backbone's features, and two simple classifiers on top.

    size: side in pixels of the images shown to the backbone. initial: as of a `Finetune`. seed: of random weights.
    fractions: shares of the training groups whose labels are used (of 0.125, 0.25, 0.5 and 1); every share gives arms
    of its own.
    """

    dataset: str
    task: str
    split: str
    size: int
    backbone: str
    initial: str | Pretrain = "random"
    seed: int = 0
    fractions: tuple = (1.0,)
