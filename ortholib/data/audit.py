"""Audit of a set: what in its files and labels would mislead a study. Finds, counts and names; changes nothing."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pandas as pd
from PIL import Image, ImageFile

from ortholib.data import files, split
from ortholib.data.copies import grouped
from ortholib.data.table import ImageSet, image_values
from ortholib.metrics import bootstrap, scores


@dataclass(frozen=True)
class Audit:
    """counts: name -> number, in the order a report shows them. copies: one row per image that has a copy, with
    `image_id, near, identical, part, y` (group names as in `find`). shortcuts: one row per trait that
    is no anatomy, with how often it comes with the label, and the ROC AUC it reaches alone, with its interval."""

    counts: dict
    copies: pd.DataFrame
    shortcuts: pd.DataFrame


def run(image_set: ImageSet, label: str) -> Audit:
    """Audit the readable images of a set against one of its labels (0/1, or grades).

    Pixel-identical groups count truncated files too (what can be decoded of them), and say how many of the groups
    those are. implausible: as of `check`. leaked: per official part, its images that have a copy in another one.
    crossing_groups: patients (or copies) that stand in several official parts.
    """
    images = image_set.images
    _, copies = grouped(image_set)
    copies = copies.merge(images[["image_id", "official_part"]].set_axis(["image_id", "part"], axis=1), on="image_id")
    copies["y"] = copies["image_id"].map(image_values(image_set, label))
    near, identical = (copies.groupby(kind)["image_id"].transform("size") > 1 for kind in ("near", "identical"))
    official = images[images["readable"] & (images["official_part"] != "")]
    reasons = images.loc[~images["readable"], "reason"]
    damaged = _copies_among_truncated(image_set)
    counts = {
        "images": len(images),
        "unreadable": len(reasons),
        "implausible": len(image_set.doubts),
        "truncated": int((reasons == "truncated").sum()),
        "exif_rotated": _rotated(image_set),
        "pixel_duplicate_groups": copies.loc[identical, "identical"].nunique() + len(damaged),
        "pixel_duplicate_images": int(identical.sum()) + sum(damaged),
        "pixel_duplicate_groups_truncated": len(damaged),
        "near_duplicate_groups": copies.loc[near, "near"].nunique(),
        "near_duplicate_images": int(near.sum()),
        "conflicting_groups": int((copies[near].groupby("near")["y"].nunique() > 1).sum()),
        "leaked": _leaked(copies),
        "leaked_identical": _leaked(copies, "identical"),
        "crossing_groups": int((official.groupby("group")["official_part"].nunique() > 1).sum()),
        "contradictions": len(image_set.notes),
    }
    found = copies[near].sort_values(["near", "image_id"], ignore_index=True)
    return Audit(counts, found, _shortcuts(image_set, label))


def _rotated(image_set: ImageSet) -> int:
    def turned(path: str) -> bool:
        try:
            with Image.open(image_set.root / path) as image:
                return files.orientation(image) != 1
        except files.UNREADABLE:
            return False

    images = image_set.images
    pictures = images.loc[images["readable"] | (images["reason"] == "truncated"), "path"].drop_duplicates()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(turned, [path for path in pictures if files.kind(image_set.root / path) == "picture"]))


def _copies_among_truncated(image_set: ImageSet) -> list[int]:
    """Sizes of the groups of truncated files whose decodable part is the same."""
    images = image_set.images
    digests = []
    ImageFile.LOAD_TRUNCATED_IMAGES = True  # of all threads, so nothing else may decode meanwhile
    try:
        for path in images.loc[images["reason"] == "truncated", "path"].drop_duplicates():
            with suppress(*files.UNREADABLE):  # a truncated DICOM file or volume stays unreadable
                pixels = files.read(image_set.root / path)
                digests.append(hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest())
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    sizes = pd.Series(digests, dtype=str).value_counts()
    return [int(n) for n in sizes[sizes > 1]]


def _leaked(copies: pd.DataFrame, kind: str = "near") -> dict[str, int]:
    placed = copies[copies["part"] != ""]
    parts = placed.groupby(kind)["part"].transform("nunique")
    return {part: int(((placed["part"] == part) & (parts > 1)).sum()) for part in split.SHARES}


def _shortcuts(image_set: ImageSet, label: str) -> pd.DataFrame:
    """Traits that a network could read instead of the finding. Grades are asked as "2 or more"."""
    images = image_set.usable
    y = images["image_id"].map(image_values(image_set, label))
    images, y = images[y.notna()], y[y.notna()]
    y = (y >= 2 if y.max() > 1 else y > 0).to_numpy(int)
    traits = {"full-size image": (images[["width", "height"]].max(axis=1) >= split.LARGE).to_numpy()}
    for name in ("hardware", "multiscan"):
        if (image_set.labels["label"] == name).any():
            traits[name] = (images["image_id"].map(image_set.label(name)) > 0).to_numpy()
    rows = []
    for name, on in traits.items():
        if 0 < on.sum() < len(on):
            ranking = scores.Ranking(y, on.astype(float))
            area = bootstrap.bootstrap({"roc_auc": lambda w, r=ranking: r.areas(w)[0]}, images["group"]).iloc[0]
            rows.append(
                {
                    "trait": name,
                    "images": int(on.sum()),
                    "positive": int(y[on].sum()),
                    "share_of_positives": float(on[y == 1].mean()),
                    "share_of_negatives": float(on[y == 0].mean()),
                    **area[["value", "low", "high", "n", "n_groups", "reason"]].to_dict(),
                }
            )
    return pd.DataFrame(rows)


def pairs(found: Audit, limit: int) -> list[tuple[pd.Series, pd.Series]]:
    """Two members of each group of copies, the worst first: opposite labels, then different official parts."""
    rows = []
    for _, group in found.copies.groupby("near"):
        ordered = group.sort_values(["y", "part"])
        conflict, crosses = group["y"].nunique() > 1, group.loc[group["part"] != "", "part"].nunique() > 1
        rows.append((not conflict, not crosses, ordered.iloc[0], ordered.iloc[-1]))
    rows.sort(key=lambda row: row[:2])
    return [(first, last) for _, _, first, last in rows[:limit]]
