"""Progress for people: a bar in a terminal or a live notebook, nothing in batch logs."""

import os
import sys

from tqdm import tqdm


def bar(iterable=None, **options) -> tqdm:
    """A tqdm bar (same arguments) that stays silent in batch runs, whose logs would fill with it."""
    live = sys.stderr.isatty() or ("ipykernel" in sys.modules and "ORTHOLIB_RUN" not in os.environ)
    return tqdm(iterable, disable=not live, **options)
