"""Every picture of the study, in one visual language: values in, a matplotlib figure out; nothing here reads files."""
# ruff: noqa: F401

from ortholib.report.figures.arms import critical_difference, describe_efficiency, describe_ranks, label_efficiency
from ortholib.report.figures.calibration import describe_recalibration, recalibration
from ortholib.report.figures.counts import class_counts, counts_by, describe_counts
from ortholib.report.figures.coverage import coverage, describe_coverage
from ortholib.report.figures.curves import (
    decision_curves,
    describe_curves,
    describe_decision,
    describe_froc,
    froc_curve,
    roc_pr,
)
from ortholib.report.figures.differences import describe_differences, difference_plot
from ortholib.report.figures.embedding import describe_embedding, embedding_map
from ortholib.report.figures.evaluation import confusion, learning_curve
from ortholib.report.figures.flow import flow
from ortholib.report.figures.gallery import sample_grid
from ortholib.report.figures.heatmap import heat_map
from ortholib.report.figures.intervals import describe_intervals, interval_plot, recall_bars
from ortholib.report.figures.pretraining import describe_pretraining, pretraining_panel
from ortholib.report.figures.style import show
from ortholib.report.figures.training import describe_training, training_curves
