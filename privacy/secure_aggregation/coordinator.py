"""The coordinator's side of secure aggregation: asks five times, drops who does not answer well, opens one sum.

An honest coordinator checks what it can, so that one faulty site counts as dropped instead of stopping the others;
nothing of what protects the sites rests on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, islice
from typing import Any

import numpy as np

from .. import wire
from ..aggregation import Opened
from ..errors import PrivacyError
from ..heads import SignedHead
from ..identity import verify
from ..roster import Roster
from . import derivation, ring, rules, shamir
from .errors import BreachError, QuorumLostError
from .keystream import Mask, Ring, apply_masks
from .site import pair_sign
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
    SignedKeys,
    Survivors,
    Unmasking,
)
from .terms import Terms

# Subsets of shares tried when one of them is false, before the secret is given up.
_TRIES = 2000


class SecureCoordinator:
    """One session over `cohort`; implements `CoordinatorAggregation`.

    faults: why a site that answered counts as dropped. saturated: how many values of the opened sum saturated.
    """

    def __init__(self, terms: Terms, cohort: tuple[str, ...], roster: Roster) -> None:
        self._terms = terms
        self._session = terms.session(tuple(sorted(cohort)))
        self._roster = roster
        self._step = 0
        self._requests: Mapping[str, bytes] = dict.fromkeys(
            self._session.names, wire.encode(Invite(self._session.names))
        )
        self.faults: dict[str, str] = {}
        self.saturated = 0
        self._keys: dict[str, Keys] = {}
        self._transcript = b""
        self._boxes: dict[str, dict[str, bytes]] = {}
        self._total: Ring = np.zeros(terms.length + 1, dtype="<u4")
        self._survivors: tuple[str, ...] = ()
        self._closing: Closing | None = None
        self._seeds: dict[str, dict[int, bytes]] = {}
        self._masking: dict[str, dict[int, bytes]] = {}
        self._opened: Opened | None = None

    @property
    def opened(self) -> Opened | None:
        """The sum over the survivors, once open."""
        return self._opened

    def requests(self) -> Mapping[str, bytes]:
        """The next step's payloads by site; empty when the sum is open or the quorum was lost."""
        return self._requests

    def receive(self, answers: Mapping[str, bytes]) -> None:
        """Take the answers to the last requests. Missing and faulty ones count as dropped.

        Raises QuorumLostError when too few are left, after which there is nothing more to ask.
        """
        asked, self._requests = self._requests, {}
        if not asked:
            raise BreachError("nothing was asked", where=self._where)
        strangers = answers.keys() - asked.keys()
        if strangers:
            raise BreachError(f"answers from sites that were not asked: {sorted(strangers)}", where=self._where)
        takers = (self._take_keys, self._take_boxes, self._take_vector, self._take_agreement, self._take_shares)
        taken: dict[str, Any] = {}
        for site in sorted(answers):
            try:
                taken[site] = takers[self._step](site, answers[site])
            except PrivacyError as fault:
                self.faults[site] = str(fault)
        self._require(taken)
        after = (self._list_keys, self._deliver, self._announce, self._confirm, self._open)
        self._requests = after[self._step](taken)
        self._step += 1

    @property
    def _where(self) -> str:
        return f"{self._terms.purpose}, round {self._terms.round}, attempt {self._terms.attempt}"

    def _require(self, taken: Mapping[str, Any]) -> None:
        names, least = self._session.names, self._session.threshold
        if len(taken) >= least:
            return
        missing = [f"{n} ({self.faults[n]})" if n in self.faults else n for n in names if n not in taken]
        raise QuorumLostError(
            f"{len(taken)} of {len(names)} sites are left and {least} are needed to open the sum; missing: "
            f"{', '.join(missing)}",
            where=self._where,
            fix="bring the missing sites back and try again",
        )

    def _take_keys(self, site: str, answer: bytes) -> SignedKeys:
        entry = wire.decode(SignedKeys, answer)
        if entry.keys.site != site:
            raise BreachError(f"keys of {entry.keys.site!r} came from {site!r}")
        rules.signed_by_roster(entry, self._roster)
        rules.same_session(entry.keys, self._session)
        rules.same_content(entry.keys, self._terms.content)
        return entry

    def _list_keys(self, taken: Mapping[str, SignedKeys]) -> Mapping[str, bytes]:
        listed = wire.encode(KeyList(tuple(taken.values())))
        self._keys = {site: entry.keys for site, entry in taken.items()}
        self._transcript = derivation.transcript_of(listed)
        return dict.fromkeys(taken, listed)

    def _take_boxes(self, site: str, answer: bytes) -> dict[str, bytes]:
        boxes = {sealed.peer: sealed.box for sealed in wire.decode(SealedShares, answer).boxes}
        if boxes.keys() != self._keys.keys() - {site}:
            raise BreachError(f"{site!r} did not seal shares for exactly the others")
        return boxes

    def _deliver(self, taken: Mapping[str, dict[str, bytes]]) -> Mapping[str, bytes]:
        self._boxes = dict(taken)
        return {
            site: wire.encode(Inbox(tuple(Sealed(peer, taken[peer][site]) for peer in taken if peer != site)))
            for site in taken
        }

    def _take_vector(self, site: str, answer: bytes) -> SignedHead:
        masked = wire.decode(Masked, answer)
        if len(masked.vector) != 4 * self._total.size:
            raise BreachError(f"{site!r} sent {len(masked.vector)} bytes instead of {4 * self._total.size}")
        context = wire.digest(Exchange(self._transcript, tuple(self._boxes)))
        rules.signed_head(masked.head, site, context, self._roster)
        self._total += np.frombuffer(masked.vector, dtype="<u4")
        return masked.head

    def _announce(self, taken: Mapping[str, SignedHead]) -> Mapping[str, bytes]:
        self._survivors = tuple(taken)
        survivors = Survivors(self._survivors, tuple(taken.values()))
        self._closing = Closing(self._transcript, tuple(self._boxes), self._survivors, wire.digest(survivors))
        return dict.fromkeys(taken, wire.encode(survivors))

    def _take_agreement(self, site: str, answer: bytes) -> bytes:
        signature = wire.decode(Agreement, answer).signature
        if not verify(self._roster.key(site), rules.CLOSING_DOMAIN, self._closing, signature):
            raise BreachError(f"{site!r} signed another survivor list")
        return signature

    def _confirm(self, taken: Mapping[str, bytes]) -> Mapping[str, bytes]:
        return dict.fromkeys(taken, wire.encode(Agreements(tuple(taken.items()))))

    def _take_shares(self, site: str, answer: bytes) -> str:
        shares = wire.decode(Unmasking, answer)
        dropped = [name for name in self._boxes if name not in self._survivors]
        if [n for n, _ in shares.seeds] != list(self._survivors) or [n for n, _ in shares.masking] != dropped:
            raise BreachError(f"{site!r} did not give exactly the shares that the closing names")
        for table, given in ((self._seeds, shares.seeds), (self._masking, shares.masking)):
            for owner, share in given:
                table.setdefault(owner, {})[self._session.point(site)] = share
        return site

    def _open(self, taken: Mapping[str, str]) -> Mapping[str, bytes]:
        apply_masks(self._masks(), self._total)
        total, self.saturated = ring.open_vector(self._total, self._session.step)
        self._opened = Opened(total, self._survivors)
        return {}

    def _masks(self) -> list[Mask]:
        """What still lies on the sum, with its sign turned round: every survivor's own mask, and a dropped sharer's
        pair masks with every survivor."""
        masks: list[Mask] = []
        for site, shares in self._seeds.items():
            seed = self._reconstruct(
                site,
                shares,
                lambda s, site=site: derivation.commitment(self._session.hash, site, s),
                self._keys[site].commitment,
            )
            masks.append(Mask(derivation.self_key(seed, self._transcript, site), -1))
        for site, shares in self._masking.items():
            private = self._reconstruct(site, shares, derivation.public_key, self._keys[site].masking)
            for peer in self._survivors:
                key = derivation.pair_key(private, self._keys[peer].masking, self._transcript, site, peer)
                masks.append(Mask(key, pair_sign(site, peer)))
        return masks

    def _reconstruct(self, site: str, shares: Mapping[int, bytes], published: Any, expected: bytes) -> bytes:
        """The secret whose published form is the expected one. A false share is passed over as long as enough true
        ones are there, and its giver (or the secret's owner) is to blame."""
        for points in islice(combinations(shares, self._session.threshold), _TRIES):
            try:
                secret = shamir.combine({point: shares[point] for point in points})
            except BreachError:
                continue
            if published(secret) == expected:
                return secret
        raise QuorumLostError(
            f"the shares of {site!r} do not give back what it published: it shared something else, or a survivor "
            f"sent a false share",
            where=self._where,
            fix="try again without it",
        )
