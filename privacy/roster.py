"""The roster: which site speaks with which key, since when, and until when.

Every node keeps its own, signed by itself, each version naming the hash of the one before. It changes in two ways
only: by the word of the node's own admin, who compared the six words of the new key's fingerprint with the other site's
admin, or by a change that enough members countersigned, as the node's policy says. The coordinator is no member, so it
can propose and deliver changes and bring none about. A revoked key stays listed and never comes back, so that an old
countersigned admission cannot be replayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from . import wire
from .errors import RosterError, WireError
from .identity import KEY_BYTES, Identity, fingerprint, same_fingerprint, verify

CHANGE_DOMAIN = "roster change"
ROSTER_DOMAIN = "roster"
_WHERE = "roster"


@dataclass(frozen=True, slots=True)
class Member:
    """A site and its Ed25519 public key (32 bytes). `since`, `revoked`: seconds since 1970, UTC; None = in force."""

    site: str
    key: bytes
    since: int
    revoked: int | None = None

    def __post_init__(self) -> None:
        if not self.site:
            raise RosterError("a member has no name", where=_WHERE, fix="name the site")
        if len(self.key) != KEY_BYTES:
            raise RosterError(f"site {self.site!r} has a key of {len(self.key)} bytes", where=_WHERE, fix="give 32")


@dataclass(frozen=True, slots=True)
class Change:
    """An admission or a revocation of one key, as members countersign it. It names the key, so that neither can be
    replayed: a listed key is not admitted again and a revoked one is not revoked again."""

    consortium: str
    action: Literal["admit", "revoke"]
    site: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Countersigned:
    """A change with members' signatures over it: (site, signature of 64 bytes)."""

    change: Change
    signatures: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class RosterPolicy:
    """What a node accepts besides its own admin's word: changes that `countersignatures` members signed; 0 = none."""

    countersignatures: int = 0

    def __post_init__(self) -> None:
        if self.countersignatures < 0:
            raise RosterError("a negative number of countersignatures", where=_WHERE, fix="give 0 or more")


@dataclass(frozen=True, slots=True)
class Roster:
    """One version of the list. `previous`: hash of the version before (empty for the first); `authority`: on whose
    word it changed ("founder", "admin", or the countersigning sites)."""

    consortium: str
    version: int
    previous: bytes
    authority: str
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        in_force = [m.site for m in self.members if m.revoked is None]
        keys = [m.key for m in self.members]
        if len(set(in_force)) != len(in_force) or len(set(keys)) != len(keys):
            raise RosterError("a site or a key is listed twice", where=_WHERE, fix="restore the node's last roster")

    @property
    def hash(self) -> bytes:
        """SHA-256 of the canonical bytes (32 bytes)."""
        return wire.digest(self)

    def key(self, site: str) -> bytes:
        """The key in force of `site` (32 bytes); RosterError when it is unknown or revoked."""
        for member in self.members:
            if member.site == site and member.revoked is None:
                return member.key
        if any(member.site == site for member in self.members):
            raise RosterError(f"site {site!r} is revoked", where=_WHERE, fix="ask its admin for a new key")
        raise RosterError(
            f"site {site!r} is not on this node's roster", where=_WHERE, fix="admit it by its six-word fingerprint"
        )


@dataclass(frozen=True, slots=True)
class SignedRoster:
    """A roster as a node stores it, under its own signature: a copy edited on disk does not load."""

    roster: bytes
    signature: bytes


def found(consortium: str, site: str, key: bytes, at: int) -> Roster:
    """The first version, with the node's own site alone."""
    return Roster(consortium, 1, b"", "founder", (Member(site, key, at),))


def admit_by_word(roster: Roster, site: str, key: bytes, words: str, at: int) -> Roster:
    """Admit `site` because this node's admin typed the six words that the other admin read out.

    Raises RosterError when the words are not this key's fingerprint, or the name or key cannot be admitted.
    """
    if not same_fingerprint(key, words):
        raise RosterError(
            f"these six words are not the fingerprint of the key offered for {site!r}",
            where=_WHERE,
            fix="ask the other site's admin to read its words again; if they still differ, somebody is in between",
        )
    return _apply(roster, Change(roster.consortium, "admit", site, key), "admin", at)


def revoke_by_word(roster: Roster, site: str, at: int) -> Roster:
    """Revoke `site` at once because this node's admin said so; RosterError when it is not in force."""
    return _apply(roster, Change(roster.consortium, "revoke", site, roster.key(site)), "admin", at)


def countersign(identity: Identity, change: Change) -> bytes:
    """A member's signature under a change (64 bytes), given after its admin compared the fingerprint."""
    return identity.sign(CHANGE_DOMAIN, change)


def apply_countersigned(roster: Roster, request: Countersigned, policy: RosterPolicy, at: int) -> Roster:
    """Apply a change that enough members asked for.

    Signatures count when they are by members in force, each once, other than the site concerned. Raises RosterError
    when the policy takes no countersigned changes, a signature does not hold, or there are too few.
    """
    if policy.countersignatures == 0:
        raise RosterError(
            f"this node takes changes only by its admin's word, not {request.change.action!r} of "
            f"{request.change.site!r} by others",
            where=_WHERE,
            fix="compare the six words with that site's admin and confirm them here",
        )
    signers = _signers(roster, request)
    if len(signers) < policy.countersignatures:
        raise RosterError(
            f"{request.change.action!r} of {request.change.site!r} has {len(signers)} valid countersignatures; "
            f"this node asks for {policy.countersignatures}",
            where=_WHERE,
            fix="collect the missing members' countersignatures, or confirm the six words here",
        )
    return _apply(roster, request.change, ", ".join(signers), at)


def sign_roster(identity: Identity, roster: Roster) -> bytes:
    """The canonical bytes of a roster under the node's own signature."""
    return wire.encode(SignedRoster(wire.encode(roster), identity.sign(ROSTER_DOMAIN, roster)))


def open_roster(data: bytes, key: bytes, newest_hash: bytes | None = None) -> Roster:
    """Read a stored roster back. `newest_hash`: the version the node last used, to notice an older copy.

    Raises RosterError when the bytes are damaged, not signed by `key`, or another version.
    """
    fix = "restore the node's last roster"
    try:
        stored = wire.decode(SignedRoster, data)
        roster = wire.decode(Roster, stored.roster)
    except WireError as fault:
        raise RosterError("the stored roster is damaged", where=_WHERE, fix=fix) from fault
    if not verify(key, ROSTER_DOMAIN, roster, stored.signature):
        raise RosterError("the stored roster does not bear this node's signature", where=_WHERE, fix=fix)
    if newest_hash is not None and roster.hash != newest_hash:
        raise RosterError(f"the stored roster (version {roster.version}) is not the newest", where=_WHERE, fix=fix)
    return roster


def check_chain(versions: Sequence[Roster]) -> None:
    """Check a history from its first version on: numbers without gaps, each naming the hash of the one before, and no
    revoked member back in force. Raises RosterError at the first break."""
    previous: Roster | None = None
    for number, roster in enumerate(versions, start=1):
        expected = previous.hash if previous else b""
        if roster.version != number or roster.previous != expected:
            raise RosterError(f"version {number} does not follow the one before", where=_WHERE, fix="distrust it")
        if previous and not {m.key for m in previous.members} <= {m.key for m in roster.members}:
            raise RosterError(f"version {number} drops a member", where=_WHERE, fix="distrust it")
        if previous and not _revoked(previous.members) <= _revoked(roster.members):
            raise RosterError(f"version {number} brings a revoked key back", where=_WHERE, fix="distrust it")
        previous = roster


def _revoked(members: Iterable[Member]) -> set[bytes]:
    return {member.key for member in members if member.revoked is not None}


def _signers(roster: Roster, request: Countersigned) -> tuple[str, ...]:
    signers: list[str] = []
    for site, signature in request.signatures:
        if site == request.change.site or site in signers:
            raise RosterError(f"a countersignature of {site!r} that does not count", where=_WHERE, fix="leave it out")
        if not verify(roster.key(site), CHANGE_DOMAIN, request.change, signature):
            raise RosterError(f"the countersignature of {site!r} does not hold", where=_WHERE, fix="ask it again")
        signers.append(site)
    return tuple(signers)


def _apply(roster: Roster, change: Change, authority: str, at: int) -> Roster:
    if change.consortium != roster.consortium:
        raise RosterError(f"a change of another consortium, {change.consortium!r}", where=_WHERE, fix="refuse it")
    if change.action == "admit":
        if any(member.key == change.key for member in roster.members):
            raise RosterError(
                f"this key was listed before ({' '.join(fingerprint(change.key))})",
                where=_WHERE,
                fix="let the site make a new key: a revoked one never comes back",
            )
        if any(member.site == change.site and member.revoked is None for member in roster.members):
            raise RosterError(f"site {change.site!r} has a key already", where=_WHERE, fix="revoke that one first")
        members = (*roster.members, Member(change.site, change.key, at))
    else:
        if roster.key(change.site) != change.key:
            raise RosterError(f"{change.site!r} has another key in force", where=_WHERE, fix="name that one")
        members = tuple(replace(m, revoked=at) if m.key == change.key else m for m in roster.members)
    return Roster(roster.consortium, roster.version + 1, roster.hash, authority, members)
