"""What a command prints: facts as a table for people, or exactly one JSON object."""

import contextlib
import json
import math
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="print exactly one JSON object")]
SHOWN = 12  # items of a list that are printed for people


def show(payload: dict, as_json: bool, title: str = "") -> None:
    """One JSON object, or the same facts as a table for people, who get the first `SHOWN` items of a long list."""
    if as_json:
        print(json.dumps(_plain(payload), default=str, allow_nan=False))
        return
    grid = Table(title=title or None, show_header=False, box=None, title_justify="left")
    for name, value in payload.items():
        if isinstance(value, dict | list):
            items = [f"{k}: {v}" for k, v in value.items()] if isinstance(value, dict) else list(map(str, value))
            if len(items) > SHOWN:
                items[SHOWN:] = [f"and {len(items) - SHOWN:,} more, {len(items):,} in all (--json lists them)"]
            value = (", " if isinstance(value, dict) else "\n").join(items) or "none"
        grid.add_row(f"[bold]{name}[/bold]", escape(str(value)))
    Console().print(grid)


def _plain(value):
    """The value with null for what JSON cannot say: NaN and infinity."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def lines_for_people(as_json: bool) -> contextlib.AbstractContextManager:
    """Where standard output is to hold one JSON object, what is printed on the way goes to standard error."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
