"""At most one session for each (plan, purpose, round, attempt), in order, across restarts of the node.

Two sessions over one update among different cohorts would let their sums be subtracted from each other. So a node
begins a session once: an attempt counts from the moment it is begun, and neither it nor an earlier one ever begins
again. Who keeps the node's durable state says here what was begun before, and writes down what begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..aggregation import Purpose
from .errors import BreachError
from .terms import Terms


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that was begun."""

    plan_hash: bytes
    purpose: Purpose
    round: int
    attempt: int


class Sessions:
    """What a node has begun. before: from its durable state. record: called, and returned from, before a session's
    first answer leaves; it writes durably and may raise."""

    def __init__(self, before: Iterable[Begun] = (), record: Callable[[Begun], None] = lambda _: None) -> None:
        self._newest: dict[tuple[bytes, str], tuple[int, int]] = {}
        self._record = record
        for begun in before:
            key, mark = (begun.plan_hash, begun.purpose), (begun.round, begun.attempt)
            self._newest[key] = max(mark, self._newest.get(key, mark))

    def begin(self, terms: Terms) -> None:
        """Mark this session as begun; BreachError when it, or a later one of the same plan and purpose, was begun."""
        key, mark = (terms.plan_hash, terms.purpose), (terms.round, terms.attempt)
        newest = self._newest.get(key)
        if newest is not None and mark <= newest:
            raise BreachError(
                f"{terms.purpose} of round {terms.round}, attempt {terms.attempt} was asked for before "
                f"(newest: round {newest[0]}, attempt {newest[1]})",
                where="sessions",
                fix="the coordinator must ask for a new attempt, which draws a new sample and a new charge",
            )
        self._record(Begun(terms.plan_hash, terms.purpose, terms.round, terms.attempt))
        self._newest[key] = mark
