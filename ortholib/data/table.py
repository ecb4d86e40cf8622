"""What every reader returns (images, labels and boxes of one set, validated), and what the readers share.

`group` is the unit that no honest split cuts: patient, else duplicate group, else exam, else image.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ortholib import progress, wording
from ortholib.data.files import Plane, examine
from ortholib.errors import OrthoError

# One row = one 2-D plane. `width`, `height`: pixels after the EXIF orientation is applied, 0 where unreadable. `doubt`:
# what is implausible in the picture that is shown (see `plausible`), else "".
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
        "doubt": pa.Column(str),
    },
    strict=True,
)
LABELS = pa.DataFrameSchema(
    {"unit_id": pa.Column(str), "label": pa.Column(str), "value": pa.Column(float, nullable=True)},
    unique=["unit_id", "label"],
    strict=True,
)
CORNERS = ["x0", "y0", "x1", "y1"]  # pixels of the EXIF-transposed original, x to the right, y down
BOXES = pa.DataFrameSchema(
    {"image_id": pa.Column(str), **{name: pa.Column(float) for name in CORNERS}, "class": pa.Column(str)}, strict=True
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

    @property
    def doubts(self) -> dict[str, str]:
        """What is implausible in which readable images, by image id."""
        doubtful = self.images[self.images["doubt"] != ""]
        return dict(zip(doubtful["image_id"], doubtful["doubt"], strict=True))

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


def image_table(files: pd.DataFrame, **facts) -> pd.DataFrame:
    """Images of a set from the state of its files (`image_id, path, width, height, reason`, and `doubt` where known).

    facts: the other columns of `IMAGES`, one value or one an image. Without them an image is the only plane of its
    file, an exam of its own, in a group of its own, in no official part, and a radiograph.
    """
    usual = dict.fromkeys(("plane", "official_part", "body_part", "view"), "") | {"frame": 0, "modality": "radiograph"}
    facts = usual | {"exam": files["image_id"], "group": files["image_id"]} | facts
    readable = files["reason"] == ""
    facts["doubt"] = files["doubt"].fillna("").where(readable, "") if "doubt" in files else ""
    images = files.assign(**facts, readable=readable)[list(IMAGES.columns)]
    return images.astype({name: str for name in images if images[name].dtype == object}).reset_index(drop=True)


def box_table(rows: Iterable[tuple] = ()) -> pd.DataFrame:
    """Boxes of a set from rows in the order of the columns of `BOXES`."""
    dtypes = {name: float if name in CORNERS else str for name in BOXES.columns}
    return pd.DataFrame(list(rows), columns=list(dtypes)).astype(dtypes)


def long_labels(wide: pd.DataFrame) -> pd.DataFrame:
    """Labels in long form (`unit_id, label, value`) from a frame indexed by unit id with one column per label."""
    long = wide.astype(np.float64).rename_axis(index="unit_id", columns="label").unstack().rename("value").reset_index()
    return long[["unit_id", "label", "value"]].astype({"unit_id": str, "label": str})


def walk(root: Path, paths: Iterable[Path], needed: str = "") -> pd.DataFrame:
    """State of the files under `root`: `path` (relative), `width`, `height`, `reason`, `doubt`, sorted by path.

    Hidden files (`._x` of macOS, `.DS_Store`) and `Thumbs.db` are no data. A file behind a link that leaves the
    root is listed as unreadable, never opened, and neither is what is no plain file.
    needed: what folders these are, where it is an OrthoError that they hold no file.
    """
    paths = sorted(p for p in paths if not p.name.startswith(".") and p.name != "Thumbs.db" and not p.is_dir())
    if needed and not paths:
        raise OrthoError(f"{root}: {needed} hold no file. Unpack the release again.")
    inside = root.resolve()
    outside = {folder for folder in {p.parent for p in paths} if not folder.resolve().is_relative_to(inside)}

    def state(path: Path) -> tuple[int, int, str, str]:
        if path.parent in outside or (path.is_symlink() and not _target(path).is_relative_to(inside)):
            return 0, 0, "a link out of the data root", ""
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            return 0, 0, "no plain file", ""
        return examine(path)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside the interpreter lock
        states = list(progress.bar(pool.map(state, paths), total=len(paths), desc=f"reading {root.name}", unit="file"))
    frame = pd.DataFrame(states, columns=["width", "height", "reason", "doubt"])
    frame.insert(0, "path", [path.relative_to(root).as_posix() for path in paths])
    return frame.astype({"path": str, "width": int, "height": int, "reason": str, "doubt": str})


def not_this(root: Path, title: str, expected: str) -> OrthoError:
    """The error for a folder that is not the set: what it holds, and what was expected."""
    names = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
    return OrthoError(
        f"{root} is not {title}: it holds {names}; expected {expected}. Unpack the release there or name its folder "
        "with --root."
    )


def named(root: Path, files: pd.DataFrame, good: pd.Series, like: str) -> tuple[pd.DataFrame, list[str]]:
    """The files with a good name, and a note on each other one. Raises OrthoError where no name is good."""
    if not good.any():
        raise OrthoError(
            f"{root}: none of its {len(files)} files is named like {like} (the first is {files['path'].iloc[0]}). "
            "Is this another data set?"
        )
    return files[good], [f"{path}: not named like {like}; left out" for path in files.loc[~good, "path"]]


def lines(path: Path) -> list[tuple[int, str]]:
    """(number, text) of the lines that are not blank; what is no UTF-8 is replaced. Raises OSError."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def read_csv(path: Path, columns: list[str]) -> pd.DataFrame:
    """A table that has these columns. Raises OrthoError naming the file for one that is damaged or lacks some."""
    expected = f"expected CSV with the columns {', '.join(columns)}. Unpack the release again."
    try:
        table = pd.read_csv(path, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise OrthoError(f"{path} is missing; {expected}") from error
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise OrthoError(f"{path} is no readable table ({wording.one_line(error)}); {expected}") from error
    if absent := [column for column in columns if column not in table.columns]:
        has = ", ".join(map(str, table.columns[:20]))
        raise OrthoError(f"{path} lacks the columns {', '.join(absent)}; it has {has}; {expected}")
    return table


class Rule(NamedTuple):
    """What a column of whole numbers holds: in words, the lowest and highest number, what an empty cell stands for."""

    expected: str
    low: int
    high: int = 2**53
    empty: float = np.nan


def read_lines(path: Path, columns: list[str], rules: dict[str, Rule]) -> tuple[pd.DataFrame, set[str], list[str]]:
    """The good lines of a table with a line an image, the image ids of its other lines, and notes on these.

    columns: needed ones, the first of which names the image's file. rules: of the columns of numbers; one that is not
    among `columns` may be absent. A line is good that follows all rules and whose image stands in no other line.
    Raises OrthoError for a table that is missing or damaged, or where no line follows the rules.
    """
    table = read_csv(path, columns)
    rules = {name: rule for name, rule in rules.items() if name in table}
    names = table[columns[0]].astype(str).map(lambda name: Path(name.strip()).stem)
    numbers, wrong = pd.DataFrame(index=table.index), pd.DataFrame(index=table.index)
    for name, rule in rules.items():
        numbers[name] = pd.to_numeric(table[name], errors="coerce").astype(float)
        numbers[name] = numbers[name].where(table[name].notna(), rule.empty)
        wrong[name] = ~numbers[name].between(rule.low, rule.high) | (numbers[name] % 1 != 0)
    bad = wrong.any(axis=1)
    if bad.all():
        kinds = {rule: ", ".join(name for name in rules if rules[name] == rule) for rule in rules.values()}
        told = " and ".join(f"{rule.expected} in {listed}" for rule, listed in kinds.items())
        raise OrthoError(f"{path}: no line has {told}. Unpack it again.")
    notes = [
        f"{path.name}, line {row + 2} ({names[row]}): {name} = {table.loc[row, name]}, expected "
        f"{rules[name].expected}; its image is left out"
        for row, name in wrong[bad].idxmax(axis=1).items()
    ]
    texts = table[[name for name in columns[1:] if name not in rules]].fillna("").astype(str)
    good, repeated = unique_ids(numbers.join(texts).assign(image_id=names, line=table.index + 2), "line")
    good = good[good["image_id"].isin(names[~bad])].drop(columns="line").astype(dict.fromkeys(rules, int))
    return good, set(names) - set(good["image_id"]), notes + repeated


def read_yolo(path: Path, image, classes: Sequence[str], notes: list[str]) -> list[tuple]:
    """Rows of `box_table` from the YOLO file of one image (`image_id, width, height`); bad lines are noted.

    A line is the number of a class, then centre, width and height of the box as shares of the image's.
    """
    rows = []
    for number, line in lines(path):
        try:
            label, x, y, w, h = (float(value) for value in line.split())
            if label not in range(len(classes)) or not (0 <= x <= 1 and 0 <= y <= 1 and 0 < w <= 1 and 0 < h <= 1):
                raise ValueError
        except ValueError:
            span = f"0 to {len(classes) - 1}" if len(classes) > 1 else "0"
            text = line.strip()[:40]
            notes.append(
                f"{path.name}, line {number}: '{text}' is no YOLO box (class {span}, then x y w h, 0 to 1); left out"
            )
            continue
        corners = ((x - w / 2) * image.width, (y - h / 2) * image.height)
        corners += ((x + w / 2) * image.width, (y + h / 2) * image.height)
        rows.append((image.image_id, *corners, classes[int(label)]))
    return rows


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


def joined(files: pd.DataFrame, table: pd.DataFrame, lost: set[str], source: str) -> tuple[pd.DataFrame, list[str]]:
    """Files with the good lines of their table, one row an image, and notes on what stands twice or on one side only.

    lost: image ids of the other lines, as of `read_lines`: their files are left out.
    """
    single, notes = unique_ids(files)
    table = table[table["image_id"].isin(single["image_id"]) | ~table["image_id"].isin(files["image_id"])]
    found, absent = missing(table, single[~single["image_id"].isin(lost)], source)
    return found.merge(table, on="image_id", validate="one_to_one"), notes + absent


def _target(link: Path) -> Path:
    try:
        return link.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return Path("/")
