"""What a run did, round by round: the log that is checkpointed, and what the whole run gives back."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.checkpoint import Release


@dataclass(frozen=True, slots=True)
class Missing:
    """A site that the plan names and whose contribution is not in a sum. `refused`: it said no, as against silence."""

    site: str
    reason: str
    refused: bool


@dataclass(frozen=True, slots=True)
class SiteBytes:
    """Bytes of our messages to (down) and from (up) one site; Flower's envelope and TLS come on top."""

    site: str
    down: int
    up: int


@dataclass(frozen=True, slots=True)
class RoundLog:
    """One finished round. attempts: how many were begun before the sum opened. auroc: of the model after the round,
    for each finding over all answering sites' held-out patients (None where one class is absent), or None altogether
    when it was not measured. update_norm: Euclidean norm of the mean update. seconds: wall clock, waiting included.
    """

    round: int
    attempts: int
    survivors: tuple[str, ...]
    missing: tuple[Missing, ...]
    update_norm: float
    auroc: tuple[float | None, ...] | None
    traffic: tuple[SiteBytes, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: the final release, its rounds, and the starting release's AUROC for each finding (`before`).

    missing: the sites of the plan that did not countersign, or were never reached, when the run was last started.
    traffic: bytes per site over the whole run, invitations and evaluation included, resumed parts added up.
    """

    release: Release
    before: tuple[float | None, ...] | None
    rounds: tuple[RoundLog, ...]
    missing: tuple[Missing, ...]
    traffic: tuple[SiteBytes, ...]
    seconds: float
