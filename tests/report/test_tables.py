"""Markdown tables: cells as given, nothing in a cell can end it, and no table without rows."""

import numpy as np
import pandas as pd
from markdown_it import MarkdownIt

from ortholib.report import tables


def test_cells_stand_as_they_are_given():
    rows = [("0.10", 3, "a | b", None), ("1e-3", 0.5, "c \\| d", "two\nlines")]
    made = tables.markdown(rows, ("value", "n", "x|y", ""))
    head, _, *rows = made.splitlines()
    assert head == "| value | n | x\\|y |  |"
    assert rows == ["| 0.10 | 3 | a \\| b |  |", "| 1e-3 | 0.5 | c \\| d | two lines |"]
    html = MarkdownIt("commonmark").enable("table").render(made)
    assert html.count("<td>") == 8 and "<td>a | b</td>" in html and "<td>c | d</td>" in html


def test_a_frame_gives_its_columns_and_its_missing_cells_are_empty():
    frame = pd.DataFrame({"arm": ["A"], "value": [np.nan], "n": [1656]})
    assert tables.markdown(frame).splitlines()[::2] == ["| arm | value | n |", "| A |  | 1656 |"]
    assert tables.markdown(frame, ("a", "b", "c")).startswith("| a | b | c |")


def test_no_row_is_said():
    assert tables.markdown([], ("arm",)) == "*No rows.*"
    assert tables.markdown(pd.DataFrame({"arm": []}), empty="*Not run.*") == "*Not run.*"
