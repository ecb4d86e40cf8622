"""Small words that errors, tables and sentences share."""

import re


def count(n: int, noun: str, plural: str | None = None) -> str:
    """ "1 image", "1,656 images"."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def one_line(error: Exception) -> str:
    """The text of an error, whole, on one line and without control characters."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", str(error)).split())


def signed(text: str) -> str:
    """Numbers with a real minus, and none before a zero."""
    return re.sub(r"-(?=[\d.]*[1-9])", "−", text).replace("-0", "0")
