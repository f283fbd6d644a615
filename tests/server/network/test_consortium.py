"""Enrolments: proved by the site's own key, approved by six words, never overwritten by a stranger."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.privacy import wire
from medquorum.privacy.enrolment import ConsortiumList, Enrolment, SignedEnrolment, open_enrolment, sign_enrolment
from medquorum.privacy.errors import IdentityError
from medquorum.privacy.identity import Identity, fingerprint
from medquorum.server.network.consortium import Consortium
from medquorum.server.network.errors import EnrolmentError


def request(site: str, identity: Identity) -> bytes:
    return wire.encode(sign_enrolment(identity, Enrolment(site, identity.public, b"node key of " + site.encode(), "0")))


@pytest.fixture
def consortium(tmp_path: Path) -> Consortium:
    return Consortium.create(tmp_path, "test")


def test_a_site_enrols_and_is_approved_by_its_words(consortium: Consortium) -> None:
    identity = Identity.create()
    data = request("north", identity)
    assert consortium.receive(data) == data
    assert consortium.receive(data) == data, "the same enrolment again is harmless"
    with pytest.raises(EnrolmentError, match="not the words"):
        consortium.approve("north", " ".join(fingerprint(Identity.create().public)))
    assert not consortium.records()["north"].approved
    assert consortium.approve("north", " ".join(fingerprint(identity.public)).upper()).approved


def test_a_stranger_cannot_take_a_name(consortium: Consortium) -> None:
    owner = Identity.create()
    consortium.receive(request("north", owner))
    for _ in range(2):
        with pytest.raises(EnrolmentError, match="enrolled with other keys"):
            consortium.receive(request("north", Identity.create()))
        consortium.approve("north", " ".join(fingerprint(owner.public)))


def test_revoked_keys_stay_revoked_and_the_name_is_free_for_new_ones(consortium: Consortium) -> None:
    old, new = Identity.create(), Identity.create()
    consortium.receive(request("north", old))
    consortium.revoke("north")
    with pytest.raises(EnrolmentError, match="revoked"):
        consortium.approve("north", " ".join(fingerprint(old.public)))
    consortium.receive(request("north", new))
    assert consortium.records()["north"].enrolment.key == new.public


def test_the_list_carries_the_sites_own_signatures(consortium: Consortium) -> None:
    identity = Identity.create()
    consortium.receive(request("north", identity))
    listing = wire.decode(ConsortiumList, consortium.listing())
    assert listing.consortium == "test"
    assert open_enrolment(listing.sites[0].enrolment).key == identity.public


def test_an_enrolment_signed_by_another_key_is_refused(consortium: Consortium) -> None:
    real, forger = Identity.create(), Identity.create()
    enrolment = Enrolment("north", real.public, b"k", "0")
    forged = SignedEnrolment(wire.encode(enrolment), forger.sign("enrolment", enrolment))
    with pytest.raises(EnrolmentError, match="not signed by its own key"):
        consortium.receive(wire.encode(forged))
    with pytest.raises(IdentityError, match="another key"):
        sign_enrolment(forger, enrolment)


@pytest.mark.parametrize("site", ["", "../evil", "a/b", ".hidden", "x" * 64, "nul\x00", "blank name"])
def test_names_that_could_be_paths_are_refused(site: str) -> None:
    with pytest.raises(IdentityError, match="not a site name"):
        Enrolment(site, bytes(32), b"k", "0")


@settings(deadline=None)  # the first example makes the coordinator's identity
@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    consortium = Consortium.create(tmp_path_factory.getbasetemp() / "fuzz", "test")
    with pytest.raises(EnrolmentError):
        consortium.receive(data)
    assert consortium.records() == {}
