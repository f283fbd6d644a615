"""As whom the coordinator of a real federation asks, and whose words on its plans it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..privacy.errors import RosterError
from ..privacy.identity import Identity
from ..privacy.messages import Countersignature
from ..privacy.plan import Plan
from ..privacy.plan_signatures import is_word_of, sign_plan
from ..privacy.roster import Roster


@dataclass(frozen=True, slots=True)
class CoordinatorTrust:
    """The coordinator's identity, and the approved sites, read anew each time so that a revocation takes effect."""

    identity: Identity
    approved: Callable[[], Roster]

    def sign(self, plan: Plan) -> bytes:
        """The coordinator's signature over a plan (64 bytes)."""
        return sign_plan(self.identity, plan)

    def fault(self, word: Countersignature) -> str:
        """Why this word on a plan does not count, or "" when it is the approved site's own."""
        try:
            key = self.approved().key(word.site)
        except RosterError:
            return "the site is not approved"
        return "" if is_word_of(key, word) else "its answer to the plan is not signed by the identity it enrolled with"
