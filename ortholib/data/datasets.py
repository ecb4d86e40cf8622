"""The data sets of the study, and a user's own by manifest: where they lie, and how they are read."""

import hashlib
from dataclasses import replace
from pathlib import Path

from ortholib import paths
from ortholib.data import copies, manifest
from ortholib.data.registry import CARDS, SetCard
from ortholib.data.table import ImageSet
from ortholib.errors import OrthoError, UsageError

__all__ = ["SETS", "ImageSet", "SetCard", "describe", "load", "locate", "main_label"]

SETS = {card.name: card for card in CARDS}


def is_manifest(name: str) -> bool:
    """Whether this names a manifest file and not a registered set."""
    return Path(name).suffix.lower() in manifest.SUFFIXES


def locate(name: str, edition: str = "real", root: str | Path | None = None) -> Path:
    """Folder of a set: `root` where given, else the phantom's (edition `phantom`), else under `$ORTHOLIB_DATA`.

    Raises UsageError for a name that is not registered, OrthoError with the next step for an absent folder.
    """
    card = describe(name)
    if root:
        folder = Path(root).expanduser().resolve()
        if not folder.is_dir():
            raise OrthoError(f"{folder} is not a folder; expected the root of {card.title} ({card.where}).")
        return next((folder / sub for sub in card.folders if (folder / sub).is_dir()), folder)
    base = paths.data_root(edition)
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
        f"To get it: {card.get} ({card.where})."
    )


def load(name: str, edition: str = "real", root: str | Path | None = None) -> ImageSet:
    """Read a registered set (see `locate` for where it is looked for), or a manifest (its paths are below its own
    folder, or below `root`).

    Where the release names no patient, the group of an image is its near-duplicate group. The version of
    generated images says that they are.
    """
    if is_manifest(name):
        image_set = manifest.read(Path(name).expanduser(), Path(root).expanduser() if root else None)
    else:
        image_set = describe(name).read(locate(name, edition, root))
    if (image_set.root.parent / "PHANTOM.txt").is_file():
        image_set = replace(image_set, version="phantom, generated images")
    named = name not in SETS or SETS[name].patients
    return image_set if named else copies.grouped(image_set)[0]


def main_label(image_set: ImageSet, asked: str | None = None) -> str | None:
    """The label asked for, else the set's main one, else a manifest's first; None where it has none.

    Raises OrthoError for a label the set does not have.
    """
    known = image_set.labels["label"].drop_duplicates().tolist()
    if asked is not None:
        image_set.label(asked)
        return asked
    main = SETS[image_set.name].label if image_set.name in SETS else None
    return main if main in known else next(iter(known), None)


def summary(image_set: ImageSet) -> dict:
    """One row of an overview: what a set holds."""
    images, label = image_set.images, main_label(image_set)
    counts = image_set.label(label).value_counts().sort_index() if label else {}
    return {
        "set": image_set.name,
        "release": image_set.version,
        "images": len(images),
        "readable": int(images["readable"].sum()),
        "groups": int(images["group"].nunique()),
        "label": label,
        "values": ", ".join(f"{k:.0f}: {n:,}" for k, n in counts.items()),
        "boxes": len(image_set.boxes),
    }


def fingerprint(name: str, edition: str) -> str:
    """Hash of a set's file names, sizes and times: changes when the data on disk do, without reading them."""
    folder = locate(name, edition)
    files = sorted((str(f.relative_to(folder)), f.stat()) for f in folder.rglob("*") if f.is_file())
    state = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in files]
    return hashlib.sha256(repr(state).encode()).hexdigest()[:16]


def describe(name: str) -> SetCard:
    """What is known of a registered set. Raises UsageError for another name."""
    if name not in SETS:
        raise UsageError(f"'{name}' is no registered data set; known: {', '.join(SETS)}.")
    return SETS[name]
