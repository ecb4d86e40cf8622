"""Which fits a chapter asks for, read from the notebook that shows them, so that a batch can make them beforehand.

The cell tagged `arms` of a notebook needs its parameters alone. It leaves `asked`, the plan of the fits that are worth
a job of their own (`study.plan`), and, where it reads data without fits, `reads`, names of data sets.
"""

import re
from collections.abc import Mapping

import nbformat

from ortholib import paths
from ortholib.errors import UsageError
from ortholib.settings import Pretrain, Settings
from ortholib.study.arms import starts

TAG = "arms"


def chapters() -> list[str]:
    """Names of the chapters, in order."""
    files = (paths.project() / "notebooks").glob("*.ipynb")
    return sorted(file.stem for file in files if re.match(r"\d\d-", file.stem))


def declared(chapter: str, parameters: Mapping) -> dict:
    """What the cell of a chapter that declares its arms leaves, by its parameters. Raises UsageError with the cell's
    own error."""
    file = paths.project() / "notebooks" / f"{chapter}.ipynb"
    cells = nbformat.read(file, as_version=4).cells
    found = dict(parameters)
    for cell in cells:
        if TAG in cell.metadata.get("tags", []):
            try:
                exec(compile(cell.source, f"{file.name}, cell '{cell.id}'", "exec"), found)
            except Exception as error:
                raise UsageError(f"{file}, cell '{cell.id}': {type(error).__name__}: {error}") from error
    return found


def fits(chapter: str, parameters: Mapping) -> list[Settings]:
    """The fits of a chapter that are worth a job of their own, those first that others start from."""
    asked = declared(chapter, parameters).get("asked", [])
    return list(dict.fromkeys([*starts(asked), *(one.settings for one in asked)]))


def reads(chapter: str, parameters: Mapping) -> list[str]:
    """Names of the data sets that a chapter reads."""
    found = list(declared(chapter, parameters).get("reads", []))
    for one in fits(chapter, parameters):
        found += [name for name, _, _ in one.parts()] if isinstance(one, Pretrain) else [one.dataset]
    return list(dict.fromkeys(found))


def needs(planned: list[Settings], number: int) -> list[int]:
    """Numbers of the fits of a chapter that one of them starts from."""
    return [place for place, one in enumerate(planned) if one == planned[number].initial]
