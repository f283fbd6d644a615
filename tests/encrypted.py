"""The encrypted sum among real nodes in one process: identities on one roster, and both sides of the protocol."""

from __future__ import annotations

from collections.abc import Iterable

from medquorum.client.aggregation import Part
from medquorum.client.network.secure import secure_side
from medquorum.privacy import roster as rosters
from medquorum.privacy.aggregation import CoordinatorAggregation, SiteAggregation
from medquorum.privacy.identity import Identity, fingerprint
from medquorum.privacy.ranges import value_range, whole_numbers
from medquorum.privacy.secure_aggregation import SecureCoordinator, Terms
from medquorum.server.aggregation import Gathering


class Network:
    """The sites' identities on one roster, and both sides of the encrypted sum among them."""

    def __init__(self, sites: Iterable[str]) -> None:
        names = list(sites)
        self.identities = {name: Identity.create() for name in names}
        self.roster = rosters.found("tests", names[0], self.identities[names[0]].public, at=1)
        for name in names[1:]:
            key = self.identities[name].public
            self.roster = rosters.admit_by_word(self.roster, name, key, " ".join(fingerprint(key)), at=2)

    def site(self, part: Part) -> SiteAggregation:
        """A site's side, for Node.open or federate."""
        return secure_side(self.identities[part.site], lambda: self.roster, 3)(part)

    def coordinator(self, gathering: Gathering) -> CoordinatorAggregation:
        """The coordinator's side."""
        plan = gathering.plan
        terms = Terms(
            consortium=plan.consortium,
            plan_hash=plan.hash,
            purpose=gathering.purpose,
            round=gathering.round,
            attempt=gathering.attempt,
            sites=plan.sites,
            quorum=plan.quorum,
            length=gathering.length,
            value_range=value_range(plan, gathering.purpose),
            content=gathering.model,
            whole=whole_numbers(plan, gathering.purpose),
        )
        return SecureCoordinator(terms, gathering.cohort, self.roster)
