"""The data sets of the study: what they are, where they lie, and how they are read."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ortholib import duplicates, paths, phantom
from ortholib.datasets import fracatlas, kneekl
from ortholib.datasets.base import ImageSet
from ortholib.errors import OrthoError, UsageError

__all__ = ["SETS", "ImageSet", "SetCard", "load", "locate"]


@dataclass(frozen=True)
class SetCard:
    """A data set that the study knows.

    patients: whether the release says which images belong to one patient. label: the main one.
    folders: the names its folder goes by under the data root.
    """

    name: str
    title: str
    licence: str
    registration: bool
    patients: bool
    label: str
    where: str
    folders: tuple[str, ...]
    read: Callable[[Path], ImageSet]


SETS = {
    card.name: card
    for card in (
        SetCard(
            "fracatlas",
            "FracAtlas: fractures of hand, leg, hip and shoulder",
            "CC BY 4.0",
            False,
            False,
            "fractured",
            "doi 10.6084/m9.figshare.22363012",
            ("FracAtlas", "fracatlas"),
            fracatlas.read,
        ),
        SetCard(
            "kneekl",
            "Knee Osteoarthritis Severity Grading: Kellgren-Lawrence grades",
            "CC BY 4.0",
            False,
            True,
            "kl",
            "doi 10.17632/56rmx5bjcr.1",
            ("kneeKL224", "KneeXrayData/ClsKLData/kneeKL224", "kneekl", "archive"),
            kneekl.read,
        ),
    )
}


def locate(name: str, edition: str = "real", root: str | Path | None = None) -> Path:
    """Folder of a set: `root` where given, else the phantom's (edition `phantom`), else under `$ORTHOLIB_DATA`.

    Raises UsageError for a name that is not registered, OrthoError with the next step for an absent folder.
    """
    card = _card(name)
    if root:
        folder = Path(root).expanduser().resolve()
        if not folder.is_dir():
            raise OrthoError(f"{folder} is not a folder; expected the root of {card.title} ({card.where}).")
        return next((folder / sub for sub in card.folders if (folder / sub).is_dir()), folder)
    base = phantom.ensure() if edition == "phantom" else paths.data_root()
    if base is None:
        raise OrthoError(
            f"ORTHOLIB_DATA is not set, so {name} cannot be found. Set it to the folder that holds "
            f"{card.folders[0]}/, or name the folder itself with --root. {card.title}: {card.where}."
        )
    for sub in card.folders:
        if (base / sub).is_dir():
            return base / sub
    raise OrthoError(
        f"{base} holds none of the folders {', '.join(card.folders)}; expected {card.title}. "
        f"Get it from {card.where} and unpack it there."
    )


def load(name: str, edition: str = "real", root: str | Path | None = None) -> ImageSet:
    """Read a registered set (see `locate` for where it is looked for).

    Where the release names no patient, the group of an image is its near-duplicate group. The version of
    generated images says that they are.
    """
    card = _card(name)
    image_set = card.read(locate(name, edition, root))
    if (image_set.root.parent / "PHANTOM.txt").is_file():
        image_set = replace(image_set, version="phantom, generated images")
    return image_set if card.patients else duplicates.grouped(image_set)[0]


def summary(image_set: ImageSet) -> dict:
    """One row of an overview: what a set holds."""
    images = image_set.images
    values = image_set.label(_card(image_set.name).label)
    return {
        "set": image_set.name,
        "release": image_set.version,
        "images": len(images),
        "readable": int(images["readable"].sum()),
        "groups": int(images["group"].nunique()),
        "label": _card(image_set.name).label,
        "values": ", ".join(f"{k:.0f}: {n:,}" for k, n in values.value_counts().sort_index().items()),
        "boxes": len(image_set.boxes),
    }


def fingerprint(name: str, edition: str = "real", root: str | Path | None = None) -> str:
    """Hash of a set's file names, sizes and times: changes when the data on disk do, without reading them."""
    folder = locate(name, edition, root)
    files = sorted((str(f.relative_to(folder)), f.stat()) for f in folder.rglob("*") if f.is_file())
    state = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in files]
    return hashlib.sha256(repr(state).encode()).hexdigest()[:16]


def _card(name: str) -> SetCard:
    if name not in SETS:
        raise UsageError(f"'{name}' is no registered data set; known: {', '.join(SETS)}.")
    return SETS[name]
