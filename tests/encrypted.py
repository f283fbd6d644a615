"""The encrypted sum among real nodes in one process: identities on one roster, and both sides of the protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from hospitals import RIGHTS

from medquorum.client.aggregation import Part
from medquorum.client.network.secure import secure_side
from medquorum.models.checkpoint import Release
from medquorum.privacy import roster as rosters
from medquorum.privacy.aggregation import CoordinatorAggregation, SiteAggregation
from medquorum.privacy.identity import Identity, fingerprint
from medquorum.privacy.plan import Plan
from medquorum.server.aggregation import Gathering
from medquorum.server.network.app import secure
from medquorum.server.outcome import Outcome
from medquorum.simulations.engine import federate
from medquorum.simulations.engine.federate import SETTINGS


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
        return secure(self.roster, gathering)


def run(plan: Plan, release: Release, folders: Mapping[str, Path], folder: Path, network: Network | None) -> Outcome:
    """A whole federation of the nodes in `folders`, summed by `network` under encryption, or plainly without one."""
    if network is None:
        return federate(folders, plan, release, folder / "run", rights=RIGHTS)
    return federate(
        folders,
        plan,
        release,
        folder / "run",
        rights=RIGHTS,
        settings=replace(SETTINGS, aggregation="secure"),
        sides={"secure": network.coordinator},
        site_side=network.site,
    )
