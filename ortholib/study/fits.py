"""Fits: every trained thing, stored by its key, made once.

A fit lives in `runs/<edition>/fits/<key>/`; key = hash of its recipe, its settings, its data (pixels, labels, split)
and its initial weights (`settings.identity`). Asking again returns the stored one; a killed one goes on.
A promoted chapter keeps its fits in `results/<edition>/fits/<key>/`, so that its tables and figures can be made again
where nobody can train; of the weights only pretrained backbones, in `results/weights/<key>/`.
"""

import hashlib
import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import pandas as pd

from ortholib import locks, paths, settings
from ortholib.data import tasks
from ortholib.encoders import registry
from ortholib.errors import OrthoError, UsageError
from ortholib.settings import Embed, Finetune, Learn, Pretrain, Probe, Settings, Transfer
from ortholib.study import provenance

_SHARED: ContextVar[dict | None] = ContextVar("shared", default=None)  # what the fits of one call have in common


def _once(function: Callable, *arguments):
    """The function's value, worked out once for all fits of `ensure_all`."""
    known = _SHARED.get()
    if known is None:
        return function(*arguments)
    if (function, arguments) not in known:
        known[function, arguments] = function(*arguments)
    return known[function, arguments]


# settings -> the module whose `train(data, settings, folder, weights)` makes the fit (imported when needed: it is slow)
TRAINERS = {
    Embed: "ortholib.encoders.embed",
    Learn: "ortholib.classify.learn",
    Finetune: "ortholib.classify.finetune",
    Pretrain: "ortholib.dino.pretrain",
    Probe: "ortholib.classify.probe",
    Transfer: "ortholib.classify.transfer",
}


def _prepared(asked: Settings, edition: str):
    """What a fit is made from: arrays with the `identity` of the data."""
    if isinstance(asked, Pretrain):
        from ortholib.dino import corpus

        return _once(corpus.prepare, asked, edition)
    missing = [name for name in ("dataset", "task", "split") if not getattr(asked, name)]
    if missing:
        raise UsageError(f"a {_kind(asked)} fit needs {', '.join(missing)}.")
    fraction = asked.fraction if isinstance(asked, Finetune) else 1.0
    return _once(tasks.prepare, asked.dataset, asked.task, asked.split, asked.size, edition, fraction)


def _kind(asked: Settings) -> str:
    return asked.recipe.split("/")[0]


@dataclass(frozen=True)
class Fit:
    """A finished fit. record: the content of its `run.json`."""

    key: str
    folder: Path
    record: dict

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch."""
        return pd.read_parquet(self.folder / "history.parquet")

    @property
    def predictions(self) -> pd.DataFrame:
        """Scores of validation and test images."""
        return pd.read_parquet(self.folder / "predictions.parquet")

    @property
    def courses(self) -> pd.DataFrame:
        """Scores of the validation images after each epoch of a training with two classes."""
        return pd.read_parquet(self.folder / "courses.parquet")

    @property
    def backbone(self) -> Path:
        """File of a pretraining's weights; those of a promoted one are put together from their parts first."""
        file = self.folder / "backbone.safetensors"
        if file.is_file():
            return file
        from ortholib.dino import shards

        parts = paths.project() / "results" / "weights" / self.key
        return shards.joined(parts, paths.runs() / "weights" / self.key / file.name)


def ensure_all(asked: Iterable[Settings], edition: str) -> list[Fit]:
    """`ensure` of one after another; what they have in common is read once."""
    before = _SHARED.set({})
    try:
        return [ensure(one, edition) for one in asked]
    finally:
        _SHARED.reset(before)


def ensure(asked: Settings, edition: str) -> Fit:
    """The stored fit of these settings, this machine's own or a promoted one, made now where it is missing.

    While it is made its folder is `<key>.partial`; a failure leaves `<key>.failed` with `error.txt`.
    A pretraining may be asked for by several processes together, started by torchrun.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return _ensure(asked, edition)
    if not isinstance(asked, Pretrain):
        raise UsageError(f"a {_kind(asked)} fit runs in one process; only a pretraining is shared out by torchrun.")
    from ortholib.dino import parallel

    with parallel.group():
        if parallel.first():
            return _ensure(asked, edition, parallel.told)
        # the first process holds the lock, decides and writes; the others train along where it trains
        data, partial = _prepared(asked, edition), parallel.told(None)
        if partial is not None:
            _trainer(asked)(data, asked, partial, _started(asked, edition)[0])
        return Fit(*parallel.told(None))


def _ensure(asked: Settings, edition: str, tell=lambda value: value, here: bool = False) -> Fit:
    """`ensure` in one process; tell: passes on whether and where it trains, and the finished fit. here: a promoted fit
    will not do, since it comes without its largest files."""
    data = _prepared(asked, edition)
    weights, initial = _started(asked, edition)
    key = settings.key(settings.identity(asked, data.identity, initial))
    folder, promoted = stored(paths.runs(), edition, key), stored(paths.project() / "results", edition, key)
    if not here and not folder.is_dir() and (promoted / "run.json").is_file():
        tell(None)
        folder = promoted
    else:
        with locks.held(folder):
            make = not (folder / "run.json").is_file()
            tell(_partial(folder) if make else None)
            if make:
                if weights is None and asked.initial in registry.ENCODERS:
                    registry.find(asked.initial, edition)  # says the way to what is not here
                if isinstance(asked.initial, Embed):
                    weights = features(asked.initial, edition)
                record = {"key": key, "edition": edition, "recipe": asked.recipe}
                record |= {"golden": settings.golden(asked.recipe), "settings": asdict(asked)}
                _make(data, asked, folder, weights, record | {"data": data.identity, "initial": initial})
    fit = Fit(key, folder, json.loads((folder / "run.json").read_text()))
    tell((fit.key, fit.folder, fit.record))
    return fit


def features(asked: Embed, edition: str) -> Path:
    """The file `features.npy` of an embedding, made on this machine where only a promoted one is there, which comes
    without it."""
    file = ensure(asked, edition).folder / "features.npy"
    return file if file.is_file() else _ensure(asked, edition, here=True).folder / file.name


def _trainer(asked: Settings) -> Callable:
    return import_module(TRAINERS[type(asked)]).train


def _started(asked: Settings, edition: str) -> tuple[Path | None, dict]:
    """The file of the initial weights (None: random numbers), made now where it is of a fit, and what is recorded of
    it: what it is called and, for the key, its content."""
    start = asked.initial
    if start == "random":
        return None, {"source": "random"}
    if isinstance(start, Finetune):  # by its key: a promoted one is there without its weights
        made = ensure(start, edition)
        return made.folder / "weights.safetensors", {"source": settings.named(start), "fit": made.key}
    if isinstance(start, Embed):
        made = ensure(start, edition)
        return made.folder / "features.npy", {"source": settings.named(start), "fit": made.key}
    if isinstance(start, Pretrain):
        weights = ensure(start, edition).backbone
    elif start not in registry.ENCODERS:
        weights = Path(start)
    elif digest := promoted_start(start, edition):
        return None, {"source": start, "sha256": digest}
    else:
        weights = registry.find(start, edition)
    told = {"source": settings.named(start)}
    # the content counts, not the name of the file; a trainer says of an absent one what is wrong
    return weights, told | {"sha256": _once(_digest, weights) if weights.is_file() else str(weights)}


def promoted_start(name: str, edition: str) -> str:
    """The sha256 of published weights that are not here, as a promoted fit that started from them says; "" where they
    are here or none did. With it such fits are found where the weights cannot be had."""
    if edition == "phantom" or not registry.absent(name):
        return ""
    for file in (paths.project() / "results" / edition / "fits").glob("*/run.json"):
        told = json.loads(file.read_text())["initial"]
        if told.get("source") == name and "sha256" in told:
            return told["sha256"]
    return ""


def _digest(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _partial(folder: Path) -> Path:
    return folder.with_name(folder.name + ".partial")


def stored(root: Path, edition: str, key: str) -> Path:
    """Folder of a fit under `runs/` or `results/`."""
    return root / edition / "fits" / key


def _make(data, asked: Settings, folder: Path, weights: Path | None, record: dict) -> None:
    partial, failed = _partial(folder), folder.with_name(folder.name + ".failed")
    partial.mkdir(parents=True, exist_ok=True)
    resumed = any(partial.iterdir())
    started, made_by = time.time(), provenance.record()  # the code that runs, whatever is committed meanwhile
    try:
        made = _trainer(asked)(data, asked, partial, weights)
    except Exception as error:
        (partial / "error.txt").write_text(f"{type(error).__name__}: {error}\n")
        shutil.rmtree(failed, ignore_errors=True)
        partial.replace(failed)
        if isinstance(error, OrthoError):
            raise
        raise OrthoError(f"{failed}: the fit failed with {type(error).__name__}: {error}") from error
    record |= {"made_by": made_by} | made
    record |= {
        "status": "done",
        "resumed": resumed,  # then the times are those of the last session only
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "wall_seconds": round(time.time() - started, 1),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    (partial / "run.json").write_text(json.dumps(record, indent=1))
    partial.replace(folder)
