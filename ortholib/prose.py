"""Sentences that depend on a result. Each is a function of the values, so that none can be typed before them."""

import math

import pandas as pd


def count(n: int, noun: str, plural: str | None = None) -> str:
    """"1 image", "1,656 images"."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def interval(row: pd.Series, digits: int = 3) -> str:
    """"0.788 (95 % interval 0.765 to 0.810)" from a row with `value, low, high`; says why where one is missing."""
    if math.isnan(row["value"]):
        return f"not computable ({row['reason']})"
    if math.isnan(row["low"]):
        return f"{row['value']:.{digits}f} (no interval: {row['reason']})"
    return f"{row['value']:.{digits}f} (95 % interval {row['low']:.{digits}f} to {row['high']:.{digits}f})"


def against_published(row: pd.Series, low: float, high: float) -> str:
    """How our interval lies to a range of published values that come from other data or networks.

    Such values are context: the sentence says where they lie, never that they were reproduced or not.
    """
    if math.isnan(row["low"]):
        return f"no comparison is possible: {row['reason']}"
    if row["high"] < low:
        return f"the whole interval lies below the published values ({low:.2f} to {high:.2f})"
    if row["low"] > high:
        return f"the whole interval lies above the published values ({low:.2f} to {high:.2f})"
    return f"the interval overlaps the published values ({low:.2f} to {high:.2f})"


def hardest(recalls: pd.DataFrame) -> str:
    """Which class is found least, from rows `name, value, low, high`, and whether the intervals set it apart."""
    known = recalls.dropna(subset=["value"]).sort_values("value")
    if len(known) < 2:
        return "Too few classes have images in test to rank them."
    worst, rest = known.iloc[0], known.iloc[1:]
    apart = rest["low"].min() > worst["high"]
    ending = "below every other class, intervals apart" if apart else "though its interval overlaps another class's"
    return f"{worst['name']} is found least often: recall {interval(worst, 2)}, {ending}."


def calibration(ece: pd.Series, confidence: float, accuracy: float) -> str:
    """Whether a classifier says more than it knows, from its mean confidence and its accuracy."""
    gap = confidence - accuracy
    if abs(gap) < 0.02:
        direction = "On average it is as sure as it is right"
    else:
        direction = "It is surer than it is right" if gap > 0 else "It is less sure than it is right"
    return f"{direction}: mean confidence {confidence:.2f}, accuracy {accuracy:.2f}; ECE {interval(ece)}."


def crossing(cut: int, patients: int) -> str:
    """Whether patients stand in more than one official part."""
    if cut == 0:
        return f"None of the {count(patients, 'patient')} stands in more than one official part."
    return f"**{count(cut, 'patient')} of {patients:,} stand in more than one official part**: scores on it leak."
