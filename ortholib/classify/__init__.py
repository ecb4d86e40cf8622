"""Classifiers of radiographs."""
