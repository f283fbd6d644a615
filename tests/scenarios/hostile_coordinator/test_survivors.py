"""Attacks through the survivor list. A site's vector lies under its own mask and its pair masks; the coordinator may
take off the one (the site survived) or the others (it dropped out), never both. Each attack runs against honest sites,
which refuse, and against sites without the rule, whose vector or forbidden sum is then read."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from medquorum.privacy import wire
from medquorum.privacy.secure_aggregation import BreachError, SecureSite, derivation, ring, shamir, terms
from medquorum.privacy.secure_aggregation.keystream import Mask, apply_masks
from medquorum.privacy.secure_aggregation.site import pair_sign
from medquorum.privacy.secure_aggregation.steps import Agreement, Agreements, Masked, Survivors, Unmasking


class Round:
    """An ordinary round up to the masked vectors; what follows is the attacker's."""

    def __init__(self, group: Any, attacker: Any, kind: type[SecureSite] = SecureSite) -> None:
        self.group, self.attacker = group, attacker
        self.sites, self.coordinator = group.sites(kind), group.coordinator()
        seen = group.run(self.coordinator, self.sites, steps=3)
        self.vectors = {n: np.frombuffer(wire.decode(Masked, a[2]).vector, dtype="<u4") for n, a in seen.items()}
        self.heads = {name: wire.decode(Masked, answers[2]).head for name, answers in seen.items()}
        self.session = group.base.session(group.names)
        self.transcript = self.coordinator._transcript
        self.seeds: dict[str, dict[int, bytes]] = {name: {} for name in group.names}
        self.masking: dict[str, dict[int, bytes]] = {name: {} for name in group.names}

    def sign(self, name: str, survivors: tuple[str, ...]) -> tuple[str, bytes]:
        shown = Survivors(survivors, tuple(self.heads[site] for site in survivors))
        answer = self.sites[name].answer(wire.encode(shown), self.group.gives(name))
        return name, wire.decode(Agreement, answer).signature

    def unmask(self, name: str, signatures: list[tuple[str, bytes]]) -> Unmasking:
        payload = wire.encode(Agreements(tuple(sorted(signatures))))
        given = wire.decode(Unmasking, self.sites[name].answer(payload, self.group.gives(name)))
        for table, shares in ((self.seeds, given.seeds), (self.masking, given.masking)):
            for owner, share in shares:
                table[owner][self.session.point(name)] = share
        return given

    def close(self, survivors: tuple[str, ...], asked: tuple[str, ...]) -> None:
        """Let these sites sign one list and unmask by it."""
        signatures = [self.sign(name, survivors) for name in asked]
        for name in asked:
            self.unmask(name, signatures)

    def open_one(self, name: str) -> Any:
        """A single site's vector, if enough shares of both its secrets were had."""
        if min(len(self.seeds[name]), len(self.masking[name])) < self.session.threshold:
            return None
        private = shamir.combine(self.masking[name])
        others = [(p, private, self.coordinator._keys[p].masking) for p in self.group.names if p != name]
        seed, vector = shamir.combine(self.seeds[name]), self.vectors[name].copy()
        return self.attacker.strip(vector, self.session, self.transcript, name, seed, others)

    def open_sum(self, survivors: tuple[str, ...]) -> Any:
        """The sum over some sites, all others counting as dropped; None without enough shares."""
        t = self.session.threshold
        dropped = [name for name in self.group.names if name not in survivors]
        if any(len(self.seeds[n]) < t for n in survivors) or any(len(self.masking[n]) < t for n in dropped):
            return None
        total = np.sum([self.vectors[name] for name in survivors], axis=0, dtype="<u4")
        masks = [Mask(derivation.self_key(shamir.combine(self.seeds[n]), self.transcript, n), -1) for n in survivors]
        for gone in dropped:
            private = shamir.combine(self.masking[gone])
            for peer in survivors:
                public = self.coordinator._keys[peer].masking
                key = derivation.pair_key(private, public, self.transcript, gone, peer)
                masks.append(Mask(key, pair_sign(gone, peer)))
        apply_masks(masks, total)
        return ring.open_vector(total, self.session.step)[0]


def near(one: Any, other: Any) -> bool:
    return one is not None and bool(np.abs(one - other).max() < 1e-5)


def test_a_site_declared_dropped_though_it_answered(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    """The victim's vector arrived, it is declared dropped, and its own signature is wanted for a sum without it."""
    group = consortium(4)

    def attack() -> Any:
        round_ = Round(group, attacker)
        # d is really gone, so without the victim only two would sign.
        round_.close(("b", "c", "d"), ("a", "b", "c"))
        return round_.open_sum(("b", "c", "d"))

    with pytest.raises(BreachError, match="'a' is declared dropped although its masked vector was sent"):
        attack()
    attacker.without(monkeypatch, "own_vector_counted", "agreed")
    assert near(attack(), group.plain(("b", "c", "d")))


def test_the_same_site_in_both_lists(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    """Survivors and dropped are no two lists that the coordinator could let overlap: whoever is not a survivor is
    dropped. No honest site gives both shares of a peer; sites that would are read at once."""
    group = consortium(5)
    for length in (4, 5):
        for survivors in combinations(group.names, length):
            round_ = Round(group, attacker)
            signatures = [round_.sign(name, survivors) for name in survivors]
            for name in survivors:
                given = round_.unmask(name, signatures)
                both = {n for n, _ in given.seeds} & {n for n, _ in given.masking}
                assert not both
                assert {n for n, _ in given.seeds} | {n for n, _ in given.masking} == set(group.names)
            assert all(round_.open_one(name) is None for name in group.names)

    with pytest.raises(BreachError, match="names one twice"):
        Round(group, attacker).sign("a", ("a", "a", "b", "c", "d"))

    honest = SecureSite._unmask

    def both_shares(site: Any, agreements: Any) -> Unmasking:
        given = honest(site, agreements)
        return Unmasking(given.seeds, tuple((name, pair.masking) for name, pair in sorted(site._shares.items())))

    monkeypatch.setattr(SecureSite, "_unmask", both_shares)
    round_ = Round(group, attacker)
    round_.close(group.names, group.names)
    assert all(near(round_.open_one(name), group.vectors[name]) for name in group.names)


def test_different_survivor_lists_to_different_sites(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    """Ten sites, seven needed. Every site is shown seven survivors, but not the same seven, so that four sites are
    dropped by seven votes each: the sum over the other six would open, one fewer than the quorum."""
    group = consortium(10)
    targets, rest = group.names[:4], group.names[4:]

    def attack() -> Any:
        round_ = Round(group, attacker)
        lists = {name: tuple(sorted((name, *rest))) for name in targets}
        for i, name in enumerate(rest):
            lists[name] = tuple(sorted((targets[i % 4], *rest)))
        signatures = dict(round_.sign(name, shown) for name, shown in lists.items())
        for name, shown in lists.items():
            round_.unmask(name, [(peer, signatures[peer]) for peer in shown])
        return round_.open_sum(rest)

    with pytest.raises(BreachError, match="did not sign the survivor list that this site was shown"):
        attack()
    attacker.without(monkeypatch, "agreed")
    assert near(attack(), group.plain(rest))


def test_two_lists_signed_by_two_halves(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    """With t at half the cohort each half signs its own list: by one the victim survived, by the other it dropped
    out. t > 2n/3 leaves no two such groups."""
    group = consortium(6)

    def attack() -> Any:
        round_ = Round(group, attacker)
        round_.close(group.names, group.names[:3])
        round_.close(group.names[1:], group.names[3:])
        return round_.open_one("a")

    with pytest.raises(Exception, match="3 of 6 sites; this site joins no sum over fewer than 5"):
        attack()
    monkeypatch.setattr(terms, "threshold", lambda cohort, quorum=0: cohort // 2)
    assert near(attack(), group.vectors["a"])


def test_forged_agreements(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    """The coordinator signs for the sites itself, repeats one site's signature, or brings too few."""
    group = consortium(5)
    without_a = group.names[1:]

    def attack(forge: Any) -> Any:
        round_ = Round(group, attacker)
        signature = round_.sign("b", without_a)
        return round_.unmask("b", forge(signature))

    def signed_by_nobody(_: Any) -> Any:
        return [(name, bytes(64)) for name in without_a]

    def repeated(signature: Any) -> Any:
        return [signature] * 4

    def too_few(signature: Any) -> Any:
        return [signature]

    def by_the_dropped(signature: Any) -> Any:
        return [("a", bytes(64)), signature]

    for forge, message in (
        (signed_by_nobody, "'b' did not sign"),
        (repeated, "names one twice"),
        (too_few, "1 of 5 sites"),
        (by_the_dropped, "do not belong here: a"),
    ):
        with pytest.raises(Exception, match=message):
            attack(forge)
        with monkeypatch.context() as patch:
            attacker.without(patch, "agreed")
            assert dict(attack(forge).masking).keys() == {"a"}


class Rewinding(SecureSite):
    """A site without the rule that a session is unmasked once."""

    def _forget(self, reason: str) -> None:
        self._step = 3

    def answer(self, payload: bytes, contribution: Any) -> bytes:
        step = self._step
        answer = super().answer(payload, contribution)
        self._step = 3 if step == 4 else self._step
        return answer


def test_unmasking_one_session_twice(consortium: Any, attacker: Any) -> None:
    """First everybody survived, then the victim dropped out: together that is both its secrets."""
    group = consortium(5)

    def attack(kind: type[SecureSite]) -> Any:
        round_ = Round(group, attacker, kind)
        round_.close(group.names, group.names)
        round_.close(group.names[1:], group.names[1:])
        return round_.open_one("a")

    with pytest.raises(BreachError, match="this aggregation is over: its sum was unmasked"):
        attack(SecureSite)
    assert near(attack(Rewinding), group.vectors["a"])


def test_a_refused_survivor_list_is_not_asked_again(consortium: Any, attacker: Any) -> None:
    """After a refusal the site has forgotten its shares, so a coordinator cannot try lists until one is taken."""
    group = consortium(5)

    def attack(kind: type[SecureSite]) -> Any:
        round_ = Round(group, attacker, kind)
        with pytest.raises(BreachError, match="names one twice"):
            round_.sign("b", ("b", "b", "c", "d", "e"))
        return round_.sign("b", ("b", "c", "d", "e"))

    with pytest.raises(BreachError, match="this aggregation is over"):
        attack(SecureSite)
    assert attack(Rewinding)
