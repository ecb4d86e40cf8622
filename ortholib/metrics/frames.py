"""What a table has to hold before anything is computed or drawn from it; every refusal names what, where and why."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ortholib.errors import OrthoError


def need(frame: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """Raise OrthoError where `frame` lacks one of `columns`; `what` names the frame or what is made of it."""
    columns = list(columns)
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        raise OrthoError(
            f"{what}: no column {', '.join(absent)} in the table, which has {', '.join(map(str, frame.columns))}; "
            f"expected {', '.join(columns)}."
        )


def one_each(frame: pd.DataFrame, columns: Iterable[str], remedy: str = "pick one") -> None:
    """Raise OrthoError where a column, if it is there, holds several values: a mean over them would be of apples."""
    for column in columns:
        if column in frame and frame[column].nunique(dropna=False) > 1:
            raise OrthoError(f"several {column} in one table: {list(frame[column].unique()[:5])}; {remedy}")


def refuse(frame: pd.DataFrame, bad, what: str, remedy: str, show: Iterable[str] = ("unit_id",)) -> None:
    """Raise OrthoError where a row is `bad` (n,), with their number and the columns `show` of the first."""
    bad = np.asarray(bad, dtype=bool)
    if bad.any():
        first = frame.iloc[int(bad.argmax())]
        named = ", ".join(f"{column} {first[column]}" for column in show)
        raise OrthoError(f"{what}: {bad.sum():,} of {len(frame):,} rows, first {named}; {remedy}")
