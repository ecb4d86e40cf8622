"""Generated radiographs with known truth, in the folder layouts of the real sets."""

from ortholib.phantom.write import ensure, write

__all__ = ["ensure", "write"]
