"""Flower's grid, asked for an answer whose parts are not all there yet."""

from __future__ import annotations

import inspect
import threading

import pytest
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.inflatable.inflatable_utils import ObjectUnavailableError
from flwr.superlink.grid import http_grid

from medquorum.server.network.grid_pace import FIRST_PAUSE, LONGEST_PAUSE, look_again_sooner


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collects how long Flower would have slept, and lets it go on at once."""
    monkeypatch.setattr(http_grid, "pull_objects", vars(http_grid)["pull_objects"])  # put back afterwards
    asked: list[float] = []

    def wait(self: threading.Event, timeout: float | None = None) -> bool:
        asked.append(timeout or 0.0)
        return self.is_set()

    stand_in = type("Event", (threading.Event,), {"wait": wait})
    names = {name: getattr(threading, name) for name in dir(threading)} | {"Event": stand_in}
    monkeypatch.setattr(inflatable_utils, "threading", type("threading", (), names))
    return asked


def late_part(times: int):
    """A part that is not there for the first `times` requests."""
    left = iter(range(times))

    def pull(_identifier: str) -> bytes:
        if next(left, None) is not None:
            raise ObjectUnavailableError("not yet")
        return b"part"

    return pull


def test_a_late_part_is_asked_for_again_soon(pauses: list[float]) -> None:
    look_again_sooner()
    assert http_grid.pull_objects(["a"], late_part(12)) == {"a": b"part"}
    assert len(pauses) == 12
    assert pauses[0] <= 1.2 * FIRST_PAUSE
    assert max(pauses) <= 1.2 * LONGEST_PAUSE


def test_flower_by_itself_still_waits_a_second(pauses: list[float]) -> None:
    """Once it does not, grid_pace can go."""
    http_grid.pull_objects(["a"], late_part(1))
    assert pauses[0] > 0.5


def test_the_grid_pulls_through_the_name_that_is_replaced() -> None:
    assert "pull_objects(" in inspect.getsource(http_grid.HttpGrid.pull_messages)
