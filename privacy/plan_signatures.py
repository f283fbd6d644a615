"""The two signatures under a plan: the coordinator's, who asks for it, and each site's, who agrees or refuses.

The coordinator's signature lets a node know that a plan comes from the consortium's operator and not from whoever holds
the TLS endpoint. The site's lets the coordinator know that the site whose admin read out six words agreed, and not
another one under its name. Neither replaces the node's own checks of what the plan says.
"""

from __future__ import annotations

from dataclasses import replace

from .identity import Identity, verify
from .messages import Countersignature
from .plan import Plan

PLAN_DOMAIN = "plan"
WORD_DOMAIN = "word on a plan"


def sign_plan(identity: Identity, plan: Plan) -> bytes:
    """The coordinator's signature over a plan (64 bytes)."""
    return identity.sign(PLAN_DOMAIN, plan)


def is_signed_by(key: bytes, plan: Plan, signature: bytes) -> bool:
    """Whether the coordinator with this key (32 bytes) signed exactly this plan."""
    return verify(key, PLAN_DOMAIN, plan, signature)


def sign_word(identity: Identity, word: Countersignature) -> Countersignature:
    """A site's word on a plan, with its signature over everything in it."""
    return replace(word, signature=identity.sign(WORD_DOMAIN, replace(word, signature=b"")))


def is_word_of(key: bytes, word: Countersignature) -> bool:
    """Whether the site with this key (32 bytes) gave exactly this word."""
    return verify(key, WORD_DOMAIN, replace(word, signature=b""), word.signature)
