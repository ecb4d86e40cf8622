"""Pretraining without labels (DINO)."""
