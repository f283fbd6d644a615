"""Shared by the journeys: whatever processes they start share two cores with each other."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from browsers import chromium
from playwright.sync_api import Browser


@pytest.fixture(autouse=True)
def one_thread_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenMP's threads spin while they wait, so several processes with a thread a core stand in each other's way."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """A headless Chromium."""
    with chromium() as found:
        yield found
