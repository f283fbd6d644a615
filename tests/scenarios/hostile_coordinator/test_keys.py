"""Attacks through the key list: the coordinator puts keys of its own, or old ones, in the peers' places.

With them it would read a site's shares and masks alone. Every attack runs twice: against an honest site, which refuses
and says why, and against one whose rule is removed, whose vector it then reads exactly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medquorum.privacy import wire
from medquorum.privacy.identity import Identity
from medquorum.privacy.roster import revoke_by_word
from medquorum.privacy.secure_aggregation import BreachError, derivation, shamir
from medquorum.privacy.secure_aggregation.steps import Invite, KeyList, SignedKeys

VICTIM = "b"


def read(group: Any, attacker: Any, puppets: Any) -> Any:
    """The victim's vector as the attacker reads it (or the victim's refusal)."""
    session = group.base.session(group.names)
    return attacker.isolate(group.site(VICTIM), VICTIM, session, puppets, group.vectors[VICTIM])


def peers(group: Any) -> list[str]:
    return [name for name in group.names if name != VICTIM]


def is_read(group: Any, vector: Any) -> bool:
    return bool(np.abs(vector - group.vectors[VICTIM]).max() < 1e-6)


def puppets_signed_by(group: Any, attacker: Any, signers: dict[str, Identity]) -> Any:
    session = group.base.session(group.names)
    return {peer: attacker.Puppet(session, group.base.content, peer, signers[peer]) for peer in peers(group)}


def test_unsigned_keys(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    group = consortium(5)

    def attack() -> Any:
        puppets = puppets_signed_by(group, attacker, group.identities)
        for puppet in puppets.values():
            puppet.entry = replace(puppet.entry, signature=b"")
        return read(group, attacker, puppets)

    with pytest.raises(BreachError, match="'a' are not signed by its identity"):
        attack()
    attacker.without(monkeypatch, "signed_by_roster")
    assert is_read(group, attack())


def test_keys_signed_by_a_stranger(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    group = consortium(5)
    stranger = Identity.create()

    def attack() -> Any:
        return read(group, attacker, puppets_signed_by(group, attacker, dict.fromkeys(group.names, stranger)))

    with pytest.raises(BreachError, match="not signed by its identity"):
        attack()
    attacker.without(monkeypatch, "signed_by_roster")
    assert is_read(group, attack())


@pytest.mark.parametrize(
    "elsewhere", [{"round": 0}, {"attempt": 1}, {"plan_hash": b"q" * 32}, {"purpose": "evaluation"}]
)
def test_keys_replayed_from_elsewhere(consortium: Any, attacker: Any, monkeypatch: Any, elsewhere: Any) -> None:
    """The peers' secrets of another session were stolen; their keys of that session really bear their signatures."""
    group = consortium(5)
    other = group.terms(**elsewhere).session(group.names)
    stolen = {peer: attacker.Puppet(other, group.base.content, peer, group.identities[peer]) for peer in peers(group)}
    with pytest.raises(BreachError, match="made for another plan, round, attempt or cohort"):
        read(group, attacker, stolen)
    attacker.without(monkeypatch, "same_session")
    assert is_read(group, read(group, attacker, stolen))


def test_a_revoked_peer_is_refused_at_the_next_message(consortium: Any, monkeypatch: Any, attacker: Any) -> None:
    """A peer is revoked between the key list and the inbox; its shares and mask are used no more."""
    group = consortium(5)

    def attack() -> Any:
        sites, coordinator = group.sites(), group.coordinator()
        group.run(coordinator, sites, steps=2)
        before, group.roster = group.roster, revoke_by_word(group.roster, "e", at=9)
        try:
            return sites[VICTIM].answer(coordinator.requests()[VICTIM], group.gives(VICTIM))
        finally:
            group.roster = before

    with pytest.raises(BreachError, match="site 'e' is revoked"):
        attack()
    attacker.without(monkeypatch, "all_listed")
    assert attack()


def test_different_models_to_two_sites(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    """The victim trains the real model; the others get a dead one, whose update is zero, so the sum is the victim's
    update (Pasquini et al. 2022)."""
    group = consortium(5)
    real = group.vectors

    def attack() -> Any:
        group.vectors = {name: real[name] if name == VICTIM else np.zeros(20) for name in group.names}
        sites = group.sites(content=b"dead model".ljust(32))
        sites[VICTIM] = group.site(VICTIM, content=b"real model".ljust(32))
        coordinator = group.coordinator(content=b"real model".ljust(32))
        coordinator._take_keys = lambda _, answer: wire.decode(SignedKeys, answer)
        group.run(coordinator, sites)
        return coordinator.opened.total

    with pytest.raises(BreachError, match="was given another model or other settings than this site"):
        attack()
    attacker.without(monkeypatch, "same_content")
    assert is_read(group, attack())


def test_different_settings_to_two_sites(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    """The others are told a range so wide that their values all round to nearly nothing in the ring: the sum that is
    left is the victim's."""
    group = consortium(5)

    def attack() -> Any:
        sites = group.sites(value_range=1e9)
        sites[VICTIM] = group.site(VICTIM)
        coordinator = group.coordinator()
        coordinator._take_keys = lambda _, answer: wire.decode(SignedKeys, answer)
        coordinator._reconstruct = lambda _, shares, *__: shamir.combine(shares)
        group.run(coordinator, sites)
        return coordinator.opened.total

    with pytest.raises(BreachError, match="another plan, round, attempt or cohort"):
        attack()
    attacker.without(monkeypatch, "same_session")
    assert is_read(group, attack())


def own_list(group: Any, change: Any) -> bytes:
    """Drive the victim to the key list with honest peers, and change that list before it arrives."""
    site = group.site(VICTIM)
    own = wire.decode(SignedKeys, site.answer(wire.encode(Invite(group.names)), group.gives(VICTIM)))
    others = {
        name: wire.decode(SignedKeys, group.site(name).answer(wire.encode(Invite(group.names)), group.gives(name)))
        for name in peers(group)
    }
    entries = change({**others, VICTIM: own})
    listed = KeyList(tuple(entries[name] for name in sorted(entries)))
    return site.answer(wire.encode(listed), group.gives(VICTIM))


def resigned(group: Any, entry: SignedKeys, **changes: Any) -> SignedKeys:
    keys = replace(entry.keys, **changes)
    return SignedKeys(keys, group.identities[keys.site].sign("secure aggregation keys", keys))


def test_a_colluding_peer_copies_anothers_key(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    group = consortium(5)

    def copy(entries: dict[str, SignedKeys]) -> dict[str, SignedKeys]:
        return {**entries, "c": resigned(group, entries["c"], masking=entries["d"].keys.masking)}

    with pytest.raises(BreachError, match="published keys are the same"):
        own_list(group, copy)
    attacker.without(monkeypatch, "different_keys")
    assert own_list(group, copy)


def test_a_colluding_peer_publishes_a_point_of_small_order(consortium: Any, monkeypatch: Any) -> None:
    """Every shared secret with such a key is zero, known to all: seals of it would be readable by the coordinator."""
    group = consortium(5)

    def small(entries: dict[str, SignedKeys]) -> dict[str, SignedKeys]:
        return {**entries, "c": resigned(group, entries["c"], sealing=bytes(32))}

    with pytest.raises(BreachError, match="shares no secret"):
        own_list(group, small)
    honest = derivation.exchange
    monkeypatch.setattr(derivation, "exchange", lambda k, p: bytes(32) if p == bytes(32) else honest(k, p))
    assert own_list(group, small)


def test_the_sites_own_keys_are_exchanged(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    """The victim's identity signed other keys in another process of the same site; they are shown to it as its own."""
    group = consortium(5)

    def exchange(entries: dict[str, SignedKeys]) -> dict[str, SignedKeys]:
        fresh = derivation.public_key(b"9" * 32)
        return {**entries, VICTIM: resigned(group, entries[VICTIM], sealing=fresh)}

    def leave_out(entries: dict[str, SignedKeys]) -> dict[str, SignedKeys]:
        return {name: entry for name, entry in entries.items() if name != VICTIM}

    for change in (exchange, leave_out):
        with pytest.raises(BreachError, match="own keys are missing or were exchanged"):
            own_list(group, change)
        with monkeypatch.context() as patch:
            attacker.without(patch, "own_keys")
            assert own_list(group, change)
