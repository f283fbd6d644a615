"""The two sides of an aggregation: pure state machines that turn many vectors into one opened sum.

A site's side answers the coordinator's steps; the coordinator's side says what to send next and opens the sum when
enough came back. Neither does any I/O. The rounds drive whichever pair they are given: the plain sum below (only in
simulation, and the report says so), or an encrypted one with the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from . import wire
from .errors import AggregationError

Vector = NDArray[np.float64]
Purpose = Literal["update", "evaluation"]


@dataclass(frozen=True, slots=True)
class Opened:
    """The opened sum (d,) of the survivors' vectors, and who they are."""

    total: Vector
    survivors: tuple[str, ...]


class SiteAggregation(Protocol):
    """One site's side for one (purpose, round, attempt)."""

    def answer(self, payload: bytes, contribution: Callable[[], Vector]) -> bytes:
        """Answer one step of the coordinator.

        `contribution` makes the site's vector (d,); it is called at most once, in the step that releases it, so
        that a site whose round never gets that far charges and trains nothing. Raises AggregationError when the
        step breaks the protocol's rules.
        """
        ...


class CoordinatorAggregation(Protocol):
    """The coordinator's side for one (purpose, round, attempt)."""

    def requests(self) -> Mapping[str, bytes]:
        """The payload to send to each site in the next step; empty once there is nothing left to ask."""
        ...

    def receive(self, answers: Mapping[str, bytes]) -> None:
        """Take the answers to the last requests; sites that are missing have dropped out.

        Raises AggregationError when the quorum is lost or an answer breaks the rules.
        """
        ...

    @property
    def opened(self) -> Opened | None:
        """The sum, once open."""
        ...


@dataclass(frozen=True, slots=True)
class PlainVector:
    """A vector in clear (float64, little endian), for simulation only."""

    values: bytes


class PlainSite:
    """A site's side of the plain sum: one step, the vector in clear. Only for simulation."""

    def answer(self, payload: bytes, contribution: Callable[[], Vector]) -> bytes:
        """Return the contribution in clear; AggregationError when the step carries anything."""
        if payload:
            raise AggregationError("the plain sum has one step without content", where="aggregation")
        return wire.encode(PlainVector(contribution().astype("<f8").tobytes()))


class PlainCoordinator:
    """The coordinator's side of the plain sum. It sees every vector, hence only for simulation."""

    def __init__(self, cohort: tuple[str, ...], quorum: int, length: int) -> None:
        self._cohort = cohort
        self._quorum = quorum
        self._length = length
        self._opened: Opened | None = None

    @property
    def opened(self) -> Opened | None:
        """The sum, once the answers are in."""
        return self._opened

    def requests(self) -> Mapping[str, bytes]:
        """One empty step to every site of the cohort."""
        return {} if self._opened else dict.fromkeys(self._cohort, b"")

    def receive(self, answers: Mapping[str, bytes]) -> None:
        """Add up what came; AggregationError below the quorum or on a vector of another length."""
        strangers = answers.keys() - set(self._cohort)
        if strangers:
            raise AggregationError(f"answers from sites outside the cohort: {sorted(strangers)}", where="aggregation")
        survivors = tuple(site for site in self._cohort if site in answers)
        if len(survivors) < self._quorum:
            missing = sorted(set(self._cohort) - set(survivors))
            raise AggregationError(
                f"{len(survivors)} of {len(self._cohort)} sites answered and the quorum is {self._quorum}; "
                f"missing: {', '.join(missing)}",
                where="aggregation",
                fix="bring the missing sites back and resume",
            )
        total = np.zeros(self._length, dtype=np.float64)
        for site in survivors:
            values = wire.decode(PlainVector, answers[site]).values
            if len(values) != 8 * self._length:
                raise AggregationError(
                    f"site {site!r} sent {len(values) / 8:g} values instead of {self._length}", where="aggregation"
                )
            vector = np.frombuffer(values, dtype="<f8")
            if not bool(np.isfinite(vector).all()):
                raise AggregationError(f"site {site!r} sent values that are not finite", where="aggregation")
            total += vector
        self._opened = Opened(total, survivors)
