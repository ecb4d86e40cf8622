"""What every reader returns: images, labels and boxes of one set, validated.

`group` is the unit that no honest split cuts: patient, else duplicate group, else exam, else image.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ortholib import progress
from ortholib.errors import OrthoError
from ortholib.imagefile import inspect

# One row = one 2-D plane. `width`, `height`: pixels after the EXIF orientation is applied, 0 where unreadable.
IMAGES = pa.DataFrameSchema(
    {
        "image_id": pa.Column(str, unique=True),
        "path": pa.Column(str),
        "frame": pa.Column(int, pa.Check.ge(0)),
        "exam": pa.Column(str),
        "plane": pa.Column(str),
        "group": pa.Column(str),
        "official_part": pa.Column(str, pa.Check.isin(["", "train", "val", "test"])),
        "body_part": pa.Column(str),
        "view": pa.Column(str),
        "modality": pa.Column(str),
        "width": pa.Column(int, pa.Check.ge(0)),
        "height": pa.Column(int, pa.Check.ge(0)),
        "readable": pa.Column(bool),
        "reason": pa.Column(str),
    },
    strict=True,
)
LABELS = pa.DataFrameSchema(
    {"unit_id": pa.Column(str), "label": pa.Column(str), "value": pa.Column(float, nullable=True)},
    unique=["unit_id", "label"],
    strict=True,
)
# Pixels of the EXIF-transposed original, x to the right, y down.
BOXES = pa.DataFrameSchema(
    {
        "image_id": pa.Column(str),
        "x0": pa.Column(float),
        "y0": pa.Column(float),
        "x1": pa.Column(float),
        "y1": pa.Column(float),
        "class": pa.Column(str),
    },
    strict=True,
)


@dataclass(frozen=True)
class ImageSet:
    """One data set as found on disk.

    version: the release that was recognised. notes: what was left out or contradicts itself, in sentences.
    """

    name: str
    version: str
    root: Path
    images: pd.DataFrame
    labels: pd.DataFrame
    boxes: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def __post_init__(self):
        twice = self.images["image_id"][self.images["image_id"].duplicated()]
        if len(twice):
            paths = self.images.loc[self.images["image_id"] == twice.iloc[0], "path"].tolist()
            raise OrthoError(
                f"{self.root}: image id '{twice.iloc[0]}' stands for {len(paths)} files ({', '.join(paths[:3])}); "
                "ids must be unique. Remove or rename the extra copies."
            )
        for schema, frame in ((IMAGES, self.images), (LABELS, self.labels), (BOXES, self.boxes)):
            schema.validate(frame)

    @property
    def usable(self) -> pd.DataFrame:
        """The readable images, in the order of the table."""
        return self.images[self.images["readable"]].reset_index(drop=True)

    def label(self, name: str) -> pd.Series:
        """Values of one label, indexed by unit id. Raises OrthoError for a label the set does not have."""
        rows = self.labels[self.labels["label"] == name]
        if rows.empty:
            known = ", ".join(sorted(self.labels["label"].unique()))
            raise OrthoError(f"{self.name} has no label '{name}'; it has: {known}.")
        return rows.set_index("unit_id")["value"]


def empty_boxes() -> pd.DataFrame:
    """A boxes frame without rows."""
    dtypes = dict.fromkeys(("x0", "y0", "x1", "y1"), float)
    return pd.DataFrame({c: pd.Series(dtype=dtypes.get(c, str)) for c in BOXES.columns})


def long_labels(wide: pd.DataFrame) -> pd.DataFrame:
    """Labels in long form (`unit_id, label, value`) from a frame indexed by unit id with one column per label."""
    long = wide.rename_axis("unit_id").reset_index().melt("unit_id", var_name="label", value_name="value")
    return long.astype({"unit_id": str, "label": str, "value": np.float64})


def walk(root: Path, paths: list[Path]) -> pd.DataFrame:
    """State of the files under `root`: `path` (relative), `width`, `height`, `reason`, sorted by path.

    Hidden files (`._x` of macOS, `.DS_Store`) and `Thumbs.db` are no data. A link that leaves the root is
    listed as unreadable, never followed.
    """
    paths = sorted(p for p in paths if not p.name.startswith(".") and p.name != "Thumbs.db" and not p.is_dir())
    inside = root.resolve()

    def state(path: Path) -> tuple[int, int, str]:
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            return 0, 0, "a link out of the data root"
        return inspect(path)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside the interpreter lock
        states = list(progress.bar(pool.map(state, paths), total=len(paths), desc=f"reading {root.name}", unit="file"))
    frame = pd.DataFrame(states, columns=["width", "height", "reason"])
    frame.insert(0, "path", [path.relative_to(root).as_posix() for path in paths])
    return frame.astype({"path": str, "width": int, "height": int, "reason": str})


def missing(table: pd.DataFrame, files: pd.DataFrame, root: Path, source: str):
    """Reconcile a label table with the files on disk, both keyed by `image_id`.

    Returns (table, files, notes): a row without a file becomes an unreadable file, a file without a row is
    left out; both are noted.
    """
    notes = []
    for image_id in files.loc[~files["image_id"].isin(table["image_id"]), "image_id"]:
        notes.append(f"{image_id}: on disk but not in {source}; left out")
    absent = table.loc[~table["image_id"].isin(files["image_id"]), "image_id"]
    for image_id in absent:
        notes.append(f"{image_id}: in {source} but not on disk; listed as unreadable")
    rows = pd.DataFrame({"path": absent, "width": 0, "height": 0, "reason": "missing file", "image_id": absent})
    files = pd.concat([files[files["image_id"].isin(table["image_id"])], rows], ignore_index=True)
    twice = table.loc[table["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise OrthoError(f"{root / source}: '{twice.iloc[0]}' stands in it twice; image ids must be unique.")
    return table, files, notes
