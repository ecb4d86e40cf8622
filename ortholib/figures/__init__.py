"""Every picture of the study, in one visual language: values in, a matplotlib figure out; nothing here reads files."""
# ruff: noqa: F401

from ortholib.figures.arms import critical_difference, describe_efficiency, describe_ranks, label_efficiency
from ortholib.figures.calibration import describe_recalibration, recalibration
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
