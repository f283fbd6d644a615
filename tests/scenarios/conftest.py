"""Shared by the journeys: whatever processes they start share two cores with each other."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def one_thread_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMP's threads spin while they wait, so several processes with a thread a core stand in each other's way."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
