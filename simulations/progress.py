"""What a running study tells whoever watches it: stages that start, advance and finish, in order, one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins. `stage` is a short phrase for people ("Import images"), unique in a study's run; `total` is
    the number of steps it will count, 0 when that is not known beforehand."""

    stage: str
    total: int


@dataclass(frozen=True, slots=True)
class StageAdvanced:
    """`done` of the stage's steps are behind us (never fewer than at the last event of the same stage)."""

    stage: str
    done: int


@dataclass(frozen=True, slots=True)
class StageFinished:
    """The stage is over, after `seconds` of wall clock."""

    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    """Something to show at once between two stages: lines of plain text, such as how patients were divided."""

    text: str


Event = StageStarted | StageAdvanced | StageFinished | Told
Progress = Callable[[Event], None]


def silent(event: Event) -> None:
    """A watcher that ignores everything."""


@contextmanager
def stage_of(progress: Progress, name: str, total: int = 0) -> Generator[Callable[[int], None]]:
    """Tell the watcher of one stage; what it yields is told how many steps are done."""
    started = time.monotonic()
    progress(StageStarted(name, total))
    yield lambda done: progress(StageAdvanced(name, done))
    progress(StageFinished(name, time.monotonic() - started))
