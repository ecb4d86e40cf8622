"""What must not be done, in one line."""

import pytest

from ortholib.errors import OrthoError


def refused(match: str, call, *given, error: type[Exception] = OrthoError, **named) -> None:
    """Assert that `call(*given, **named)` raises `error` with a message that `match` finds."""
    with pytest.raises(error, match=match):
        call(*given, **named)
