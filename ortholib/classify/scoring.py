"""A trained network on a user's images: every image gets its scores, or the reason why it has none."""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from ortholib import progress, wording
from ortholib.classify.model import Model
from ortholib.data import dicom, files, manifest, pixels, plausible, template
from ortholib.data.files import Plane
from ortholib.errors import OrthoError, UsageError
from ortholib.metrics import calibration
from ortholib.metrics.scores import expectation

BATCH = 64
SIDES = ("auto", "L", "R", "none")
# a last letter of its own, as in 9003175L.png, knee_r.dcm and 9003175L (1).jpg, but not in ankle or hear
NAMED = re.compile(r"(?:^|[^A-Za-z])([LR])(?:[ _]?\(\d+\))?$", re.IGNORECASE)
LATERALITY = ("ImageLaterality", "Laterality")


class Found(NamedTuple):
    """planes: where each image's pixels are, by its name (the path below the folder, `<path>#<frame>` in a file of
    several planes). sides: `L`, `R` or "" (unknown) of each. left_out: reasons, by path. notes: of the manifest."""

    planes: dict[str, Plane]
    sides: dict[str, str]
    left_out: dict[str, str]
    notes: list[str]


class Seen(NamedTuple):
    """One scored image as it lies in its file, for a picture: pixels (H, W) uint8, heat (H, W) 0 to 1, the class that
    is explained, and its confidence."""

    name: str
    pixels: np.ndarray
    heat: np.ndarray
    call: str
    confidence: float


def find(path: Path, root: Path | None = None) -> Found:
    """The images of a folder (with all folders below), of one file, or of a manifest, whose paths are below `root`.

    Sides come from the header of a DICOM file, the column `plane` of a manifest (L or R), or the last letter of the
    name. Raises OrthoError where there is no image at all.
    """
    if path.suffix.lower() in manifest.SUFFIXES and path.is_file():
        return _listed(path, root)
    if root is not None:
        raise UsageError(f"--root is the folder of a manifest's images, and {path} is no manifest (.csv or .parquet).")
    if path.is_dir():
        folder = path.resolve()
        walked, left_out = template.walk(folder)
        inside = sorted(name for name, _ in walked)
    elif path.is_file():
        folder, inside, left_out = path.resolve().parent, [path.name], {}
    else:
        raise OrthoError(f"{path} is not there; expected a folder of images, one image, or a manifest.")
    found = Found({}, {}, left_out, [])
    for name in progress.bar(inside, desc="looking", unit="file"):
        try:
            n = files.frames(folder / name)
            if n > manifest.MAX_PLANES:
                raise ValueError(f"more than {manifest.MAX_PLANES:,} planes")
            side = _side(folder / name)
        except files.UNREADABLE as error:
            left_out[name] = files.reason(error)
            continue
        for frame in range(n):
            image = name if n == 1 else f"{name}#{frame}"
            found.planes[image], found.sides[image] = Plane(folder / name, frame), side
    if not found.planes:
        raise OrthoError(_nothing(path, left_out))
    return found


def score(
    model: Model, found: Found, side: str = "auto", picture: Callable[[Seen], None] | None = None
) -> pd.DataFrame:
    """One row an image, those left out last, sorted by `file`.

    side: of all images where it is `L` or `R`; `auto` takes what was found, and an unknown one is shown as it lies, as
    with `none`. picture: called for each image with its heat map. Columns: file, side ("" where unknown or where the
    network does not ask), mirrored, score_k (as the network was trained), expected_grade (of grades), call (name of
    the class, see `Facts.rule`), confidence (of the call, or without a rule of the most probable class, at the
    network's temperature), doubt (what is implausible in the picture), reason (why there is no score).
    Raises OrthoError where no image could be read.
    """
    if side not in SIDES:
        raise UsageError(f"side '{side}' is unknown; expected one of {', '.join(SIDES)}.")
    facts, rows, left_out = model.facts, [], dict(found.left_out)
    for names, opened in _batches(found.planes, facts.size):
        good = [k for k, (_, _, reason) in enumerate(opened) if not reason]
        left_out |= {name: reason for name, (_, _, reason) in zip(names, opened, strict=True) if reason}
        if not good:
            continue
        names = [names[k] for k in good]
        sides = [_asked(side, found.sides[name]) if facts.sides else "" for name in names]
        mirrored = np.array([one == "L" for one in sides])
        squares = np.stack([opened[k][0] for k in good])
        shown = np.where(mirrored[:, None, None], squares[:, :, ::-1], squares)
        proba = model.scores(shown)
        called = facts.called(proba)
        about = proba.argmax(1) if called is None else called
        confidence = calibration.scaled(proba, facts.temperature)[np.arange(len(proba)), about]
        frame = pd.DataFrame({"file": names, "side": sides, "mirrored": mirrored})
        frame = frame.assign(**{f"score_{c}": column for c, column in enumerate(proba.T)})
        if facts.kind == "ordinal":
            frame["expected_grade"] = expectation(proba)
        frame["call"] = "" if called is None else np.array(facts.classes)[called]
        boxes = [opened[k][1] for k in good]
        inside = [square[y0:y1, x0:x1] for square, (x0, y0, x1, y1) in zip(squares, boxes, strict=True)]
        doubts = [plausible.doubt([Image.fromarray(np.ascontiguousarray(one))]) for one in inside]
        rows.append(frame.assign(confidence=confidence, doubt=doubts, reason=""))
        if picture is not None:
            maps = model.heat(shown, about)
            maps = np.where(mirrored[:, None, None], maps[:, :, ::-1], maps)
            for name, one, heat, box, c, sure in zip(names, inside, maps, boxes, about, confidence, strict=True):
                x0, y0, x1, y1 = box
                picture(Seen(name, one, heat[y0:y1, x0:x1], facts.classes[c], float(sure)))
    if not rows:
        raise OrthoError(_nothing(Path(os.path.commonpath([p.path for p in found.planes.values()])), left_out))
    absent = pd.DataFrame({"file": sorted(left_out), "reason": [left_out[name] for name in sorted(left_out)]})
    scored = pd.concat(rows, ignore_index=True).sort_values("file", ignore_index=True)
    table = pd.concat([scored, absent], ignore_index=True) if len(absent) else scored
    texts = ["side", "call", "doubt"]
    return table.assign(**table[texts].fillna(""), mirrored=table["mirrored"].eq(True))


def _listed(path: Path, root: Path | None) -> Found:
    image_set = manifest.read(path, root)
    images = image_set.images
    left_out = dict(images.loc[~images["readable"], ["image_id", "reason"]].itertuples(index=False, name=None))
    if not image_set.planes:
        raise OrthoError(_nothing(path, left_out))
    told = dict(zip(images["image_id"], images["plane"].str.upper(), strict=True))
    sides = {
        name: told[name] if told[name] in ("L", "R") else _side(plane.path) for name, plane in image_set.planes.items()
    }
    return Found(image_set.planes, sides, left_out, image_set.notes)


def _side(path: Path) -> str:
    """`L`, `R` or "": by the header of a DICOM file, else by the name of the file."""
    if files.kind(path) == "dicom":
        header = dicom.header(path)
        told = [str(header.get(name) or "").strip().upper() for name in LATERALITY]
        if found := next((one for one in told if one), ""):
            return found if found in ("L", "R") else ""  # B: both sides are in the picture
    named = NAMED.search(path.stem.removesuffix(".nii"))
    return named[1].upper() if named else ""


def _asked(side: str, found: str) -> str:
    return found if side == "auto" else "" if side == "none" else side


Opened = tuple[np.ndarray, tuple[int, int, int, int], str]


def _batches(planes: dict[str, Plane], size: int) -> Iterator[tuple[list[str], list[Opened]]]:
    """Names and squares of `BATCH` images at a time; the next ones are decoded while these are scored."""
    names = sorted(planes)
    parts = [names[at : at + BATCH] for at in range(0, len(names), BATCH)]
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress.bar(total=len(names), desc="scoring", unit="image") as bar,
    ):

        def begin(part: list[str]) -> list[Future]:
            return [pool.submit(_open, planes[name], size) for name in part]

        coming = begin(parts[0])
        for k, part in enumerate(parts):
            now, coming = coming, begin(parts[k + 1]) if k + 1 < len(parts) else []
            yield part, [job.result() for job in now]
            bar.update(len(part))


def _open(plane: Plane, size: int) -> Opened:
    try:
        return *pixels.square(plane, size), ""
    except files.UNREADABLE as error:
        return np.zeros((0, 0), np.uint8), (0, 0, 0, 0), files.reason(error)


def _nothing(path: Path, left_out: dict[str, str]) -> str:
    if not left_out:
        return f"{path} is an empty folder; name the one that holds your images."
    why = pd.Series(list(left_out.values())).value_counts()
    told = ", ".join(f"{reason} ({n:,})" for reason, n in list(why.items())[:4])
    return (
        f"{path}: none of its {wording.count(len(left_out), 'file')} could be read: {told}. Name a folder with PNG, "
        "JPEG, TIFF or DICOM images."
    )
