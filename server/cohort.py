"""Gathering the sites of a plan: find their nodes, put the plan before them, and keep who countersigned."""

from __future__ import annotations

import time

from ..models.checkpoint import Release
from ..privacy import wire
from ..privacy.errors import WireError
from ..privacy.messages import Countersignature, Invitation
from ..privacy.plan import Plan
from .courier import Courier
from .errors import QuorumError
from .outcome import Missing
from .progress import SiteAgreed, SiteMissing, Watcher
from .run_folder import Settings
from .trust import CoordinatorTrust

_LONGEST_PAUSE = 5.0


class Cohort:
    """The sites that countersigned the plan, and why the others are missing."""

    def __init__(
        self,
        courier: Courier,
        plan: Plan,
        release: Release,
        settings: Settings,
        watch: Watcher,
        trust: CoordinatorTrust | None = None,
    ) -> None:
        card, tensors = release.to_bytes()
        signature = b"" if trust is None else trust.sign(plan)
        self._courier = courier
        self._plan = plan
        self._trust = trust
        self._invitation = wire.encode(Invitation(wire.encode(plan), card, tensors, signature))
        self._settings = settings
        self._watch = watch
        self._names = tuple(site.name for site in plan.sites)
        self._agreed: set[str] = set()
        self._missing: dict[str, Missing] = {}

    @property
    def present(self) -> tuple[str, ...]:
        """The sites that countersigned and whose node is connected, in the plan's order."""
        return tuple(site for site in self._names if site in self._agreed & self._courier.located)

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Every other site of the plan with the reason, in the plan's order."""
        present = set(self.present)
        unknown = f"; {self._courier.unknown}" if self._courier.unknown else ""
        unreached = {site: Missing(site, f"its node is not connected{unknown}", False) for site in self._names}
        return tuple((unreached | self._missing)[site] for site in self._names if site not in present)

    def gather(self) -> None:
        """Find and invite the sites that are absent, waiting for them as long as the settings say.

        A site that refused is not asked again. Raises QuorumError, naming every absent site and its reason, when
        fewer than the plan's quorum agreed.
        """
        until = time.monotonic() + self._settings.gather_seconds
        pause = 0.1
        while True:
            self._invite_absent()
            if all(site in self.present or self._has_refused(site) for site in self._names):
                break
            left = until - time.monotonic()
            if left <= 0.0:
                break
            time.sleep(min(pause, left))
            pause = min(2.0 * pause, _LONGEST_PAUSE)
        for missing in self.missing:
            self._watch(SiteMissing(missing))
        if len(self.present) < self._plan.quorum:
            raise QuorumError(
                f"{len(self.present)} of {len(self._names)} sites agreed to the plan and are connected, and its "
                f"quorum is {self._plan.quorum}; missing: {describe(self.missing)}",
                where=f"plan {self._plan.name!r}",
                fix="bring the missing sites back, or change what they refuse in a new plan",
            )

    def _has_refused(self, site: str) -> bool:
        return site in self._missing and self._missing[site].refused

    def _invite_absent(self) -> None:
        absent = [site for site in self._names if site not in self.present and not self._has_refused(site)]
        if not absent:
            return
        self._courier.locate(absent, self._settings.greet_seconds)
        for site, reason in self._courier.strangers.items():
            self._missing[site] = Missing(site, reason, True)
        invitees = [site for site in absent if site in self._courier.located and site not in self._agreed]
        delivery = self._courier.send(
            "query", dict.fromkeys(invitees, self._invitation), self._settings.step_seconds, 0
        )
        for site, reason in delivery.missing.items():
            self._missing[site] = Missing(site, reason, False)
        for site, answer in delivery.answers.items():
            self._take(site, answer)

    def _take(self, site: str, answer: bytes) -> None:
        try:
            word = wire.decode(Countersignature, answer)
        except WireError as fault:
            self._missing[site] = Missing(site, f"answered the invitation with something else: {fault}", False)
            return
        if word.plan_hash != self._plan.hash or word.site != site:
            self._missing[site] = Missing(site, "countersigned another plan or for another site", True)
        elif self._trust is not None and (fault := self._trust.fault(word)):
            self._missing[site] = Missing(site, fault, True)
        elif not word.accepted:
            self._missing[site] = Missing(site, word.reason, True)
        else:
            self._agreed.add(site)
            self._missing.pop(site, None)
            self._watch(SiteAgreed(site, word.epsilon_cap))


def describe(missing: tuple[Missing, ...]) -> str:
    """The absent sites and their reasons on one line."""
    return "; ".join(f"{one.site} ({'refused: ' if one.refused else ''}{one.reason})" for one in missing) or "none"
