"""A consortium in one process: honest sites with real keys, and every message of theirs in the coordinator's hands.

tests/privacy/secure_aggregation/conftest.py is a link to this file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medquorum.privacy import roster as rosters
from medquorum.privacy import wire
from medquorum.privacy.aggregation import Vector
from medquorum.privacy.filters import Cost
from medquorum.privacy.heads import Head, SignedHead, sign_head
from medquorum.privacy.identity import Identity, fingerprint
from medquorum.privacy.plan import PlanSite
from medquorum.privacy.secure_aggregation import (
    Policy,
    SecureCoordinator,
    SecureSite,
    Session,
    Terms,
    derivation,
    ring,
    rules,
    sealing,
    shamir,
)
from medquorum.privacy.secure_aggregation.keystream import Mask, apply_masks
from medquorum.privacy.secure_aggregation.site import pair_sign
from medquorum.privacy.secure_aggregation.steps import (
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


class Memory:
    """A witness in memory: a ledger that is charged whenever its head is asked for, and a table of heads. told: what
    the peers kept, at each comparison."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.charged = 0
        self.table: dict[str, SignedHead] = {}
        self.witnesses: set[str] = set()
        self.told: list[dict[str, SignedHead | None]] = []

    def seen(self, site: str) -> SignedHead | None:
        return self.table.get(site)

    def compare(self, claims: Mapping[str, SignedHead | None], key: bytes) -> None:
        self.told.append(dict(claims))

    def head(self) -> Head:
        self.charged += 1
        return made_head(self.site, self.charged)

    def keep(self, heads: Mapping[str, SignedHead]) -> None:
        self.table |= heads

    def kept(self, own: SignedHead, by: Collection[str]) -> None:
        self.witnesses |= set(by)


def made_head(site: str, sequence: int) -> Head:
    """A head as a ledger would make it."""
    return Head(site, sequence, sequence.to_bytes(32, "big"), 3, Cost(1.0, 1e-5, 0.5), b"")


class Consortium:
    """n sites named a, b, c, ... with nominal counts 10, 20, ..., their identities, one roster, one vector each."""

    def __init__(self, n: int, length: int = 20, quorum: int = 0, seed: int = 1) -> None:
        self.names = tuple("abcdefghijklmnop"[:n])
        self.identities = {name: Identity.create() for name in self.names}
        first = self.names[0]
        self.roster = rosters.found("consortium", first, self.identities[first].public, at=1)
        for name in self.names[1:]:
            self.admit(name, self.identities[name])
        self.base = Terms(
            consortium="consortium",
            plan_hash=b"p" * 32,
            purpose="update",
            round=1,
            attempt=0,
            sites=tuple(PlanSite(name, 10 * (i + 1)) for i, name in enumerate(self.names)),
            quorum=quorum,
            length=length,
            value_range=1.0,
            content=b"m" * 32,
        )
        draw = np.random.default_rng(seed)
        self.vectors: dict[str, Vector] = {name: draw.normal(size=length) for name in self.names}
        self.policy = Policy()
        self.witnesses = {name: Memory(name) for name in self.names}

    def admit(self, name: str, identity: Identity) -> None:
        """The admin compares six words and admits a site."""
        words = " ".join(fingerprint(identity.public))
        self.roster = rosters.admit_by_word(self.roster, name, identity.public, words, at=2)

    def terms(self, **changes: Any) -> Terms:
        return replace(self.base, **changes)

    def site(self, name: str, kind: type[SecureSite] = SecureSite, **changes: Any) -> SecureSite:
        witness = self.witnesses.get(name) or Memory(name)
        return kind(name, self.identities[name], self.terms(**changes), self.policy, lambda: self.roster, witness)

    def sites(self, kind: type[SecureSite] = SecureSite, **changes: Any) -> dict[str, SecureSite]:
        return {name: self.site(name, kind, **changes) for name in self.names}

    def coordinator(self, cohort: tuple[str, ...] | None = None, **changes: Any) -> SecureCoordinator:
        return SecureCoordinator(self.terms(**changes), cohort or self.names, self.roster)

    def gives(self, name: str) -> Callable[[], Vector]:
        return lambda: self.vectors[name]

    def run(
        self,
        coordinator: SecureCoordinator,
        sites: Mapping[str, SecureSite],
        killed: Mapping[str, int] | None = None,
        steps: int = 5,
    ) -> dict[str, dict[int, bytes]]:
        """Drive honest sides for some steps. killed[name] = k: the site answers k steps and is never seen again.
        Returns every answer by site and step."""
        seen: dict[str, dict[int, bytes]] = {name: {} for name in self.names}
        for step in range(steps):
            for name, payload in coordinator.requests().items():
                if (killed or {}).get(name, 5) > step:
                    seen[name][step] = sites[name].answer(payload, self.gives(name))
            coordinator.receive({name: answers[step] for name, answers in seen.items() if step in answers})
        return seen

    def plain(self, names: tuple[str, ...]) -> Vector:
        """The plain sum of these sites' vectors."""
        return np.sum([self.vectors[name] for name in names], axis=0)


class Puppet:
    """A peer whose session secrets are in the attacker's hands, and the keys it publishes under some signature."""

    def __init__(self, session: Session, content: bytes, name: str, signer: Identity) -> None:
        self.sealing, self.masking, self.seed = b"1" * 31 + name.encode(), b"2" * 31 + name.encode(), bytes(32)
        self.signer = signer
        keys = Keys(
            session.hash,
            content,
            name,
            derivation.public_key(self.sealing),
            derivation.public_key(self.masking),
            derivation.commitment(session.hash, name, self.seed),
        )
        self.entry = SignedKeys(keys, signer.sign(rules.KEYS_DOMAIN, keys))


def isolate(target: SecureSite, name: str, session: Session, puppets: Mapping[str, Puppet], values: Vector) -> Vector:
    """Ask `target` for a sum in which every peer is a puppet, and read its vector. Raises what the target raises."""

    def ask(message: Any) -> bytes:
        return target.answer(wire.encode(message), lambda: values)

    own = wire.decode(SignedKeys, ask(Invite(session.names)))
    entries = {**{peer: puppet.entry for peer, puppet in puppets.items()}, name: own}
    listed = KeyList(tuple(entries[site] for site in sorted(entries)))
    transcript = derivation.transcript_of(wire.encode(listed))
    boxes = {sealed.peer: sealed.box for sealed in wire.decode(SealedShares, ask(listed)).boxes}
    shares: dict[int, bytes] = {}
    for peer, puppet in puppets.items():
        key = derivation.seal_key(puppet.sealing, own.keys.sealing, transcript, name, peer)
        shares[session.point(peer)] = sealing.unseal(key, transcript, name, peer, boxes[peer]).seed
    inbox: list[Sealed] = []
    for peer, puppet in sorted(puppets.items()):
        key = derivation.seal_key(puppet.sealing, own.keys.sealing, transcript, peer, name)
        pair = SharePair(bytes(33), bytes(33), None)
        inbox.append(Sealed(peer, sealing.seal(key, transcript, peer, name, pair)))
    masked = wire.decode(Masked, ask(Inbox(tuple(inbox))))
    vector = np.frombuffer(masked.vector, dtype="<u4").copy()
    if len(shares) < session.threshold:
        # The puppets alone hold too few shares: they close the session with the target, which adds its own.
        context = wire.digest(Exchange(transcript, session.names))
        heads = {peer: sign_head(puppet.signer, made_head(peer, 1), context) for peer, puppet in puppets.items()}
        heads[name] = masked.head
        survivors = Survivors(session.names, tuple(heads[site] for site in session.names))
        own_signature = wire.decode(Agreement, ask(survivors)).signature
        closing = Closing(transcript, session.names, session.names, wire.digest(survivors))
        signatures = {peer: puppet.signer.sign(rules.CLOSING_DOMAIN, closing) for peer, puppet in puppets.items()}
        agreements = Agreements(tuple(sorted({**signatures, name: own_signature}.items())))
        shares[session.point(name)] = dict(wire.decode(Unmasking, ask(agreements)).seeds)[name]
    pairs = [(peer, puppet.masking, own.keys.masking) for peer, puppet in puppets.items()]
    return strip(vector, session, transcript, name, shamir.combine(shares), pairs)


def strip(
    vector: Any, session: Session, transcript: bytes, name: str, seed: bytes, pairs: Sequence[tuple[str, bytes, bytes]]
) -> Vector:
    """Take a site's own mask (by its seed) and pair masks (peer, one private and one public key) off its masked
    vector, in place."""
    masks = [Mask(derivation.self_key(seed, transcript, name), -1)]
    for peer, private, public in pairs:
        masks.append(Mask(derivation.pair_key(private, public, transcript, name, peer), pair_sign(peer, name)))
    apply_masks(masks, vector)
    return ring.open_vector(vector, session.step)[0]


def without(monkeypatch: pytest.MonkeyPatch, *checks: str) -> None:
    """Remove rules of privacy/secure_aggregation/rules.py by name."""
    for check in checks:
        assert callable(getattr(rules, check))
        monkeypatch.setattr(rules, check, lambda *_: None)


class Tools:
    """The attacker's tools, for tests that cannot import this file."""

    Puppet = Puppet
    isolate = staticmethod(isolate)
    strip = staticmethod(strip)
    without = staticmethod(without)


@pytest.fixture(scope="session")
def attacker() -> type[Tools]:
    """The attacker's tools."""
    return Tools


@pytest.fixture(scope="session")
def consortium() -> Callable[..., Consortium]:
    """Makes consortia."""
    return Consortium
