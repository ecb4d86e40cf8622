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
from ortholib.imagefile import Plane, inspect

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
    grouped_by: what `group` is, `patient`, `exam`, `copies` (near-identical images) or `image`.
    """

    name: str
    version: str
    root: Path
    images: pd.DataFrame
    labels: pd.DataFrame
    boxes: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    grouped_by: str = "image"

    def __post_init__(self):
        # a guard: readers leave such files out, see `unique_ids`
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

    @property
    def planes(self) -> dict[str, Plane]:
        """Where the pixels of the readable images are, by image id."""
        usable = self.usable[["image_id", "path", "frame"]]
        return {image_id: Plane(self.root / path, frame) for image_id, path, frame in usable.itertuples(index=False)}

    def label(self, name: str) -> pd.Series:
        """Values of one label, indexed by unit id. Raises OrthoError for a label the set does not have."""
        rows = self.labels[self.labels["label"] == name]
        if rows.empty:
            known = ", ".join(sorted(self.labels["label"].unique()))
            raise OrthoError(f"{self.name} has no label '{name}'; it has: {known}.")
        return rows.set_index("unit_id")["value"]


def image_values(image_set: ImageSet, name: str) -> pd.Series:
    """One value of a label for each image id: its own, else its exam's; NaN where neither has one.

    Where parts of an image carry the label (units `<image>/<part>`, as the two knees of a film), the highest counts.
    """
    values = image_set.label(name)
    highest = values.groupby(values.index.str.rsplit("/", n=1).str[0]).max()
    images = image_set.images.set_index("image_id")
    ids = images.index.to_series()
    return ids.map(values).fillna(ids.map(highest)).fillna(images["exam"].map(values))


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

    Hidden files (`._x` of macOS, `.DS_Store`) and `Thumbs.db` are no data. A file behind a link that leaves the
    root is listed as unreadable, never opened, and neither is what is no plain file.
    """
    paths = sorted(p for p in paths if not p.name.startswith(".") and p.name != "Thumbs.db" and not p.is_dir())
    inside = root.resolve()
    outside = {folder for folder in {p.parent for p in paths} if not folder.resolve().is_relative_to(inside)}

    def state(path: Path) -> tuple[int, int, str]:
        if path.parent in outside or (path.is_symlink() and not _target(path).is_relative_to(inside)):
            return 0, 0, "a link out of the data root"
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            return 0, 0, "no plain file"
        return inspect(path)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside the interpreter lock
        states = list(progress.bar(pool.map(state, paths), total=len(paths), desc=f"reading {root.name}", unit="file"))
    frame = pd.DataFrame(states, columns=["width", "height", "reason"])
    frame.insert(0, "path", [path.relative_to(root).as_posix() for path in paths])
    return frame.astype({"path": str, "width": int, "height": int, "reason": str})


def read_csv(path: Path, columns: list[str]) -> pd.DataFrame:
    """A table that has these columns. Raises OrthoError naming the file for one that is damaged or lacks some."""
    try:
        table = pd.read_csv(path, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise OrthoError(
            f"{path} is no readable table ({str(error)[:80]}); expected CSV with the columns {', '.join(columns)}. "
            "Unpack the release again."
        ) from error
    absent = [column for column in columns if column not in table.columns]
    if absent:
        has = ", ".join(map(str, table.columns[:20]))
        raise OrthoError(f"{path} lacks the columns {', '.join(absent)}; it has {has}. Unpack the release again.")
    return table


def unique_ids(frame: pd.DataFrame, what: str = "path") -> tuple[pd.DataFrame, list[str]]:
    """The rows whose `image_id` stands once, and a note for every other id: nobody can say which copy is meant.

    what: the column that tells the rows of one id apart.
    """
    twice = frame["image_id"].duplicated(keep=False)
    notes = [
        f"{image_id}: stands for {len(rows)} files or lines ({', '.join(map(str, rows[what][:4]))}); all left out, "
        "remove or rename the extra copies"
        for image_id, rows in frame[twice].groupby("image_id")
    ]
    return frame[~twice].reset_index(drop=True), notes


def missing(table: pd.DataFrame, files: pd.DataFrame, source: str) -> tuple[pd.DataFrame, list[str]]:
    """Reconcile a label table with the files on disk, both keyed by a unique `image_id`.

    Returns (files, notes): a row without a file becomes an unreadable file, a file without a row is left out;
    both are noted.
    """
    notes = []
    for image_id in files.loc[~files["image_id"].isin(table["image_id"]), "image_id"]:
        notes.append(f"{image_id}: on disk but not in {source}; left out")
    absent = table.loc[~table["image_id"].isin(files["image_id"]), "image_id"]
    for image_id in absent:
        notes.append(f"{image_id}: in {source} but not on disk; listed as unreadable")
    rows = pd.DataFrame({"path": absent, "width": 0, "height": 0, "reason": "missing file", "image_id": absent})
    return pd.concat([files[files["image_id"].isin(table["image_id"])], rows], ignore_index=True), notes


def _target(link: Path) -> Path:
    try:
        return link.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return Path("/")
