"""A user's labels beside the scores of their images, as a frame that `metrics.evaluation` takes."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ortholib import wording
from ortholib.errors import OrthoError

NAMES = ("file", "image_id", "path")  # what the column with an image's name may be called in a table of labels


class Joined(NamedTuple):
    """frame: unit_id, group, y_true and score_k of every image with a score and a label. unlabelled: scored images
    without a label. unscored: labelled images that `predict` left out. grouped: whether the labels name groups."""

    frame: pd.DataFrame
    unlabelled: int
    unscored: int
    grouped: bool


def join(scores: Path, labels: Path, classes: tuple[str, ...] = ()) -> Joined:
    """Scores (`ortholib predict`) with labels: a CSV with `file` (or image_id, or path, as in the scores), `label`, a
    class number from 0 or the name of a class in `classes`, and where patients have several images `group`.

    An empty label was not asked. Raises OrthoError for a table without these columns, an image that stands twice,
    labels of images that were never scored, a label that is no class, and a group that is missing in some lines.
    """
    scored, given = _read(scores, ("file", "reason")), _read(labels, ("label",))
    columns = sorted((c for c in scored if c.startswith("score_")), key=lambda c: int(c.removeprefix("score_")))
    if len(columns) < 2:
        raise OrthoError(f"{scores} has no columns score_0, score_1; expected a table that `ortholib predict` wrote.")
    name = next((name for name in NAMES if name in given), None)
    if name is None:
        raise OrthoError(f"{labels} has the columns {', '.join(given)}; expected `file`, as in {scores.name}.")
    given = given.rename(columns={name: "file"})
    given = given[given["label"] != ""]
    for table, where in ((scored, scores), (given, labels)):
        twice = table["file"].duplicated()
        if twice.any():
            raise OrthoError(f"{where}: '{table['file'][twice].iloc[0]}' stands in more than one line; keep one.")
    _check_same(scored, given, scores, labels)
    read = scored[scored["reason"] == ""]
    both = read.merge(given, on="file", suffixes=("", "_given"))
    grouped = "group" in given
    if grouped and (both["group"] == "").any():
        first = both.loc[both["group"] == "", "file"].iloc[0]
        raise OrthoError(f"{labels}: '{first}' has no group, and others have one; fill in the patient of every image.")
    if both.empty:
        raise OrthoError(f"{labels}: every labelled image was left out by predict; see `reason` in {scores}.")
    proba = both[columns].apply(pd.to_numeric, errors="coerce").astype(float)
    frame = pd.DataFrame({"unit_id": both["file"], "group": both["group"] if grouped else both["file"]})
    frame["y_true"] = _classes(both, len(columns), classes, labels)
    frame = pd.concat([frame, proba], axis=1)
    return Joined(frame, len(read) - len(both), len(given) - len(both), grouped)


def _read(file: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV as text without blanks around the cells."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise OrthoError(f"{file} is not there; expected a CSV with the columns {', '.join(columns)}.") from error
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise OrthoError(f"{file} is no readable CSV ({wording.one_line(error)}); save it as UTF-8 CSV.") from error
    if absent := [column for column in columns if column not in table]:
        has = ", ".join(map(str, table.columns[:20]))
        raise OrthoError(f"{file} lacks the column {' and '.join(absent)}; it has {has}.")
    return table.apply(lambda column: column.str.strip())


def _check_same(scored: pd.DataFrame, given: pd.DataFrame, scores: Path, labels: Path) -> None:
    """Refuse labels of images that the scores do not know: a mean over the others would be of other images."""
    if given.empty:
        raise OrthoError(f"{labels} holds no label; fill in the column `label`.")
    other = given.loc[~given["file"].isin(scored["file"]), "file"]
    if len(other):
        named, ours = (", ".join(f"'{one}'" for one in column.head(3)) for column in (other, scored["file"]))
        raise OrthoError(
            f"{labels}: {len(other):,} of {len(given):,} labels are of images that {scores} does not hold, such as "
            f"{named}; the scores are of images such as {ours}. Score the same images, and name them as there."
        )


def _classes(both: pd.DataFrame, n: int, classes: tuple[str, ...], labels: Path) -> np.ndarray:
    """Class numbers (n,) of the labels."""
    numbers = {name.casefold(): k for k, name in enumerate(classes)}
    found = pd.to_numeric(both["label"], errors="coerce").astype(float)
    found = both["label"].str.casefold().map(numbers).astype(float).fillna(found)
    bad = ~found.isin(range(n))
    if bad.any():
        line = both[bad].iloc[0]
        known = f"0 to {n - 1}" + (f", or {', '.join(classes)}" if classes else "")
        raise OrthoError(
            f"{labels}: {int(bad.sum()):,} labels are no class, the first '{line['label']}' of '{line['file']}'; "
            f"expected {known}."
        )
    return found.to_numpy(np.int64)
