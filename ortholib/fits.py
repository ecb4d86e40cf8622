"""Fits: every trained thing, stored by its key, made once.

A fit lives in `runs/<edition>/fits/<key>/`; key = hash of its settings, its data (pixels, labels, split),
its initial weights and the code that makes it. Asking again returns the stored one; a killed one goes on.
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
from dataclasses import MISSING, asdict, dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from types import UnionType

import pandas as pd

from ortholib import encoders, locks, paths, provenance, tasks
from ortholib.classify.probesettings import Probe
from ortholib.classify.settings import Finetune
from ortholib.classify.transfersettings import Transfer
from ortholib.dino.settings import Pretrain
from ortholib.errors import OrthoError, UsageError

Settings = Finetune | Pretrain | Probe | Transfer


_SHARED: ContextVar[dict | None] = ContextVar("shared", default=None)  # what the fits of one call have in common


def _once(function: Callable, *arguments):
    """The function's value, worked out once for all fits of `ensure_all`."""
    known = _SHARED.get()
    if known is None:
        return function(*arguments)
    if (function, arguments) not in known:
        known[function, arguments] = function(*arguments)
    return known[function, arguments]


def _labelled(asked: Finetune | Probe | Transfer, edition: str):
    fraction = asked.fraction if isinstance(asked, Finetune) else 1.0
    return _once(tasks.prepare, asked.dataset, asked.task, asked.split, asked.size, edition, fraction)


def _unlabelled(asked: Pretrain, edition: str):
    from ortholib.dino import sets

    return _once(sets.prepare, asked, edition)


# kind -> its settings, what its data are, and the module whose `train(data, settings, folder)` makes it (imported when
# needed: it is slow)
KINDS = {
    "finetune": (Finetune, _labelled, "ortholib.classify.finetune"),
    "pretrain": (Pretrain, _unlabelled, "ortholib.dino.pretrain"),
    "probe": (Probe, _labelled, "ortholib.classify.probe"),
    "transfer": (Transfer, _labelled, "ortholib.classify.transfer"),
}


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
        # under the same name: a fit that starts from it has its name and content in its key
        return shards.joined(parts, paths.runs() / "weights" / self.key / file.name)


def settings(spec: dict) -> Settings:
    """Settings from a mapping with `kind` and that kind's fields.

    Raises UsageError naming an unknown kind, an unknown or missing field, or a value of the wrong type.
    """
    spec = dict(spec)
    kind = spec.pop("kind", None)
    if kind not in KINDS:
        raise UsageError(f"fit kind '{kind}' is unknown; known: {', '.join(KINDS)}.")
    shape = KINDS[kind][0]
    known = {field.name: field for field in fields(shape)}
    for name, value in spec.items():
        if name not in known:
            raise UsageError(f"'{name}' is no setting of a {kind} fit; known: {', '.join(known)}.")
        wanted = known[name].type
        if name == "initial" and isinstance(value, dict):
            spec[name] = value = settings(value)
        if wanted is tuple and type(value) is list:
            spec[name] = value = tuple(value)
        if wanted is float and type(value) is int:
            spec[name] = float(value)
        elif not (isinstance(value, wanted) if isinstance(wanted, UnionType) else type(value) is wanted):
            raise UsageError(f"{kind} setting {name} = {value!r} is no {getattr(wanted, '__name__', wanted)}.")
    missing = [name for name, field in known.items() if name not in spec and field.default is MISSING]
    if missing:
        raise UsageError(f"a {kind} fit needs {', '.join(missing)}.")
    return shape(**spec)


def modules(asked: Settings) -> set[Path]:
    """Files of `ortholib` that make a fit of these settings: its trainer, and this module with what it prepares."""
    return provenance.modules_used(f"import ortholib.fits, {_kind(asked)[2]}")


def _kind(asked: Settings) -> tuple:
    """(name, function that prepares the data, module of the trainer)."""
    return next((name, *rest) for name, (shape, *rest) in KINDS.items() if shape is type(asked))


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
        raise UsageError(f"a {_kind(asked)[0]} fit runs in one process; only a pretraining is shared out by torchrun.")
    from ortholib.dino import parallel

    with parallel.group():
        if parallel.first():
            return _ensure(asked, edition, parallel.told)
        # the first process holds the lock, decides and writes; the others train along where it trains
        _, prepare, module = _kind(asked)
        data, partial = prepare(asked, edition), parallel.told(None)
        if partial is not None:
            import_module(module).train(data, _started(asked, edition)[0], partial)
        return Fit(*parallel.told(None))


def _ensure(asked: Settings, edition: str, tell=lambda value: value) -> Fit:
    """`ensure` in one process; tell: passes on whether and where it trains, and the finished fit."""
    kind, prepare, module = _kind(asked)
    data = prepare(asked, edition)
    asked, initial = _started(asked, edition)
    code = _once(_code, module)
    settled = asdict(asked) | {"initial": initial["source"]}
    identity = {"kind": kind, "settings": settled, "data": data.identity, "initial": initial, "code": code}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    folder, promoted = stored(paths.runs(), edition, key), stored(paths.project() / "results", edition, key)
    if not folder.is_dir() and (promoted / "run.json").is_file():
        tell(None)
        folder = promoted
    else:
        with locks.held(folder):
            make = not (folder / "run.json").is_file()
            tell(_partial(folder) if make else None)
            if make:
                _make(import_module(module).train, data, asked, folder, {"key": key, "edition": edition, **identity})
    fit = Fit(key, folder, json.loads((folder / "run.json").read_text()))
    tell((fit.key, fit.folder, fit.record))
    return fit


def _code(module: str) -> str:
    """Hash of the code of a trainer."""
    return provenance.code_hash(provenance.modules_used(f"import {module}"))


def _started(asked: Settings, edition: str) -> tuple[Settings, dict]:
    """The settings with `random` or a file as `initial`, made now where it is a fit, and what a key says of it."""
    start = asked.initial
    if isinstance(start, Finetune):  # by its key: a promoted one is there without its weights
        made = ensure(start, edition)
        return replace(asked, initial=str(made.folder / "weights.safetensors")), {"source": "finetune", "fit": made.key}
    if isinstance(start, Pretrain):
        start = str(ensure(start, edition).backbone)
    elif start in encoders.ENCODERS:
        start = str(encoders.find(start, edition))
    weights = Path(start)
    if weights.is_file():  # the content counts, not the folder it lies in
        told = {"source": weights.name, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    else:
        told = {"source": start, "sha256": None}
    return replace(asked, initial=start), told


def _partial(folder: Path) -> Path:
    return folder.with_name(folder.name + ".partial")


def stored(root: Path, edition: str, key: str) -> Path:
    """Folder of a fit under `runs/` or `results/`."""
    return root / edition / "fits" / key


def _make(train, data, asked, folder: Path, record: dict) -> None:
    partial, failed = _partial(folder), folder.with_name(folder.name + ".failed")
    partial.mkdir(parents=True, exist_ok=True)
    resumed = any(partial.iterdir())
    started, made_by = time.time(), provenance.record()  # the code that runs, whatever is committed meanwhile
    try:
        made = train(data, asked, partial)
    except Exception as error:
        (partial / "error.txt").write_text(f"{type(error).__name__}: {error}\n")
        shutil.rmtree(failed, ignore_errors=True)
        partial.replace(failed)
        if isinstance(error, OrthoError):
            raise
        raise OrthoError(f"{failed}: the fit failed with {type(error).__name__}: {error}") from error
    record |= made_by | made
    record |= {
        "status": "done",
        "resumed": resumed,  # then the times are those of the last session only
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "wall_seconds": round(time.time() - started, 1),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    (partial / "run.json").write_text(json.dumps(record, indent=1))
    partial.replace(folder)
