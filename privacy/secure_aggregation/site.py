"""A site's side of secure aggregation: five answers, each given at most once, in order, and only if every rule holds.

Bonawitz et al. 2017 (CCS), figure 4, active-adversary variant with double masking. The state machine does no I/O and
keeps its secrets in memory only. After a refusal, and after its last answer, it forgets them and answers nothing: a
coordinator cannot try again within one session, and the node starts no second session for the same (purpose, round,
attempt) (sessions.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from .. import wire
from ..aggregation import Vector
from ..errors import AggregationError, WireError
from ..heads import SignedHead, sign_head
from ..identity import Identity
from ..roster import Roster
from . import derivation, ring, rules, sealing, shamir
from .errors import BreachError
from .keystream import Mask
from .steps import (
    Agreement,
    Agreements,
    Closing,
    Exchange,
    Inbox,
    Invite,
    KeyList,
    Keys,
    Masked,
    Sealed,
    SealedShares,
    SharePair,
    SignedKeys,
    Survivors,
    Unmasking,
)
from .terms import Policy, Session, Terms
from .witness import Witness

T = TypeVar("T")


class SecureSite:
    """One site in one session; implements `SiteAggregation`.

    roster: read anew at every step, so that a revocation takes effect at the next message. witness: the site's ledger
    and its peers' heads; all of its I/O is there. rounding: gives the bytes
    of the rounding's key; anything but the system's entropy is for reproducible simulation.
    """

    def __init__(
        self,
        site: str,
        identity: Identity,
        terms: Terms,
        policy: Policy,
        roster: Callable[[], Roster],
        witness: Witness,
        rounding: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._site = site
        self._identity = identity
        self._terms = terms
        self._policy = policy
        self._roster = roster
        self._witness = witness
        self._rounding = rounding
        self._step = 0
        self._ended = ""
        self._secrets: _Secrets | None = None
        self._session: Session | None = None
        self._own_keys: Keys | None = None
        self._keys: Mapping[str, Keys] = {}
        self._transcript = b""
        self._shares: dict[str, SharePair] = {}
        self._head: SignedHead | None = None
        self._closing: Closing | None = None

    @property
    def released(self) -> bool:
        """Whether the masked vector has left: from then on the update counts as opened, whatever follows."""
        return self._step > 2

    def answer(self, payload: bytes, contribution: Callable[[], Vector]) -> bytes:
        """Answer the next step (see steps.py). `contribution` makes the vector (d,) and is called in the third.

        Raises AggregationError (BreachError, QuorumLostError) when a rule is broken, and whatever `contribution`
        raises; either way the session is over.
        """
        if self._ended:
            raise BreachError(f"this aggregation is over: {self._ended}", where=self._where)
        handlers = self._handlers(contribution)
        kind, handler = handlers[self._step]
        try:
            rules.small_enough(payload, len(self._terms.sites))
            reply = handler(wire.decode(kind, payload))
        except WireError as fault:
            self._forget("a step could not be read")
            raise BreachError(str(fault), where=self._where) from fault
        except BaseException as fault:
            self._forget(str(fault) or type(fault).__name__)
            raise
        self._step += 1
        if self._step == len(handlers):
            self._forget("its sum was unmasked")
        return wire.encode(reply)

    def _handlers(self, contribution: Callable[[], Vector]) -> tuple[tuple[type[Any], Callable[[Any], Any]], ...]:
        return (
            (Invite, self._advertise),
            (KeyList, self._share),
            (Inbox, lambda inbox: self._mask(inbox, contribution)),
            (Survivors, self._agree),
            (Agreements, self._unmask),
        )

    @property
    def _where(self) -> str:
        return f"{self._terms.purpose}, round {self._terms.round}, attempt {self._terms.attempt}"

    def _forget(self, reason: str) -> None:
        self._ended = reason
        self._secrets = None
        self._shares = {}

    def _advertise(self, invite: Invite) -> SignedKeys:
        session = self._terms.session(invite.cohort)
        rules.invited(session, self._site)
        rules.enough_sites(session.names, session, self._policy, "cohort")
        rules.all_listed(session.names, self._roster())
        secrets = _Secrets()
        own = Keys(
            session.hash,
            self._terms.content,
            self._site,
            derivation.public_key(secrets.sealing),
            derivation.public_key(secrets.masking),
            derivation.commitment(session.hash, self._site, secrets.seed),
        )
        self._session, self._secrets, self._own_keys = session, secrets, own
        return SignedKeys(own, self._identity.sign(rules.KEYS_DOMAIN, own))

    def _share(self, listed: KeyList) -> SealedShares:
        session, secrets, own = _held(self._session), _held(self._secrets), _held(self._own_keys)
        names = tuple(entry.keys.site for entry in listed.entries)
        roster = self._roster()
        rules.in_order(names, session.names, "key list")
        rules.enough_sites(names, session, self._policy, "key list")
        for entry in listed.entries:
            rules.signed_by_roster(entry, roster)
            rules.same_session(entry.keys, session)
            rules.same_content(entry.keys, self._terms.content)
        self._keys = {entry.keys.site: entry.keys for entry in listed.entries}
        rules.different_keys(listed)
        rules.own_keys(self._keys, own)
        self._transcript = derivation.transcript_of(wire.encode(listed))
        seeds = shamir.split(secrets.seed, session.threshold, len(session.names))
        masking = shamir.split(secrets.masking, session.threshold, len(session.names))
        pairs = {
            s: SharePair(seeds[session.point(s) - 1], masking[session.point(s) - 1], self._witness.seen(s))
            for s in session.names
        }
        self._shares = {self._site: pairs[self._site]}
        boxes: list[Sealed] = []
        for peer in names:
            if peer != self._site:
                key = self._seal_key(self._site, peer)
                boxes.append(Sealed(peer, sealing.seal(key, self._transcript, self._site, peer, pairs[peer])))
        return SealedShares(tuple(boxes))

    def _mask(self, inbox: Inbox, contribution: Callable[[], Vector]) -> Masked:
        session, secrets = _held(self._session), _held(self._secrets)
        senders = tuple(sealed.peer for sealed in inbox.boxes)
        rules.in_order(senders, self._keys.keys() - {self._site}, "inbox")
        sharers = (*senders, self._site)
        rules.enough_sites(sharers, session, self._policy, "inbox")
        rules.all_listed(sharers, self._roster())
        for sealed in inbox.boxes:
            key = self._seal_key(sealed.peer, self._site)
            self._shares[sealed.peer] = sealing.unseal(key, self._transcript, sealed.peer, self._site, sealed.box)
        claims = {peer: self._shares[peer].witnessed for peer in senders}
        self._witness.compare(claims, self._identity.public)
        masks = [Mask(derivation.self_key(secrets.seed, self._transcript, self._site), 1)]
        for peer in senders:
            key = derivation.pair_key(secrets.masking, self._keys[peer].masking, self._transcript, self._site, peer)
            masks.append(Mask(key, pair_sign(self._site, peer)))
        values = contribution()
        if values.shape != (session.length,):
            raise AggregationError(
                f"a contribution of shape {values.shape} to a sum of {session.length} values", where=self._where
            )
        if session.whole:
            vector = ring.mask_whole(values, masks)
        else:
            vector = ring.mask_vector(values, session.limit(self._site), session.step, masks, self._rounding(32))
        # The contribution was charged while it was made: this is the head that the others must keep.
        self._head = sign_head(self._identity, self._witness.head(), self._context)
        return Masked(vector.tobytes(), self._head)

    @property
    def _context(self) -> bytes:
        return wire.digest(Exchange(self._transcript, tuple(sorted(self._shares))))

    def _agree(self, survivors: Survivors) -> Agreement:
        session, roster = _held(self._session), self._roster()
        rules.in_order(survivors.sites, self._shares.keys(), "survivors")
        rules.enough_sites(survivors.sites, session, self._policy, "survivors")
        rules.all_listed(survivors.sites, roster)
        rules.own_vector_counted(survivors, self._site)
        rules.a_head_each(survivors)
        rules.own_head_shown(survivors, _held(self._head))
        heads = dict(zip(survivors.sites, survivors.heads, strict=False))
        for site, head in heads.items():
            rules.signed_head(head, site, self._context, roster)
        self._witness.keep({site: head for site, head in heads.items() if site != self._site})
        sharers = tuple(sorted(self._shares))
        self._closing = Closing(self._transcript, sharers, survivors.sites, wire.digest(survivors))
        return Agreement(self._identity.sign(rules.CLOSING_DOMAIN, self._closing))

    def _unmask(self, agreements: Agreements) -> Unmasking:
        session, closing = _held(self._session), _held(self._closing)
        rules.agreed(agreements, closing, session, self._policy, self._roster())
        others = [site for site, _ in agreements.signatures if site != self._site]
        self._witness.kept(_held(self._head), others)
        alive = set(closing.survivors)
        # One share of each peer, never both: the self-mask seed of who survived, the masking key of who did not.
        return Unmasking(
            tuple((site, self._shares[site].seed) for site in closing.sharers if site in alive),
            tuple((site, self._shares[site].masking) for site in closing.sharers if site not in alive),
        )

    def _seal_key(self, sender: str, receiver: str) -> bytes:
        peer = receiver if sender == self._site else sender
        own = _held(self._secrets).sealing
        return derivation.seal_key(own, self._keys[peer].sealing, self._transcript, sender, receiver)


def pair_sign(site: str, peer: str) -> Literal[1, -1]:
    """+1 for the site whose name sorts first, -1 for the other, so that a pair's masks cancel."""
    return 1 if site < peer else -1


class _Secrets:
    """What a site draws for one session: two X25519 private keys and the seed of its own mask (32 bytes each)."""

    __slots__ = ("masking", "sealing", "seed")

    def __init__(self) -> None:
        self.sealing = os.urandom(derivation.SEED_BYTES)
        self.masking = os.urandom(derivation.SEED_BYTES)
        self.seed = os.urandom(derivation.SEED_BYTES)


def _held(value: T | None) -> T:
    if value is None:
        raise BreachError("a step before its time", where="aggregation")
    return value
