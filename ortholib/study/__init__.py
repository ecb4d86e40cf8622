"""Fits, where they come from, and what they say of the published claims."""

from ortholib.study.arms import available, elsewhere, frozen, keys, make, parts, plan, predictions, with_labels

__all__ = ["available", "elsewhere", "frozen", "keys", "make", "parts", "plan", "predictions", "with_labels"]
