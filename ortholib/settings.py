"""What each fit is asked for, its recipe, and its key, without importing torch: planning reads only this.

A recipe is a name with a number, such as `finetune/1`. The number stands for what the code does with the settings:
`tests/golden/<recipe>.json` holds numbers that it gives, and where these change the number is raised. A fit's key is
made of its recipe, settings, data and start, never of source texts, so that moving or cleaning code orphans nothing.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, field, fields, replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ortholib import paths
from ortholib.errors import UsageError

STRICT = ConfigDict(extra="forbid", strict=True)  # "18" is no number, and an unknown name is an error
LEARNERS = ("XGBoost", "logistic regression", "kNN", "MLP")  # on embeddings
STOCHASTIC = ("XGBoost", "MLP")  # those with luck of their own
TRAINING_PARTS = "training parts"  # what a pretraining was shown where it was not every image


def _tuple(value):
    return tuple(value) if isinstance(value, list) else value  # as JSON, YAML and notebooks write it


Texts = Annotated[tuple[str, ...], BeforeValidator(_tuple)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_tuple)]


@dataclass(frozen=True, config=STRICT)
class Pretrain:
    """Settings of one DINO pretraining (Caron et al. 2021, arXiv 2104.14294).

    sets: `name:split` of each set, such as `fracatlas:clean`: the training part of that split; `name:all` takes every
    readable image, evaluation parts included, as the papers did. `name:split:weight` shows each image of the set
    `weight` times an epoch (1; 0.5: every other image, others each time). size: side of the stored squares in pixels.
    epochs: passes over all training images. batch: images a step, of all processes together. initial: `random`, a
    file of weights (see `encoders.load`), or published ones by their name in `encoders.registry`.
    prototypes (K), teacher_temperature, momentum (start of the teacher's average): 0 means by the size of the data.
    learning_rate is per 256 images. Crops: see `dino.augment.Crops`; `flip` 0 keeps left and right apart.
    clip: largest norm of one tensor's gradient, 0 for none.
    freeze_last: epochs in which the last layer stays. centring off is for the test of the collapse alarm only.
    """

    recipe: ClassVar[str] = "pretrain/1"
    operational: ClassVar[tuple[str, ...]] = ("checkpoint_minutes",)  # changes nothing of the result

    sets: Texts
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
    global_scale: Numbers = (0.14, 1.0)
    local_scale: Numbers = (0.05, 0.14)
    flip: float = 0.5
    rotation: float = 0.0
    checkpoint_minutes: float = 5.0

    def parts(self) -> list[tuple[str, str, float]]:
        """(set, split, weight) of each entry of `sets`. Raises UsageError for one that is not `name:split[:weight]`."""
        found = []
        for entry in self.sets:
            fitting = re.fullmatch(r"([^:]+):([^:]+)(?::(\d*\.?\d+))?", entry)
            if not fitting or float(fitting[3] or 1) == 0:
                raise UsageError(
                    f"sets: '{entry}' is not name:split or name:split:weight, such as fracatlas:clean, fracatlas:all "
                    "or kneekl:official:0.5."
                )
            found.append((fitting[1], fitting[2], float(fitting[3] or 1)))
        if not found:
            raise UsageError("sets is empty; expected at least one name:split, such as fracatlas:clean.")
        return found


@dataclass(frozen=True, config=STRICT)
class Finetune:
    """Settings of one supervised training.

    dataset, task, split: what it is trained on; empty in the arm of a chapter, which `on` puts to a set.
    size: side of the images in pixels. initial: `random`, a file of weights (see `encoders.load`), published ones by
    their name in `encoders.registry`, or a pretraining, which is made first.
    class_weights: `none` or `balanced` (inverse frequency in the training part).
    fraction: share of the training groups whose labels are used (0.125, 0.25, 0.5 or 1).
    patience: epochs without a better validation metric after which training stops.
    start: side of the training images in the first epoch, as a fraction of `size`; it grows to 1 over the first two
    thirds of the epochs. Small images cost less, and a network from random weights gets going on them sooner.
    finish: side of the training images in the last third, as a fraction of `size`, at which the network is evaluated.
    ema: decay per step of the averaged weights, which are the ones evaluated and kept.
    recalibrate: batches of training images, as they are, over which the batch norms of the averaged network take their
    statistics before it is evaluated; 0: a running average like the weights.
    head: `softmax`, or for grades in order `cumulative` or `continuation` (see `classify.heads`).
    zero_head: whether the classifier starts at zero, so that its random numbers do not shake pretrained weights.
    layer_decay: factor on the learning rate from each layer to the one below.
    drop_path: share of the residual branches left out in training, in the last layer (the first: none).
    """

    recipe: ClassVar[str] = "finetune/1"
    operational: ClassVar[tuple[str, ...]] = ()

    size: int
    epochs: int
    backbone: str = "resnet18"
    initial: str | Pretrain = "random"
    seed: int = 0
    dataset: str = field(default="", kw_only=True)
    task: str = field(default="", kw_only=True)
    split: str = field(default="", kw_only=True)
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
    finish: float = 1.0
    recalibrate: int = 0
    head: str = "softmax"
    zero_head: bool = False
    layer_decay: float = 1.0
    drop_path: float = 0.0


@dataclass(frozen=True, config=STRICT)
class Probe:
    """Settings of one probe: a frozen backbone's features, and two simple classifiers on top.

    size: side in pixels of the images shown to the backbone. dataset, task, split, initial: as of a `Finetune`. seed:
    of random weights. fractions: shares of the training groups whose labels are used (of 0.125, 0.25, 0.5 and 1).
    """

    recipe: ClassVar[str] = "probe/1"
    operational: ClassVar[tuple[str, ...]] = ()

    size: int
    backbone: str
    initial: str | Pretrain = "random"
    seed: int = 0
    dataset: str = field(default="", kw_only=True)
    task: str = field(default="", kw_only=True)
    split: str = field(default="", kw_only=True)
    fractions: Numbers = (1.0,)


@dataclass(frozen=True, config=STRICT)
class Embed:
    """Settings of one embedding: what a frozen network gives of each image.

    size: side in pixels of the stored squares, of which published weights are shown what their publisher shows them.
    initial: published weights by their name in `encoders.registry`; `random` or a pretraining, whose network is
    `backbone`. seed: of random weights. dataset, task, split: as of a `Finetune`.
    """

    recipe: ClassVar[str] = "embed/1"
    operational: ClassVar[tuple[str, ...]] = ()

    size: int
    initial: str | Pretrain
    backbone: str = ""
    seed: int = 0
    dataset: str = field(default="", kw_only=True)
    task: str = field(default="", kw_only=True)
    split: str = field(default="", kw_only=True)


@dataclass(frozen=True, config=STRICT)
class Learn:
    """Settings of one learner on the embedding `initial`, which is made first.

    learner: `XGBoost`, `logistic regression`, `kNN` or `MLP`. tries: settings of it that are tried, of which
    validation chooses (see `classify.learners`). seed: of the draws. dataset, task, split: as of a `Finetune`.
    """

    recipe: ClassVar[str] = "learn/1"
    operational: ClassVar[tuple[str, ...]] = ()

    initial: Embed
    learner: str = "XGBoost"
    tries: int = 6
    seed: int = 0
    dataset: str = field(default="", kw_only=True)
    task: str = field(default="", kw_only=True)
    split: str = field(default="", kw_only=True)

    @property
    def size(self) -> int:
        """Of the embedded images."""
        return self.initial.size

    @property
    def backbone(self) -> str:
        """The network that embeds."""
        return self.initial.backbone


@dataclass(frozen=True, config=STRICT)
class Transfer:
    """A trained classifier put to another set, as it is. initial: its training, which is made first."""

    recipe: ClassVar[str] = "transfer/1"
    operational: ClassVar[tuple[str, ...]] = ()

    initial: Finetune
    dataset: str = field(default="", kw_only=True)
    task: str = field(default="", kw_only=True)
    split: str = field(default="", kw_only=True)

    @property
    def size(self) -> int:
        """Of the training's images."""
        return self.initial.size

    @property
    def backbone(self) -> str:
        """The trained network."""
        return self.initial.backbone

    @property
    def seed(self) -> int:
        """Of the training."""
        return self.initial.seed


Settings = Embed | Finetune | Learn | Pretrain | Probe | Transfer
KINDS = {shape.recipe.split("/")[0]: shape for shape in (Embed, Finetune, Learn, Pretrain, Probe, Transfer)}


def parse(spec: Mapping) -> Settings:
    """Settings from a mapping with `kind` and that kind's fields; `initial` may be such a mapping too.

    Raises UsageError naming an unknown kind, an unknown or missing field, or a value of the wrong type.
    """
    spec = dict(spec)
    kind = spec.pop("kind", None)
    if kind not in KINDS:
        raise UsageError(f"fit kind '{kind}' is unknown; known: {', '.join(KINDS)}.")
    if isinstance(spec.get("initial"), Mapping):
        spec["initial"] = parse(spec["initial"])
    check(KINDS[kind], spec, f"a {kind} fit", whole=True)
    return KINDS[kind](**spec)


def check(shape: type, values: Mapping, where: str, whole: bool = False) -> None:
    """Raise UsageError, which begins with `where`, for a value of the wrong type or a name that is no field of the
    settings `shape`; with `whole` for a missing one too."""
    known = {one.name: one for one in fields(shape)}
    for name, value in values.items():
        if name not in known:
            raise UsageError(f"{where}: '{name}' is no setting; known: {', '.join(known)}.")
        wanted = shape.__pydantic_fields__[name].rebuild_annotation()
        try:
            TypeAdapter(wanted, config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            raise UsageError(f"{where}: {name} = {value!r}: {said(error)}.") from error
    if whole:
        missing = [name for name, one in shape.__pydantic_fields__.items() if one.is_required() and name not in values]
        if missing:
            raise UsageError(f"{where} needs {', '.join(missing)}.")


def said(error: ValidationError) -> str:
    """What is wrong, by pydantic's first words of it: "expected a valid integer"."""
    words = error.errors()[0]["msg"]
    return words.replace("Input should be", "expected", 1)


def on(asked: Finetune | Learn | Probe, dataset: str, task: str, split: str, seed: int = 0) -> Finetune | Learn | Probe:
    """The same settings, put to a set and a seed, which published weights under a learner do not know."""
    if isinstance(asked, Learn):
        of_weights = seed if asked.initial.initial == "random" else 0
        embedded = replace(asked.initial, dataset=dataset, task=task, split=split, seed=of_weights)
        asked = replace(asked, initial=embedded)
    return replace(asked, dataset=dataset, task=task, split=split, seed=seed)


def named(initial: str | Settings) -> str:
    """What a start is called, as the ledger of published numbers names it: "random", "resnet50", "random, then DINO on
    fracatlas and kneekl, training parts". Of a training: what that one started from."""
    if isinstance(initial, Finetune | Embed):
        return named(initial.initial)
    if isinstance(initial, Pretrain):
        shown = initial.parts()
        told = f"{named(initial.initial)}, then DINO on {' and '.join(name for name, _, _ in shown)}"
        return told if all(split == "all" for _, split, _ in shown) else f"{told}, {TRAINING_PARTS}"
    return Path(initial).stem if "/" in initial or "." in initial else initial


def identity(asked: Settings, data: Mapping, initial: Mapping) -> dict:
    """What a fit is: its recipe, the settings that differ from the recipe's defaults, its data and its start by their
    hashes. data may hold `version`, a name, which does not count, nor does the name of a file that it starts from."""
    given = {name: value for name, value in asdict(asked).items() if name not in ("initial", *asked.operational)}
    default = {one.name: one.default for one in fields(asked)}
    start = {name: initial[name] for name in ("sha256", "fit") if initial.get(name)}
    if isinstance(asked, Embed) and isinstance(asked.initial, str) and start:
        start["encoder"] = asked.initial  # which says how the file is read and what images it is shown
    return {
        "recipe": asked.recipe,
        "settings": {name: value for name, value in given.items() if value != default[name]},
        "data": {name: value for name, value in data.items() if name != "version"},
        "initial": start or "random",
    }


def key(identity: Mapping) -> str:
    """16 hexadecimal digits of an `identity`."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def golden(recipe: str) -> str | None:
    """Hash of the golden file of a recipe, 16 digits; None where there is none, as for a recipe of before."""
    file = paths.project() / "tests" / "golden" / f"{recipe}.json"
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else None


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
