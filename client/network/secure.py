"""The site's side of the encrypted sum: the node's identity, its roster and its policy, for each part it takes."""

from __future__ import annotations

from collections.abc import Callable

from ...privacy.aggregation import SiteAggregation
from ...privacy.identity import Identity
from ...privacy.ranges import value_range, whole_numbers
from ...privacy.roster import Roster
from ...privacy.secure_aggregation import Policy, SecureSite, Terms
from ..aggregation import Part, SiteSide


def secure_side(identity: Identity, roster: Callable[[], Roster], minimum_cohort: int) -> SiteSide:
    """A site's side for every part: `roster` is read anew at every step, so that a revocation takes effect at once."""
    policy = Policy(minimum_cohort)

    def side(part: Part) -> SiteAggregation:
        plan = part.plan
        terms = Terms(
            consortium=plan.consortium,
            plan_hash=plan.hash,
            purpose=part.purpose,
            round=part.round,
            attempt=part.attempt,
            sites=plan.sites,
            quorum=plan.quorum,
            length=part.length,
            value_range=value_range(plan, part.purpose),
            content=part.model,
            whole=whole_numbers(plan, part.purpose),
        )
        return SecureSite(part.site, identity, terms, policy, roster, part.witness)

    return side
