"""What a pretraining says of each epoch: one row of its history, and the same as a line for people."""

import math

import numpy as np

SHARES = ("used", "mfu")  # printed in %


def row(epoch: int, readings: list[dict], plan: dict[str, np.ndarray], step: int) -> dict:
    """Means of an epoch's readings, and where the schedules stand at its last step."""
    means = {name: float(np.mean([reading[name] for reading in readings])) for name in readings[0]}
    return {"epoch": epoch + 1} | means | {name: float(values[step]) for name, values in plan.items()}


def line(row: dict, epochs: int, seconds_left: float) -> str:
    """The row as one line, with the time that is left."""
    parts = [f"epoch {row['epoch']}/{epochs}"]
    for name, value in row.items():
        if name in ("epoch", "alarm", "centre_norm", "weight_decay") or math.isnan(value):
            continue
        told = f"{100 * value:.0f} %" if name in SHARES else f"{value:.4g}"
        parts.append(f"{name.replace('_', ' ').replace('images per s', 'images/s')} {told}")
    parts.append(f"{seconds_left / 60:.0f} min left" if seconds_left >= 60 else f"{seconds_left:.0f} s left")
    return "  ".join(parts) + (f"\n{row['alarm']}" if row.get("alarm") else "")
