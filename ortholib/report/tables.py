"""Markdown tables: the one way in which chapters, cards and the book write them."""

import re
from collections.abc import Iterable

import pandas as pd
from tabulate import tabulate


def markdown(rows: pd.DataFrame | Iterable[Iterable], head: Iterable[str] = (), empty: str = "*No rows.*") -> str:
    """Rows as a Markdown table, or `empty` where there is none.

    rows  a frame, or rows of as many cells as `head` has
    head  names of the columns; of a frame its own where none are given

    Cells stand as they are given, numbers as `str` writes them; a missing one is left empty, a bar in a cell is
    escaped where it is not yet, and a line break becomes a space, so that no cell ends its row.
    """
    if isinstance(rows, pd.DataFrame):
        head, rows = head or rows.columns, rows.itertuples(index=False)
    cells = [[_cell(value) for value in row] for row in rows]
    as_given = {"stralign": None, "numalign": None, "disable_numparse": True}
    return tabulate(cells, [_cell(name) for name in head], tablefmt="github", **as_given) if cells else empty


def _cell(value) -> str:
    return "" if pd.isna(value) else re.sub(r"(?<!\\)\|", r"\\|", str(value)).replace("\n", " ")
