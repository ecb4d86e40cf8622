"""A file, what must be seen of it, and what is wrong with how `ortholib.data.files` reads it."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ortholib.data import files


class Case(NamedTuple):
    """A file: its bytes, what is expected of each frame (0 to 255), or the reason (a pattern) why it is refused."""

    name: str
    data: bytes
    frames: list[np.ndarray]
    refused: str = ""


def fault(path: Path, case: Case) -> str:
    """What is wrong with how a file is read; "" for nothing."""
    path.write_bytes(case.data)
    reason = files.inspect(path)[2]
    if reason:
        return "" if case.refused and re.search(case.refused, reason) else f"refused: {reason}"
    if not case.frames:
        return f"read, expected to be refused by '{case.refused}'"
    if files.frames(path) != len(case.frames):
        return f"{files.frames(path)} frames, expected {len(case.frames)}"
    for number, expected in enumerate(case.frames):
        try:
            got = files.read(path, frame=number)
        except files.UNREADABLE as error:
            return f"inspected, but not read: {files.reason(error)}"
        if got.shape != expected.shape:
            return f"{got.shape}, expected {expected.shape}"
        off = np.abs(got - np.rint(expected))
        if off.max() > 1:
            return (
                f"frame {number} is off by {off.max():.0f} levels, more than 1 in {(off > 1).mean():.0%} of it, "
                f"mean {got.mean():.0f} for {expected.mean():.0f}"
            )
    return ""
