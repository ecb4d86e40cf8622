"""Every picture of the study, in one visual language: values in, a matplotlib figure out; nothing here reads files."""

from ortholib.figures.counts import class_counts, counts_by, describe_counts
from ortholib.figures.evaluation import confusion, learning_curve, reliability
from ortholib.figures.flow import flow
from ortholib.figures.gallery import sample_grid
from ortholib.figures.intervals import describe_intervals, interval_plot, recall_bars
from ortholib.figures.style import show

__all__ = [
    "class_counts",
    "confusion",
    "counts_by",
    "describe_counts",
    "describe_intervals",
    "flow",
    "interval_plot",
    "learning_curve",
    "recall_bars",
    "reliability",
    "sample_grid",
    "show",
]
