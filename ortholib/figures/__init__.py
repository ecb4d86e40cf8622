"""Every picture of the study, in one visual language: values in, a matplotlib figure out; nothing here reads files."""

from ortholib.figures.arms import critical_difference, describe_efficiency, describe_ranks, label_efficiency
from ortholib.figures.calibration import describe_recalibration, describe_reliability, recalibration, reliability
from ortholib.figures.counts import class_counts, counts_by, describe_counts
from ortholib.figures.coverage import coverage, describe_coverage
from ortholib.figures.curves import (
    decision_curves,
    describe_curves,
    describe_decision,
    describe_froc,
    froc_curve,
    roc_pr,
)
from ortholib.figures.differences import describe_differences, difference_plot
from ortholib.figures.embedding import describe_embedding, embedding_map
from ortholib.figures.evaluation import confusion, learning_curve
from ortholib.figures.flow import flow
from ortholib.figures.gallery import sample_grid
from ortholib.figures.intervals import describe_intervals, interval_plot, recall_bars
from ortholib.figures.pretraining import describe_pretraining, pretraining_panel
from ortholib.figures.style import show
from ortholib.figures.training import describe_training, training_curves

__all__ = [
    "class_counts",
    "confusion",
    "counts_by",
    "coverage",
    "critical_difference",
    "decision_curves",
    "describe_counts",
    "describe_coverage",
    "describe_curves",
    "describe_decision",
    "describe_differences",
    "describe_efficiency",
    "describe_embedding",
    "describe_froc",
    "describe_intervals",
    "describe_pretraining",
    "describe_ranks",
    "describe_recalibration",
    "describe_reliability",
    "describe_training",
    "difference_plot",
    "embedding_map",
    "flow",
    "froc_curve",
    "interval_plot",
    "label_efficiency",
    "learning_curve",
    "pretraining_panel",
    "recalibration",
    "recall_bars",
    "reliability",
    "roc_pr",
    "sample_grid",
    "show",
    "training_curves",
]
