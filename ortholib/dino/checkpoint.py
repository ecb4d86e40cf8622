"""Checkpoints of a pretraining: written whole or not at all, the last two kept, verified before they are used."""

import hashlib
import re
from pathlib import Path

import torch

KEEP = 2
NAME = re.compile(r"checkpoint-(\d+)\.pt")


def save(folder: Path, step: int, state: dict) -> None:
    """Write `checkpoint-<step>.pt` with its sha256 beside it, then delete all but the last KEEP."""
    file = folder / f"checkpoint-{step:09d}.pt"
    partial = file.with_suffix(".partial")
    torch.save(state, partial)
    file.with_suffix(".sha256").write_text(_digest(partial))
    partial.replace(file)
    for old in steps(folder)[:-KEEP]:
        delete(folder, old)


def load(folder: Path) -> dict | None:
    """The newest checkpoint that is whole, or None. A damaged one is named, passed over and deleted."""
    for step in reversed(steps(folder)):
        file = folder / f"checkpoint-{step:09d}.pt"
        digest = file.with_suffix(".sha256")
        if digest.is_file() and digest.read_text() == _digest(file):
            return torch.load(file, map_location="cpu", weights_only=True)
        print(f"{file.name} is damaged and is passed over", flush=True)
        delete(folder, step)
    return None


def steps(folder: Path) -> list[int]:
    """Steps at which checkpoints were written, in order."""
    found = (NAME.fullmatch(file.name) for file in folder.glob("checkpoint-*.pt"))
    return sorted(int(match[1]) for match in found if match)


def delete(folder: Path, step: int) -> None:
    """Delete one checkpoint and its digest."""
    for suffix in (".pt", ".sha256"):
        (folder / f"checkpoint-{step:09d}{suffix}").unlink(missing_ok=True)


def _digest(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
