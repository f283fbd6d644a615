"""Why an aggregation ended: somebody broke its rules, or too few sites are left."""

from __future__ import annotations

from ..errors import AggregationError


class BreachError(AggregationError):
    """A message that an honest peer would not have sent, or that belongs elsewhere; nothing more is answered."""


class QuorumLostError(AggregationError):
    """Too few sites are left for anything to be opened; a later attempt may succeed."""
