"""Settings of a probe of frozen features. Apart from the probe, so that planning needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """Settings of one probe: a frozen backbone's features, and two simple classifiers on top.

    size: side in pixels of the images shown to the backbone. initial: `random`, or a file of the backbone's weights
    (see `dino.initial`). seed: of random weights. fraction: share of the training groups whose labels are used (0.125,
    0.25, 0.5 or 1).
    """

    dataset: str
    task: str
    split: str
    size: int
    backbone: str
    initial: str = "random"
    seed: int = 0
    fraction: float = 1.0
