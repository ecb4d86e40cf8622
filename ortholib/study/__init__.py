"""Fits, where they come from, and what they say of the published claims."""
