"""What a run did, round by round: the log that is checkpointed, and what the whole run gives back."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.checkpoint import Release
from ..models.estimate import Estimate
from ..models.histograms import ReliabilityGroup


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
class Evaluation:
    """What the held-out patients of `sites` say of one model, by findings; None where a class is not told from noise.

    Intervals are over patients and noise. temperatures: those that the sum is best described by. judged, against: how
    many sites voted on the release, and how many against it (0 where nothing was voted on).
    """

    sites: tuple[str, ...]
    auroc: tuple[Estimate | None, ...]
    calibration_error: tuple[Estimate | None, ...]
    reliability: tuple[tuple[ReliabilityGroup, ...], ...]
    temperatures: tuple[float, ...]
    against: int
    judged: int


@dataclass(frozen=True, slots=True)
class RoundLog:
    """One finished round. attempts: how many were begun before the sum opened. evaluation: of the model after the
    round, None when it was not measured. update_norm: Euclidean norm of the mean update. seconds: wall clock, waiting
    included.
    """

    round: int
    attempts: int
    survivors: tuple[str, ...]
    missing: tuple[Missing, ...]
    update_norm: float
    evaluation: Evaluation | None
    traffic: tuple[SiteBytes, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: the last model as a release, its rounds, and the starting release's evaluation (`before`).

    gated: why the last model is not released for use, "" when it is.

    missing: the sites of the plan that did not countersign, or were never reached, when the run was last started.
    traffic: bytes per site over the whole run, invitations and evaluation included, resumed parts added up.
    """

    release: Release
    before: Evaluation | None
    rounds: tuple[RoundLog, ...]
    missing: tuple[Missing, ...]
    traffic: tuple[SiteBytes, ...]
    seconds: float
    gated: str = ""
