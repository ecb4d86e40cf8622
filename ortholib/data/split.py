"""Splits: which image trains, which validates, which tests. A split is data: it has a name, a seed and a hash.

No split cuts a group (patient or duplicate group) unless it was asked for as `official` or `random`; then
the number of groups it cuts is kept, for the captions.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ortholib.data.table import ImageSet
from ortholib.errors import OrthoError, UsageError

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
DEVELOPMENT = {"train": 0.875, "val": 0.125}  # of an official training part, where no validation part is released
FRACTIONS = {0.125: 0.125, 0.25: 0.125, 0.5: 0.25, 1.0: 0.5}  # label fraction -> share of groups that it adds
LARGE = 1000  # longest side in pixels from which a radiograph counts as full-size


@dataclass(frozen=True)
class Split:
    """images: frame `image_id, group, part, fraction`; fraction = the smallest label fraction that holds a
    training image (0.125, 0.25, 0.5, 1; nested by group), 1 elsewhere. excluded: images of label-conflicting groups.
    """

    dataset: str
    name: str
    seed: int
    images: pd.DataFrame
    cut_groups: int
    excluded: int

    @property
    def hash(self) -> str:
        """sha256 over what the split says, 16 hexadecimal digits."""
        text = self.images.sort_values("image_id")[["image_id", "part", "fraction"]].to_csv(index=False)
        return hashlib.sha256(f"{self.dataset} {self.name} {self.seed}\n{text}".encode()).hexdigest()[:16]

    def save(self, folder: Path) -> Path:
        """Write the split as `<dataset>-<name>-<seed>-<hash>.csv` and return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.dataset}-{self.name}-{self.seed}-{self.hash}.csv"
        self.images.to_csv(file, index=False)
        return file


def make(image_set: ImageSet, name: str, label: str, seed: int = 0) -> Split:
    """Split the readable, labelled images of a set.

    name: `official` (the parts the release ships; where it ships no validation part, one is dealt from its training
    part by group, 7 to 1), `clean` (70/10/20 by group, stratified by label, body part and size class; groups of copies
    that carry opposite labels are left out, the knees of one patient may differ), `random` (the same shares and strata
    by image, as most papers do, ignoring groups) or `random without copies` (the same, less the training images that
    have a copy in another part: what is then worse was owed to the copies).
    Raises UsageError for another name, OrthoError where a set has no official parts or a part stays empty.
    """
    images = image_set.usable.assign(y=lambda f: f["image_id"].map(image_set.label(label)))
    images = images[images["y"].notna()]
    excluded = 0
    if name == "official":
        images = images[images["official_part"] != ""].assign(part=lambda f: f["official_part"])
        train = images["part"] == "train"
        if not (images["part"] == "val").any() and train.any():
            images.loc[train, "part"] = _dealt(images[train], images.loc[train, "group"], DEVELOPMENT, seed)
    elif name == "clean":
        conflicting = (images.groupby("group")["y"].transform("nunique") > 1) & (image_set.grouped_by != "patient")
        excluded, images = int(conflicting.sum()), images[~conflicting]
        images = images.assign(part=_dealt(images, images["group"], SHARES, seed))
    elif name in ("random", "random without copies"):
        images = images.assign(part=_dealt(images, images["image_id"], SHARES, seed))
        if name != "random":
            elsewhere = images.loc[images["part"] != "train", "group"]
            copies = (images["part"] == "train") & images["group"].isin(elsewhere)
            excluded, images = int(copies.sum()), images[~copies]
    else:
        raise UsageError(f"'{name}' is no split; known: official, clean, random, random without copies.")
    missing = [part for part in SHARES if not (images["part"] == part).any()]
    if missing:
        raise OrthoError(
            f"{image_set.root}: the {name} split of {image_set.name} has no {', '.join(missing)} image with label "
            f"'{label}' ({len(images)} images in all). Check the set with `ortholib data check {image_set.name}`."
        )
    train = images[images["part"] == "train"]
    levels = pd.Series(_dealt(train, train["group"], FRACTIONS, seed), index=train.index)
    images = images.assign(fraction=levels.reindex(images.index).fillna(1.0).astype(float))
    cut = int((images.groupby("group")["part"].nunique() > 1).sum())
    if cut and name == "clean":
        raise AssertionError(f"the clean split cuts {cut} groups")
    frame = images[["image_id", "group", "part", "fraction"]].sort_values("image_id", ignore_index=True)
    return Split(image_set.name, name, seed, frame, cut, excluded)


def flow(image_set: ImageSet, made: Split, label: str) -> list[dict]:
    """The way from the files of a set to the parts of a split, in the form `figures.flow` draws."""
    usable = image_set.usable
    y = made.images["image_id"].map(image_set.label(label))
    bad = image_set.images.loc[~image_set.images["readable"], "reason"].value_counts()
    left = len(usable) - len(made.images) - made.excluded
    parts = made.images.assign(y=y).groupby("part").agg(n=("y", "size"), groups=("group", "nunique"), y=("y", "sum"))
    excluded = [("copies with opposite labels", made.excluded), ("no label or no part", left)]
    return [
        {
            "label": f"Files of {image_set.name}",
            "n": len(image_set.images),
            "groups": None,
            "excluded": [(reason, int(n)) for reason, n in bad.items()],
        },
        {
            "label": "Readable",
            "n": len(usable),
            "groups": usable["group"].nunique(),
            "excluded": [(reason, n) for reason, n in excluded if n],
        },
        {
            "label": f"{made.name.capitalize()} split",
            "n": len(made.images),
            "groups": made.images["group"].nunique(),
            "excluded": [],
            "parts": [(part, *(int(v) for v in parts.loc[part, ["n", "groups", "y"]])) for part in SHARES],
        },
    ]


def _dealt(images: pd.DataFrame, unit: pd.Series, shares: dict, seed: int) -> np.ndarray:
    """Deal whole units to the keys of `shares`, stratum by stratum, in seeded random order.

    Each unit goes to the share that lags most behind its due, and the lag is carried from stratum to
    stratum: every share is met within one unit overall, and nearly so inside each stratum.
    """
    size = np.where(images[["width", "height"]].max(axis=1) >= LARGE, "large", "small")
    rows = images.assign(unit=unit, size=size).groupby("unit")
    units = rows.agg({"y": "max", "body_part": "min", "size": "min"}).assign(n=rows.size())
    units = units.sample(frac=1, random_state=np.random.default_rng([seed, 20260101]))
    units = units.sort_values(["y", "body_part", "size"], kind="stable")
    names, due = list(shares), np.array(list(shares.values()))
    lag, dealt = np.zeros(len(names)), []
    for n in units["n"]:
        lag += due * n
        chosen = int(lag.argmax())
        lag[chosen] -= n
        dealt.append(names[chosen])
    return pd.Series(dealt, index=units.index).loc[unit].to_numpy()
