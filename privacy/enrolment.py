"""How a site asks to join: its own keys, signed by itself, and nothing that the coordinator could add to.

The request proves possession of the identity key. It proves nothing about who holds it: that is what the six words
are for, which the operator and the other sites' admins compare by telephone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import wire
from .errors import IdentityError, WireError
from .identity import KEY_BYTES, Identity, verify

ENROLMENT_DOMAIN = "enrolment"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MAX_NODE_KEY = 512


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A site's request. key: its Ed25519 identity (32 bytes); node_key: the P-384 public key (PEM) with which its
    node authenticates to Flower; version: of medquorum."""

    site: str
    key: bytes
    node_key: bytes
    version: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.site):
            raise IdentityError(
                f"{self.site!r} is not a site name",
                fix="use letters, digits, dots, hyphens and underscores, beginning with a letter or digit, at most 63",
            )
        if len(self.key) != KEY_BYTES:
            raise IdentityError(f"site {self.site!r} has a key of {len(self.key)} bytes", fix="give 32")
        if not 0 < len(self.node_key) <= _MAX_NODE_KEY:
            raise IdentityError(f"site {self.site!r} has a node key of {len(self.node_key)} bytes")


@dataclass(frozen=True, slots=True)
class SignedEnrolment:
    """An enrolment (canonical bytes) under the site's own signature (64 bytes)."""

    enrolment: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class ListedSite:
    """A site as the coordinator lists it for the others: its own signed enrolment, and whether it is approved.

    The list is a convenience and trusted by nobody: a node admits a key only by its admin's word."""

    enrolment: SignedEnrolment
    approved: bool


@dataclass(frozen=True, slots=True)
class ConsortiumList:
    """What the front door publishes: the consortium's name, the coordinator's identity (Ed25519 public key, 32 bytes)
    and the sites. A node pins the key when it enrols, and its admin compares the key's six words by telephone."""

    consortium: str
    key: bytes
    sites: tuple[ListedSite, ...]


def sign_enrolment(identity: Identity, enrolment: Enrolment) -> SignedEnrolment:
    """Sign a request; IdentityError when it names another key than the identity's."""
    if enrolment.key != identity.public:
        raise IdentityError("the enrolment names another key than the one that signs it")
    return SignedEnrolment(wire.encode(enrolment), identity.sign(ENROLMENT_DOMAIN, enrolment))


def open_enrolment(signed: SignedEnrolment) -> Enrolment:
    """Check a request against its own key and return it; IdentityError when it does not hold."""
    try:
        enrolment = wire.decode(Enrolment, signed.enrolment)
    except WireError as fault:
        raise IdentityError(f"the enrolment cannot be read: {fault.what}") from fault
    if not verify(enrolment.key, ENROLMENT_DOMAIN, enrolment, signed.signature):
        raise IdentityError(
            f"the enrolment of {enrolment.site!r} is not signed by its own key", fix="run medquorum node enrol again"
        )
    return enrolment
