"""The roster: who may change it, what cannot be undone, and what a copy on disk must prove."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from medquorum.privacy import roster as rosters
from medquorum.privacy import wire
from medquorum.privacy.errors import RosterError
from medquorum.privacy.identity import Identity, fingerprint
from medquorum.privacy.roster import Change, Countersigned, Member, Roster, RosterPolicy

KEYS = {name: Identity.create() for name in "abcd"}
TWO = RosterPolicy(countersignatures=2)


def words(identity: Identity) -> str:
    return " ".join(fingerprint(identity.public))


@pytest.fixture
def three() -> Roster:
    roster = rosters.found("consortium", "a", KEYS["a"].public, at=1)
    for name in "bc":
        roster = rosters.admit_by_word(roster, name, KEYS[name].public, words(KEYS[name]), at=2)
    return roster


def admission(signers: str = "ab", **changes: Any) -> Countersigned:
    change = replace(Change("consortium", "admit", "d", KEYS["d"].public), **changes)
    return Countersigned(change, tuple((name, rosters.countersign(KEYS[name], change)) for name in signers))


def test_an_admin_admits_by_six_words(three: Roster) -> None:
    assert [three.key(name) for name in "abc"] == [KEYS[name].public for name in "abc"]
    assert (three.version, three.authority) == (3, "admin")


def test_the_words_of_another_key_admit_nobody(three: Roster) -> None:
    stranger = Identity.create()
    with pytest.raises(RosterError, match="not the fingerprint of the key offered for 'd'"):
        rosters.admit_by_word(three, "d", stranger.public, words(KEYS["d"]), at=3)


def test_members_admit_and_revoke_by_countersignatures(three: Roster) -> None:
    four = rosters.apply_countersigned(three, admission(), TWO, at=5)
    assert four.key("d") == KEYS["d"].public
    assert four.authority == "a, b"
    change = Change("consortium", "revoke", "d", KEYS["d"].public)
    request = Countersigned(change, tuple((n, rosters.countersign(KEYS[n], change)) for n in "bc"))
    gone = rosters.apply_countersigned(four, request, TWO, at=6)
    with pytest.raises(RosterError, match="'d' is revoked"):
        gone.key("d")
    assert gone.members[-1] == Member("d", KEYS["d"].public, 5, 6)


def test_the_coordinator_alone_adds_nobody(three: Roster) -> None:
    coordinator = Identity.create()
    change = Change("consortium", "admit", "d", KEYS["d"].public)
    own = rosters.countersign(coordinator, change)
    for signatures, message in (
        ((), "has 0 valid countersignatures"),
        ((("coordinator", own),), "'coordinator' is not on this node's roster"),
        ((("a", own), ("b", own)), "countersignature of 'a' does not hold"),
    ):
        with pytest.raises(RosterError, match=message):
            rosters.apply_countersigned(three, Countersigned(change, signatures), TWO, at=5)


def test_a_node_without_that_policy_takes_only_its_admins_word(three: Roster) -> None:
    with pytest.raises(RosterError, match="only by its admin's word"):
        rosters.apply_countersigned(three, admission("abc"), RosterPolicy(), at=5)
    with pytest.raises(RosterError, match="negative"):
        RosterPolicy(countersignatures=-1)


def test_signatures_that_do_not_count(three: Roster) -> None:
    once = admission("a")
    twice = replace(once, signatures=once.signatures * 2)
    other = admission(signers="ab", key=Identity.create().public)
    moved = replace(admission(), change=other.change)
    for request, message in (
        (once, "1 valid countersignatures; this node asks for 2"),
        (twice, "that does not count"),
        (moved, "does not hold"),
        (admission("ad"), "that does not count"),
        (admission("ab", consortium="another"), "another consortium"),
    ):
        with pytest.raises(RosterError, match=message):
            rosters.apply_countersigned(three, request, TWO, at=5)


def test_a_revoked_member_countersigns_no_more(three: Roster) -> None:
    request = admission("ab")
    with pytest.raises(RosterError, match="'b' is revoked"):
        rosters.apply_countersigned(rosters.revoke_by_word(three, "b", at=4), request, TWO, at=5)


def test_revocation_is_for_good(three: Roster) -> None:
    request = admission()
    four = rosters.apply_countersigned(three, request, TWO, at=5)
    gone = rosters.revoke_by_word(four, "d", at=6)
    with pytest.raises(RosterError, match="listed before"):
        rosters.apply_countersigned(gone, request, TWO, at=7)
    with pytest.raises(RosterError, match="listed before"):
        rosters.admit_by_word(gone, "d", KEYS["d"].public, words(KEYS["d"]), at=7)
    with pytest.raises(RosterError, match="is revoked"):
        rosters.revoke_by_word(gone, "d", at=7)
    fresh = Identity.create()
    back = rosters.admit_by_word(gone, "d", fresh.public, words(fresh), at=8)
    assert back.key("d") == fresh.public
    rosters.check_chain([*history(three), four, gone, back])


def test_a_name_in_force_is_not_taken_over(three: Roster) -> None:
    with pytest.raises(RosterError, match="'b' has a key already"):
        rosters.admit_by_word(three, "b", KEYS["d"].public, words(KEYS["d"]), at=4)
    change = Change("consortium", "revoke", "b", KEYS["d"].public)
    request = Countersigned(change, tuple((n, rosters.countersign(KEYS[n], change)) for n in "ac"))
    with pytest.raises(RosterError, match="another key in force"):
        rosters.apply_countersigned(three, request, TWO, at=4)


def test_unknown_sites_are_named(three: Roster) -> None:
    with pytest.raises(RosterError, match="'z' is not on this node's roster"):
        three.key("z")


def history(newest: Roster) -> list[Roster]:
    roster = rosters.found("consortium", "a", KEYS["a"].public, at=1)
    versions = [roster]
    for name in "bc":
        versions.append(rosters.admit_by_word(versions[-1], name, KEYS[name].public, words(KEYS[name]), at=2))
    assert versions[-1] == newest
    return versions


def test_the_chain_of_versions(three: Roster) -> None:
    one, two, last = history(three)
    rosters.check_chain([one, two, last])
    gone = rosters.revoke_by_word(last, "c", at=4)
    revived = Roster("consortium", 5, gone.hash, "admin", last.members)
    shorter = Roster("consortium", 4, last.hash, "admin", last.members[:2])
    for broken, message in (
        ([one, last], "version 2 does not follow"),
        ([two, last], "version 1 does not follow"),
        ([one, replace(two, authority="a"), last], "version 3 does not follow"),
        ([one, two, last, gone, revived], "brings a revoked key back"),
        ([one, two, last, shorter], "drops a member"),
    ):
        with pytest.raises(RosterError, match=message):
            rosters.check_chain(broken)


def test_a_stored_roster_opens_only_under_the_nodes_key_and_newest_version(three: Roster) -> None:
    stored = rosters.sign_roster(KEYS["a"], three)
    assert rosters.open_roster(stored, KEYS["a"].public) == three
    assert rosters.open_roster(stored, KEYS["a"].public, three.hash) == three
    newer = rosters.revoke_by_word(three, "c", at=4)
    with pytest.raises(RosterError, match=r"version 3\) is not the newest"):
        rosters.open_roster(stored, KEYS["a"].public, newer.hash)
    with pytest.raises(RosterError, match="does not bear this node's signature"):
        rosters.open_roster(rosters.sign_roster(KEYS["b"], three), KEYS["a"].public)
    with pytest.raises(RosterError, match="damaged"):
        rosters.open_roster(stored[:-1], KEYS["a"].public)


def test_lists_that_contradict_themselves_are_refused(three: Roster) -> None:
    for members in (three.members * 2, (*three.members, Member("a", KEYS["d"].public, 1))):
        with pytest.raises(RosterError, match="listed twice"):
            replace(three, members=members)
    with pytest.raises(RosterError, match="key of 3 bytes"):
        Member("x", b"abc", 1)
    with pytest.raises(RosterError, match="no name"):
        Member("", bytes(32), 1)
    assert wire.decode(Roster, wire.encode(three)) == three
