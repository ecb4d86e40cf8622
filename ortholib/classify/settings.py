"""Settings of a supervised training. Apart from the trainer, so that planning needs no torch."""

from dataclasses import dataclass

from ortholib.dino.settings import Pretrain


@dataclass(frozen=True)
class Finetune:
    """Settings of one training.

    initial: `random`, a file of weights (see `networks.load`), published ones by their name in `encoders`, or a
    pretraining, which is made first.
    class_weights: `none` or `balanced` (inverse frequency in the training part).
    fraction: share of the training groups whose labels are used (0.125, 0.25, 0.5 or 1).
    patience: epochs without a better validation metric after which training stops.
    start: side of the training images in the first epoch, as a fraction of `size`; it grows to 1 over the first two
    thirds of the epochs. Small images cost less, and a network from random weights gets going on them sooner.
    ema: decay per step of the averaged weights, which are the ones evaluated and kept.
    """

    dataset: str
    task: str
    split: str
    size: int
    epochs: int
    backbone: str = "resnet18"
    initial: str | Pretrain = "random"
    seed: int = 0
    fraction: float = 1.0
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    label_smoothing: float = 0.0
    class_weights: str = "none"
    patience: int = 10
    start: float = 1.0
    ema: float = 0.99
    rotation: float = 10.0
    scale: float = 0.1
    shift: float = 0.05
    contrast: float = 0.2
    flip: float = 0.0
