"""Numbers from frames of predictions."""
