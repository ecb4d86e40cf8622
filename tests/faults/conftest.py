"""Hostile input: slow, so it runs on its own (`make test-faults`)."""

import pytest


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Stores and caches of a test go to its own folder, and no real data are found by accident."""
    monkeypatch.setenv("ORTHOLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("ORTHOLIB_DATA", raising=False)
