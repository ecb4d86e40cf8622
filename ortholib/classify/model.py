"""A trained classifier ready for use: one safetensors file whose head says all that a score needs beside the weights.

Scores are computed in float32 wherever that is done, so that one file gives the same ones on every machine.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError, safe_open

from ortholib import machine, settings, wording
from ortholib.classify import heads
from ortholib.data import tasks
from ortholib.data.labelled import Labelled
from ortholib.encoders import explain, load, registry
from ortholib.encoders.preprocess import Grey, normalise
from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import calibration
from ortholib.metrics.scores import expected_grade
from ortholib.settings import Finetune

HEAD = "ortholib"  # entry of the file's head that holds the facts as JSON
NAMES = ("model.safetensors", "weights.safetensors")  # in the folder of a promoted network, and of a fit
KINDS = ("binary", "ordinal")


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Facts:
    """What turns a file of weights into scores.

    recipe: of the training, such as `finetune/1`. size: side of the letterboxed squares in pixels. grey: mean and
    standard deviation by which grey values from 0 to 1 are shifted and scaled. head: see `classify.heads`. classes:
    their names. kind: `binary` or `ordinal`. sides: whether left images are shown mirrored, as right ones.
    temperature: fitted on validation, see `calibration.scaled`. threshold: of score_1, chosen on validation; None for
    grades, and where nobody chose.
    """

    recipe: str
    backbone: str
    size: int
    grey: settings.Numbers
    head: str
    classes: settings.Texts
    kind: str
    task: str
    sides: bool
    temperature: float = 1.0
    threshold: float | None = None

    @property
    def rule(self) -> str:
        """How an image is called, in words."""
        if self.kind == "ordinal":
            return "The grade nearest to the expectation under the scores is called; of two, the higher."
        if self.threshold is None:
            return "No threshold was chosen, so nothing is called."
        return f"'{self.classes[1]}' is called where score_1 is at least {self.threshold:.6g} (chosen on validation)."

    def called(self, proba: np.ndarray) -> np.ndarray | None:
        """The class (n,) called by the scores (n, k); None for two classes without a threshold."""
        if self.kind == "ordinal":
            return expected_grade(proba)
        return None if self.threshold is None else (proba[:, 1] >= self.threshold).astype(np.int64)


class Model(NamedTuple):
    """A network in evaluation mode, on the device that `machine.pick` names."""

    facts: Facts
    network: torch.nn.Module

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Probabilities (B, k) float64, as trained (temperature 1), of uint8 squares (B, S, S), left ones mirrored."""
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self.network(self._shown(batch)).double().softmax(1).cpu().numpy()

    def heat(self, batch: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Grad-CAM (B, S, S), 0 to 1, of what speaks for `classes` (B,): the log-odds of each against all others."""
        wanted = torch.from_numpy(classes).to(next(self.network.parameters()).device)[:, None]

        def odds(logits: torch.Tensor) -> torch.Tensor:
            others = logits.scatter(1, wanted, -torch.inf)
            return logits.gather(1, wanted).squeeze(1) - others.logsumexp(1)

        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return explain.gradcam(self.network, self._shown(batch), odds).cpu().numpy()

    def _shown(self, batch: np.ndarray) -> torch.Tensor:
        size = self.facts.size
        if batch.dtype != np.uint8 or batch.shape[1:] != (size, size):
            raise UsageError(f"images {batch.dtype} {batch.shape}; expected uint8 squares (B, {size}, {size}).")
        images = torch.tensor(np.ascontiguousarray(batch)).to(next(self.network.parameters()).device)
        return normalise(images, Grey(*self.facts.grey)).contiguous(memory_format=torch.channels_last)


def trained(data: Labelled, asked: Finetune, grey: Grey) -> Facts:
    """What a training of these settings on these images leaves."""
    sides = asked.task in tasks.TASKS and tasks.TASKS[asked.task].sides
    made = (asked.recipe, asked.backbone, asked.size, tuple(grey), asked.head, tuple(data.classes))
    return Facts(*made, data.kind, asked.task, sides)


def head(facts: Facts) -> dict[str, str]:
    """The head of a file of weights."""
    return {"backbone": facts.backbone, "in_chans": "1", HEAD: json.dumps(asdict(facts))}


def rounded(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights in half the bytes: kernels and matrices as bfloat16; vectors, which are few, as they are."""
    return {
        name: (value.to(torch.bfloat16) if value.is_floating_point() and value.ndim > 1 else value).cpu().contiguous()
        for name, value in state.items()
    }


def read(place: Path) -> Model:
    """The network in a file, or in the folder of a promoted network or of a fit.

    Of a fit, threshold and temperature are those of its validation images. Raises OrthoError for a folder without one,
    for a damaged file, one of a recipe that this code does not know, of other input channels or weights that do not
    fit; never guesses.
    """
    file = place
    if place.is_dir():
        file = next((place / name for name in NAMES if (place / name).is_file()), None)
        if file is None:
            raise OrthoError(
                f"{place} holds no trained network; expected a file {' or '.join(NAMES)} in it.{_why(place)}"
            )
    elif not place.is_file():
        raise OrthoError(f"{place} is not there; expected a file of weights (.safetensors) or the folder of one.")
    told, state = _content(file)
    record = _record(file) if file.name == NAMES[1] else {}
    facts = _facts(file, told, record)
    if facts.threshold is None and facts.temperature == 1 and record:
        facts = _chosen(facts, file.parent, record)
    return Model(facts, filled(file, facts, state))


def filled(file: Path, facts: Facts, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """The network of these facts with these weights, float32, ready to score. `file` is what errors name."""
    network = load.build(facts.backbone, None, 0, len(facts.classes))
    network = heads.put(network, facts.head, len(facts.classes))
    broken = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise OrthoError(f"{file}: the weights {broken[0]} are not finite numbers; bring the file again.")
    try:
        network.load_state_dict(dict(state))  # copied into the network's own float32
    except RuntimeError as error:
        raise OrthoError(
            f"{file} does not fit {facts.backbone} with {len(facts.classes)} classes and the head {facts.head}, which "
            f"its head names: {str(error).splitlines()[-1].strip()} Bring the file again."
        ) from error
    machine.keep_memory()
    return network.to(machine.pick(), memory_format=torch.channels_last).eval().requires_grad_(False)


def _why(place: Path) -> str:
    """What such a folder is instead, where that can be told."""
    if (place / "model.safetensors.index.json").is_file() or (place / "backbone.safetensors").is_file():
        return " This is a pretrained backbone, which gives no classes: train it first (`initial` of a fit)."
    return " Its weights were left out when it was promoted." if (place / "run.json").is_file() else ""


def _content(file: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    try:
        with safe_open(file, "pt") as stored:
            return stored.metadata() or {}, {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise OrthoError(
            f"{file} is no readable safetensors file ({wording.one_line(error)}); bring it again, it may be cut off."
        ) from error


def _record(file: Path) -> dict:
    """The record of the fit that a file is of; empty where it lies alone."""
    beside = file.with_name("run.json")
    return json.loads(beside.read_text()) if beside.is_file() else {}


def _facts(file: Path, told: Mapping[str, str], record: Mapping) -> Facts:
    try:
        facts = json.loads(told[HEAD]) if HEAD in told else _of_record(record)
        recipe = facts.get("recipe", "none")
    except (ValueError, LookupError, AttributeError) as error:
        raise OrthoError(f"{file}: its head or its run.json is damaged ({error}); bring it again.") from error
    _check_recipe(file, recipe)
    if told.get("in_chans", "1") != "1":
        raise OrthoError(f"{file} is for images of {told['in_chans']} channels; expected one, as radiographs have.")
    try:
        made = Facts(**facts)
    except ValidationError as error:
        what = ".".join(map(str, error.errors()[0]["loc"]))
        raise OrthoError(f"{file}: '{what}' in its head: {settings.said(error)}; bring the file again.") from error
    sound = made.kind in KINDS and len(made.classes) >= 2 and (made.kind == "ordinal" or len(made.classes) == 2)
    if not (sound and made.size >= 8 and len(made.grey) == 2 and made.grey[1] > 0 and made.temperature > 0):
        raise OrthoError(f"{file}: its head makes no sense ({told.get(HEAD, 'run.json')}); bring the file again.")
    return made


def _of_record(record: Mapping) -> dict:
    """Facts of a fit whose file of weights was written before its head held them."""
    if not record:
        return {}
    asked, known = record["settings"], tasks.TASKS
    if "task" not in asked or asked["task"] not in known:
        return {"recipe": record["recipe"]}
    task = known[asked["task"]]
    facts = {"recipe": record["recipe"], "backbone": asked["backbone"], "size": asked["size"], "task": asked["task"]}
    facts |= {"grey": tuple(registry.grey(asked["initial"])), "head": asked.get("head", "softmax")}
    return facts | {"classes": task.classes, "kind": task.kind, "sides": task.sides}


def _check_recipe(file: Path, recipe: str) -> None:
    ours, number = Finetune.recipe.split("/")
    kind, _, its = str(recipe).partition("/")
    if kind != ours or not its.isdigit():
        raise OrthoError(
            f"{file}: recipe {recipe}; expected a trained classifier ({ours}/{number} or before), written by "
            "`ortholib fit` or promoted by `ortholib results promote-model`."
        )
    if int(its) > int(number):
        raise OrthoError(
            f"{file} was made by the recipe {recipe}, and this code knows {ours} up to {number}: it would be scored "
            "wrongly. Update ortholib."
        )


def _chosen(facts: Facts, folder: Path, record: Mapping) -> Facts:
    """The facts with what a fit's validation images chose."""
    more = {"threshold": record.get("threshold")}
    if (folder / "predictions.parquet").is_file():
        frame = pd.read_parquet(folder / "predictions.parquet")
        more["temperature"] = fitted_temperature(frame[frame["part"] == "val"])
    return replace(facts, **more)


def fitted_temperature(validation: pd.DataFrame) -> float:
    """The temperature of these predictions; 1 where there are none."""
    columns = sorted(validation.filter(regex=r"^score_\d+$"))
    return calibration.temperature(validation["y_true"], validation[columns]) if len(validation) else 1.0
