"""A site's identity: RFC 8032 signatures for stated purposes, a private key that stays encrypted, six words."""

from __future__ import annotations

import copy
import json
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from medquorum.privacy import wire
from medquorum.privacy.errors import IdentityError
from medquorum.privacy.identity import Identity, _word, fingerprint, same_fingerprint, verify

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ed25519.json").read_text())
SECRET = b"correct horse"


@dataclass(frozen=True)
class Note:
    text: str


def of(private: str) -> Identity:
    return Identity(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private)))


@pytest.mark.parametrize("case", VECTORS["cases"])
def test_ed25519_rfc_8032(case: dict[str, str]) -> None:
    identity = of(case["private"])
    assert identity.public.hex() == case["public"]
    assert identity._key.sign(bytes.fromhex(case["message"])).hex() == case["signature"]


def test_a_signature_holds_for_one_statement_domain_and_key_only() -> None:
    identity, other = Identity.create(), Identity.create()
    signature = identity.sign("one", Note("yes"))
    assert verify(identity.public, "one", Note("yes"), signature)
    assert not verify(identity.public, "two", Note("yes"), signature)
    assert not verify(identity.public, "one", Note("no"), signature)
    assert not verify(other.public, "one", Note("yes"), signature)
    for bad in (b"", signature[:-1], signature + b"\0", bytes(64)):
        assert not verify(identity.public, "one", Note("yes"), bad)
    assert not verify(b"short", "one", Note("yes"), signature)


def test_a_domain_cannot_run_over_into_the_statement() -> None:
    identity = Identity.create()
    inner = wire.encode(Note("x"))
    assert identity.sign("a", Note("x")) != identity._key.sign(b"a" + inner)


def test_saved_and_loaded(tmp_path: Path) -> None:
    identity, path = Identity.create(), tmp_path / "identity"
    identity.save(path, SECRET)
    assert path.stat().st_mode & 0o777 == 0o600
    assert identity._key.private_bytes_raw() not in path.read_bytes()
    assert Identity.load(path, SECRET).public == identity.public


def test_the_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    Identity.create().save(path, SECRET)
    before = path.read_bytes()
    with pytest.raises(IdentityError, match="already stored here"):
        Identity.create().save(path, SECRET)
    assert path.read_bytes() == before


def test_what_does_not_open(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    with pytest.raises(IdentityError, match="without a passphrase"):
        Identity.create().save(path, b"")
    with pytest.raises(IdentityError, match="no identity here"):
        Identity.load(path, SECRET)
    Identity.create().save(path, SECRET)
    with pytest.raises(IdentityError, match="does not open this identity"):
        Identity.load(path, b"wrong")
    path.chmod(0o644)
    with pytest.raises(IdentityError, match="chmod 600"):
        Identity.load(path, SECRET)


def test_an_altered_file_does_not_open(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    Identity.create().save(path, SECRET)
    data = path.read_bytes()
    for position in range(0, len(data), 17):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(IdentityError):
            Identity.load(path, SECRET)
    path.write_bytes(data[:-1])
    with pytest.raises(IdentityError, match="damaged"):
        Identity.load(path, SECRET)


def test_the_private_key_shows_nowhere() -> None:
    identity = Identity.create()
    raw = identity._key.private_bytes_raw()
    assert raw.hex() not in repr(identity)
    assert " ".join(fingerprint(identity.public)) in repr(identity)
    for leave in (pickle.dumps, copy.deepcopy):
        with pytest.raises(IdentityError, match="does not travel"):
            leave(identity)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_six_words_say_96_bits(one: bytes, other: bytes) -> None:
    words = fingerprint(one)
    assert len(words) == 6
    assert all(re.fullmatch("[bdfghjklmnprstvz][aiou][bdfghjklmnprstvz][aiou][bdfghjklmnprstvz]", w) for w in words)
    assert (fingerprint(other) == words) == (one == other)
    assert same_fingerprint(one, "-".join(words).upper())
    assert same_fingerprint(one, ", ".join(words) + " ")
    assert not same_fingerprint(one, " ".join(words[:5]))
    assert not same_fingerprint(one, " ".join((*words[:5], "babab" if words[5] != "babab" else "babad")))


def test_every_16_bits_are_a_word_of_their_own() -> None:
    assert len({_word(bits) for bits in range(2**16)}) == 2**16


def test_a_known_fingerprint_stays_what_it_is() -> None:
    # Ours, for the first public key of RFC 8032, section 7.1: admins wrote such words down.
    assert " ".join(fingerprint(bytes.fromhex(VECTORS["cases"][0]["public"]))) == "litar fojus rubib kodog jazin fokip"


def test_other_lengths_have_no_fingerprint() -> None:
    with pytest.raises(IdentityError, match="31 bytes"):
        fingerprint(bytes(31))
