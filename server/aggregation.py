"""Which coordinator's side sums the contributions, chosen by name when a run is prepared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..privacy.aggregation import CoordinatorAggregation, PlainCoordinator, Purpose
from ..privacy.plan import Plan


@dataclass(frozen=True, slots=True)
class Gathering:
    """One sum to be opened: whose, what for, and of vectors of which length.

    model: SHA-256 of the parameters that the step carries, so that a protocol can have every site sign it.
    """

    plan: Plan
    purpose: Purpose
    round: int
    attempt: int
    cohort: tuple[str, ...]
    length: int
    model: bytes


CoordinatorSide = Callable[[Gathering], CoordinatorAggregation]


def plain(gathering: Gathering) -> CoordinatorAggregation:
    """The plain sum. Nodes answer it only in simulation, whoever asks."""
    return PlainCoordinator(gathering.cohort, gathering.plan.quorum, gathering.length)


PLAIN: Mapping[str, CoordinatorSide] = {"plain": plain}
