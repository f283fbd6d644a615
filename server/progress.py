"""What a running federation tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..privacy.aggregation import Purpose
from .outcome import Evaluation, Missing, RoundLog


@dataclass(frozen=True, slots=True)
class SiteAgreed:
    """A site countersigned the plan under its own epsilon cap."""

    site: str
    epsilon_cap: float


@dataclass(frozen=True, slots=True)
class SiteMissing:
    """A site of the plan refused it or was not reached."""

    missing: Missing


@dataclass(frozen=True, slots=True)
class Resumed:
    """The run goes on after `finished` rounds done before."""

    finished: int


@dataclass(frozen=True, slots=True)
class RoundStarted:
    """An attempt at round `round` of `rounds` begins with `cohort`."""

    round: int
    rounds: int
    attempt: int
    cohort: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SiteAnswered:
    """A site answered a step of the round (or of its evaluation)."""

    site: str
    purpose: Purpose
    round: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """No sum was opened in this attempt; the next one follows, or the run stops."""

    purpose: Purpose
    round: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The model after `round` (0: the starting release) was measured."""

    round: int
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class RoundFinished:
    """The round is on disk and will not be repeated."""

    log: RoundLog


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last model is on disk; `release` is its hash in hexadecimal. gated: why it is not released, "" if it is."""

    release: str
    gated: str = ""


Event = (
    SiteAgreed
    | SiteMissing
    | Resumed
    | RoundStarted
    | SiteAnswered
    | AttemptFailed
    | Evaluated
    | RoundFinished
    | RunFinished
)
Watcher = Callable[[Event], None]


def silent(event: Event) -> None:
    """A watcher that ignores everything."""
