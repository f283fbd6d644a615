"""Words on plans: taken only from the identity that the site enrolled with."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hospitals import make_plan, make_release

from medquorum.privacy.identity import Identity
from medquorum.privacy.messages import Countersignature
from medquorum.privacy.plan_signatures import is_signed_by, sign_word
from medquorum.privacy.roster import Member, Roster, found, revoke_by_word
from medquorum.server.trust import CoordinatorTrust

COORDINATOR, NORTH, SOUTH = Identity.create(), Identity.create(), Identity.create()
APPROVED = Roster("tests", 1, b"", "coordinator", (Member("north", NORTH.public, 0), Member("south", SOUTH.public, 0)))
TRUST = CoordinatorTrust(COORDINATOR, lambda: APPROVED)
WORD = Countersignature(b"p" * 32, "north", True, 8.0, "")


def test_a_word_of_the_site_itself_counts() -> None:
    assert TRUST.fault(sign_word(NORTH, WORD)) == ""
    assert TRUST.fault(sign_word(NORTH, replace(WORD, accepted=False, reason="no"))) == ""


def test_a_word_under_another_sites_name_does_not_count() -> None:
    assert "not signed by the identity it enrolled with" in TRUST.fault(sign_word(SOUTH, WORD))
    assert "not signed" in TRUST.fault(WORD)


@pytest.mark.parametrize(
    "change", [{"accepted": False}, {"epsilon_cap": 9.0}, {"reason": "x"}, {"plan_hash": bytes(32)}]
)
def test_a_word_that_was_changed_on_the_way_does_not_count(change: dict[str, object]) -> None:
    changed = replace(sign_word(NORTH, WORD), **change)  # pyright: ignore[reportArgumentType]
    assert "not signed" in TRUST.fault(changed)


def test_a_site_that_is_unknown_or_revoked_has_no_word() -> None:
    assert TRUST.fault(replace(WORD, site="east")) == "the site is not approved"
    revoked = revoke_by_word(found("tests", "north", NORTH.public, 1), "north", 2)
    assert CoordinatorTrust(COORDINATOR, lambda: revoked).fault(sign_word(NORTH, WORD)) == "the site is not approved"


def test_plans_are_signed_by_the_coordinator() -> None:
    plan = make_plan(make_release(), {"north": 10, "south": 10, "west": 10})
    signature = TRUST.sign(plan)
    assert is_signed_by(COORDINATOR.public, plan, signature)
    assert not is_signed_by(COORDINATOR.public, replace(plan, rounds=4), signature)
    assert not is_signed_by(NORTH.public, plan, signature)
