"""Attacks through the choice of the cohort: a sum over too few sites, over invented ones, or twice over nearly the
same. Each runs against an honest site, which refuses, and against one without the rule, whose vector is then read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medquorum.privacy import roster as rosters
from medquorum.privacy import wire
from medquorum.privacy.errors import AggregationError, RosterError
from medquorum.privacy.identity import Identity
from medquorum.privacy.plan import PlanSite
from medquorum.privacy.secure_aggregation import (
    BreachError,
    Policy,
    QuorumLostError,
    Sessions,
    shamir,
    terms,
)
from medquorum.privacy.secure_aggregation.steps import Agreements, Inbox, Invite, Masked, Survivors, Unmasking


def near(one: Any, other: Any) -> bool:
    return bool(np.abs(one - other).max() < 1e-6)


def test_a_cohort_of_one(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    group = consortium(3)

    def attack() -> Any:
        return attacker.isolate(group.site("a"), "a", group.base.session(("a",)), {}, group.vectors["a"])

    with pytest.raises(AggregationError, match="a cohort of 1 has no sum to hide in"):
        group.site("a").answer(wire.encode(Invite(("a",))), group.gives("a"))
    # Two rules stand in the way: no session has one site, and every site has its minimum.
    monkeypatch.setattr(terms, "threshold", lambda cohort, quorum=0: 2 * cohort // 3 + 1)
    with pytest.raises(QuorumLostError, match="1 of 1 sites; this site joins no sum over fewer than 3"):
        attack()
    attacker.without(monkeypatch, "enough_sites")
    assert near(attack(), group.vectors["a"])


def test_a_cohort_below_the_sites_minimum(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    """A sum of two with a colluding site is the victim's vector."""
    group = consortium(3)
    session = group.base.session(("a", "b"))

    def attack() -> Any:
        puppets = {"b": attacker.Puppet(session, group.base.content, "b", group.identities["b"])}
        return attacker.isolate(group.site("a"), "a", session, puppets, group.vectors["a"])

    with pytest.raises(QuorumLostError, match="2 of 2 sites; this site joins no sum over fewer than 3"):
        attack()
    attacker.without(monkeypatch, "enough_sites")
    assert near(attack(), group.vectors["a"])


def test_a_site_may_insist_on_more_than_the_plan(consortium: Any) -> None:
    group = consortium(4)
    group.policy = Policy(minimum_cohort=5)
    with pytest.raises(QuorumLostError, match="no sum over fewer than 5"):
        group.run(group.coordinator(), group.sites())


def test_a_policy_that_opens_single_vectors_cannot_be_written() -> None:
    with pytest.raises(AggregationError, match="minimum cohort of 1"):
        Policy(minimum_cohort=1)


@pytest.mark.parametrize("cohort", [("a", "a", "b", "c"), ("c", "b", "a"), ("b", "c", "d"), ("a", "b", "z")])
def test_invitations_that_repeat_reorder_or_invent_sites(consortium: Any, cohort: tuple[str, ...]) -> None:
    group = consortium(4)
    with pytest.raises(AggregationError, match=r"sorted list|asked for a sum among others|outside the plan"):
        group.site("a").answer(wire.encode(Invite(cohort)), group.gives("a"))


@pytest.mark.parametrize(("inbox", "rule"), [((), "enough_sites"), (("b", "b", "b"), "in_order")])
def test_a_sum_emptied_after_the_key_list(
    consortium: Any, attacker: Any, monkeypatch: Any, inbox: tuple[str, ...], rule: str
) -> None:
    """The victim is told that nobody, or only colluding b (three times), sealed shares, so its masks are few; the
    others see an ordinary round and help to take its own mask off."""
    group = consortium(5)

    def attack() -> Any:
        sites, coordinator = group.sites(), group.coordinator()
        group.run(coordinator, sites, steps=2)
        requests = dict(coordinator.requests())
        ordinary = wire.decode(Inbox, requests["a"])
        by_peer = {sealed.peer: sealed for sealed in ordinary.boxes}
        requests["a"] = wire.encode(Inbox(tuple(by_peer[peer] for peer in inbox)))
        colluder = sites["b"]._secrets.masking
        answers = {name: sites[name].answer(payload, group.gives(name)) for name, payload in requests.items()}
        vector = np.frombuffer(wire.decode(Masked, answers["a"]).vector, dtype="<u4").copy()
        coordinator.receive(answers)
        honest = {name: payload for name, payload in coordinator.requests().items() if name != "a"}
        signed = {name: sites[name].answer(payload, group.gives(name)) for name, payload in honest.items()}
        coordinator.receive(signed)
        shares = {}
        for name, payload in coordinator.requests().items():
            given = dict(wire.decode(Unmasking, sites[name].answer(payload, group.gives(name))).seeds)
            shares[group.names.index(name) + 1] = given["a"]
        pairs = [(peer, colluder, coordinator._keys["a"].masking) for peer in inbox]
        session = group.base.session(group.names)
        return attacker.strip(vector, session, coordinator._transcript, "a", shamir.combine(shares), pairs)

    with pytest.raises(AggregationError, match=r"no sum over fewer|names one twice"):
        attack()
    # The ledger's head is bound to the sharers as its site counts them, which stops this attack a second time.
    attacker.without(monkeypatch, rule, "signed_head")
    assert near(attack(), group.vectors["a"])


def test_the_same_update_asked_twice_under_different_cohorts(consortium: Any, monkeypatch: Any) -> None:
    """Differencing: the sum over five less the sum over four is the fifth's update. The node begins a (purpose, round,
    attempt) once; a later attempt is another sample, another noise and another charge."""
    group = consortium(5)
    before = {name: Sessions() for name in group.names}

    def opened(cohort: tuple[str, ...]) -> Any:
        for name in cohort:
            before[name].begin(group.base)
        coordinator = group.coordinator(cohort)
        group.run(coordinator, group.sites())
        return coordinator.opened.total

    everybody = opened(group.names)
    with pytest.raises(BreachError, match="round 1, attempt 0 was asked for before"):
        opened(("a", "b", "c", "d"))
    monkeypatch.setattr(Sessions, "begin", lambda *_: None)
    assert near(everybody - opened(("a", "b", "c", "d")), group.vectors["e"])


def test_sessions_move_only_forward_and_survive_a_restart(consortium: Any) -> None:
    group, written = consortium(3), []
    sessions = Sessions(record=written.append)
    for changes in ({}, {"attempt": 2}, {"round": 2}, {"purpose": "evaluation"}, {"plan_hash": b"q" * 32}):
        sessions.begin(group.terms(**changes))
    for again in (Sessions(before=written), sessions):
        for changes in ({}, {"attempt": 1}, {"attempt": 2}, {"round": 2}, {"purpose": "evaluation"}):
            with pytest.raises(BreachError, match="was asked for before"):
                again.begin(group.terms(**changes))
    Sessions(before=written).begin(group.terms(round=2, attempt=1))


def test_a_session_that_cannot_be_written_down_does_not_begin(consortium: Any) -> None:
    def full(_: Any) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        Sessions(record=full).begin(consortium(3).base)


def test_a_roster_with_an_invented_site(consortium: Any, attacker: Any, monkeypatch: Any) -> None:
    """The coordinator invents two sites, countersigns them itself, and invites the victim to a sum with them."""
    group = consortium(1)
    coordinator, ghosts = Identity.create(), {name: Identity.create() for name in "xy"}
    group.base = replace(group.base, sites=tuple(PlanSite(name, 10) for name in "axy"))
    policy = rosters.RosterPolicy(countersignatures=1)

    def attack(admit: bool) -> Any:
        if admit:
            for name, ghost in ghosts.items():
                change = rosters.Change("consortium", "admit", name, ghost.public)
                forged = rosters.Countersigned(change, (("a", rosters.countersign(coordinator, change)),))
                group.roster = rosters.apply_countersigned(group.roster, forged, policy, at=5)
        session = group.base.session(("a", "x", "y"))
        puppets = {name: attacker.Puppet(session, group.base.content, name, ghosts[name]) for name in ghosts}
        return attacker.isolate(group.site("a"), "a", session, puppets, group.vectors["a"])

    with pytest.raises(RosterError, match="countersignature of 'a' does not hold"):
        attack(admit=True)
    with pytest.raises(BreachError, match="'x' is not on this node's roster"):
        attack(admit=False)
    monkeypatch.setattr(rosters, "verify", lambda *_: True)
    assert near(attack(admit=True), group.vectors["a"])


def test_steps_for_a_session_that_never_began(consortium: Any) -> None:
    group = consortium(3)
    for message in (Inbox(()), Survivors(group.names, ()), Agreements(())):
        with pytest.raises(BreachError, match="should be a Invite"):
            group.site("a").answer(wire.encode(message), group.gives("a"))
