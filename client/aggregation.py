"""Which site's side of an aggregation a node uses, and what it is told about the sum it is part of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..privacy.aggregation import PlainSite, Purpose, SiteAggregation
from ..privacy.plan import Plan
from ..privacy.secure_aggregation import Witness


@dataclass(frozen=True, slots=True)
class Part:
    """A site's part in one sum.

    length: values in the site's vector. model: SHA-256 (32 bytes) of the parameters as this node received them.
    witness: the node's ledger and the heads of others' that it keeps.
    """

    plan: Plan
    site: str
    purpose: Purpose
    round: int
    attempt: int
    length: int
    model: bytes
    witness: Witness


SiteSide = Callable[[Part], SiteAggregation]


def plain(part: Part) -> SiteAggregation:
    """The plain sum, which a node answers only under SimulationRights."""
    return PlainSite()
