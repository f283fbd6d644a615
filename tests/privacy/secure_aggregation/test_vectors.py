"""The primitives against their published vectors (tests/vectors/), through the functions that the protocol calls."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medquorum.privacy import wire
from medquorum.privacy.secure_aggregation import derivation, shamir
from medquorum.privacy.secure_aggregation.errors import BreachError
from medquorum.privacy.secure_aggregation.keystream import PIECE, Mask, Words, apply_masks

VECTORS = Path(__file__).parents[2] / "vectors"
unhex = bytes.fromhex


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def test_x25519_rfc_7748() -> None:
    vectors = load("x25519.json")
    for one in vectors["products"]:
        assert derivation.exchange(unhex(one["scalar"]), unhex(one["point"])).hex() == one["product"]
    both = vectors["exchange"]
    for side in ("alice", "bob"):
        assert derivation.public_key(unhex(both[f"{side}_private"])).hex() == both[f"{side}_public"]
    assert derivation.exchange(unhex(both["alice_private"]), unhex(both["bob_public"])).hex() == both["shared"]
    assert derivation.exchange(unhex(both["bob_private"]), unhex(both["alice_public"])).hex() == both["shared"]


@pytest.mark.parametrize("point", ["00" * 32, "01" + "00" * 31])
def test_points_of_small_order_are_refused(point: str) -> None:
    with pytest.raises(BreachError, match="shares no secret"):
        derivation.exchange(b"\x42" * 32, unhex(point))


def test_hkdf_rfc_5869() -> None:
    for one in load("hkdf_sha256.json")["cases"]:
        made = HKDF(hashes.SHA256(), one["length"], salt=unhex(one["salt"]), info=unhex(one["info"]))
        assert made.derive(unhex(one["secret"])).hex() == one["output"]


def test_derived_keys_are_hkdf_of_transcript_and_use() -> None:
    info = wire.encode(derivation._Use("self mask", "a", "a"))
    expected = HKDF(hashes.SHA256(), 32, salt=b"t" * 32, info=info).derive(b"s" * 32)
    assert derivation.self_key(b"s" * 32, b"t" * 32, "a") == expected


def test_aes_256_ctr_sp_800_38a() -> None:
    one = load("aes256_ctr.json")
    key, counter = unhex(one["key"]), int(one["counter"], 16)
    blocks = len(one["plaintext"]) // 32
    keystream = _counter_blocks(key, counter, blocks)
    cipher = bytes(a ^ b for a, b in zip(unhex(one["plaintext"]), keystream, strict=True))
    assert cipher.hex() == one["ciphertext"]
    # The same counter blocks from 0 on are the words that masks are made of, across pieces and odd lengths.
    ours = np.zeros(PIECE + 10, dtype="<u4")
    apply_masks([Mask(key, 1)], ours)
    assert ours.tobytes() == _counter_blocks(key, 0, PIECE // 4 + 3)[: ours.nbytes]
    words = Words(key)
    first, second = np.empty(3, dtype="<u4"), np.empty(7, dtype="<u4")
    words.fill(first)
    words.fill(second)
    assert first.tobytes() + second.tobytes() == ours[:10].tobytes()


def test_shamir_vector_and_every_subset() -> None:
    one = load("shamir.json")
    coefficients = [int(c, 16) for c in one["coefficients"]]
    shares = {i: unhex(s) for i, s in enumerate(one["shares"], start=1)}
    for point, share in shares.items():
        assert shamir.evaluate(coefficients, point) == int.from_bytes(share, "big")
    secret = unhex(one["coefficients"][0])
    for subset in combinations(shares, one["threshold"]):
        assert shamir.combine({point: shares[point] for point in subset}) == secret
    assert shamir.combine(shares) == secret


def _counter_blocks(key: bytes, start: int, count: int) -> bytes:
    """AES-256 of successive 128-bit counters, by the block cipher alone (SP 800-38A, section 6.5)."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(b"".join((start + i).to_bytes(16, "big") for i in range(count)))
