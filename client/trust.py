"""Whom a node of a real federation believes, and as whom it speaks."""

from __future__ import annotations

from dataclasses import dataclass

from ..privacy.identity import Identity
from ..privacy.messages import Countersignature
from ..privacy.plan import Plan
from ..privacy.plan_signatures import is_signed_by, sign_word
from .policy import PolicyError


@dataclass(frozen=True, slots=True)
class Trust:
    """The consortium that the node joined, the coordinator's public key (32 bytes) as its admin confirmed it when
    enrolling, and the site's own identity. Only the process that opens the node can give it; no message can."""

    consortium: str
    coordinator: bytes
    identity: Identity

    def require_signed(self, plan: Plan, signature: bytes) -> None:
        """Raise PolicyError unless the plan is the pinned coordinator's, for this node's consortium."""
        if not is_signed_by(self.coordinator, plan, signature):
            raise PolicyError(
                "the plan is not signed by the coordinator whose key this node pinned"
                if signature
                else "the plan is not signed",
                fix="if the coordinator has a new identity, compare its six words and run medquorum node enrol again",
            )
        if plan.consortium != self.consortium:
            raise PolicyError(
                f"the plan is of the consortium {plan.consortium!r} and this node joined {self.consortium!r}"
            )

    def sign(self, word: Countersignature) -> Countersignature:
        """The site's word under its own signature."""
        return sign_word(self.identity, word)
