"""What a self-supervised pretraining is asked for, without importing torch: planning reads only this."""

import math
import re
from dataclasses import dataclass

from ortholib.errors import UsageError


@dataclass(frozen=True)
class Pretrain:
    """Settings of one DINO pretraining (Caron et al. 2021, arXiv 2104.14294).

    sets: `name:split` of each set, such as `fracatlas:clean`: the training part of that split; `name:all` takes every
    readable image, evaluation parts included, as the papers did. `name:split:weight` shows each image of the set
    `weight` times an epoch (1; 0.5: every other image, others each time). size: side of the stored squares in pixels.
    epochs: passes over all training images. batch: images a step, of all processes together. initial: `random`, a
    file of weights (see `networks.load`), or published ones by their name in `encoders`.
    prototypes (K), teacher_temperature, momentum (start of the teacher's average): 0 means by the size of the data.
    learning_rate is per 256 images. Crops: see `dino.augment.Crops`; `flip` 0 keeps left and right apart.
    clip: largest norm of one tensor's gradient, 0 for none.
    freeze_last: epochs in which the last layer stays. centring off is for the test of the collapse alarm only.
    """

    sets: tuple
    size: int
    epochs: int
    backbone: str = "resnet50"
    initial: str = "random"
    seed: int = 0
    batch: int = 64
    optimizer: str = "sgd"
    learning_rate: float = 0.03
    final_learning_rate: float = 1e-6
    weight_decay: float = 1e-4
    final_weight_decay: float = 1e-4
    warmup: float = 0.1
    prototypes: int = 0
    hidden: int = 2048
    bottleneck: int = 256
    student_temperature: float = 0.1
    teacher_temperature: float = 0.0
    momentum: float = 0.0
    centre_momentum: float = 0.9
    centring: bool = True
    clip: float = 3.0
    freeze_last: int = 1
    global_size: int = 224
    local_size: int = 96
    locals: int = 8
    global_scale: tuple = (0.14, 1.0)
    local_scale: tuple = (0.05, 0.14)
    flip: float = 0.5
    rotation: float = 0.0
    checkpoint_minutes: float = 5.0

    def parts(self) -> list[tuple[str, str, float]]:
        """(set, split, weight) of each entry of `sets`. Raises UsageError for one that is not `name:split[:weight]`."""
        found = []
        for entry in self.sets:
            fitting = re.fullmatch(r"([^:]+):([^:]+)(?::(\d*\.?\d+))?", str(entry))
            if not fitting or float(fitting[3] or 1) == 0:
                raise UsageError(
                    f"sets: '{entry}' is not name:split or name:split:weight, such as fracatlas:clean, fracatlas:all "
                    "or kneekl:official:0.5."
                )
            found.append((fitting[1], fitting[2], float(fitting[3] or 1)))
        if not found:
            raise UsageError("sets is empty; expected at least one name:split, such as fracatlas:clean.")
        return found


# images at most -> prototypes, teacher temperature, start of the teacher's momentum (LightlyTrain's published rule)
BY_SIZE = (
    (20_000, 1_024, 0.02, 0.99),
    (50_000, 2_048, 0.02, 0.99),
    (100_000, 4_096, 0.03, 0.991),
    (200_000, 16_384, 0.04, 0.992),
    (500_000, 32_768, 0.05, 0.994),
    (math.inf, 65_536, 0.07, 0.996),
)


def by_size(settings: Pretrain, images: int) -> tuple[int, float, float]:
    """(K, teacher temperature, momentum) as asked for, or by the number of training images."""
    _, prototypes, temperature, momentum = next(row for row in BY_SIZE if images <= row[0])
    asked = (settings.prototypes, settings.teacher_temperature, settings.momentum)
    return tuple(value or default for value, default in zip(asked, (prototypes, temperature, momentum), strict=True))
