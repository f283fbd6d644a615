"""The attack that opened Flower's SecAgg+ in minutes: masks whose seeds can be tried one by one.

The coordinator rightly learns a survivor's own mask. What is left on the vector are pair masks; with few seeds to try,
known zeros in the update (frozen parameters, the count of saturated values) tell the right pair of seeds from all
others.
"""

from __future__ import annotations

import hashlib
from itertools import product
from typing import Any

import numpy as np
import pytest

from medquorum.privacy import wire
from medquorum.privacy.secure_aggregation import derivation, ring, shamir
from medquorum.privacy.secure_aggregation.keystream import Mask, apply_masks
from medquorum.privacy.secure_aggregation.steps import Masked

GUESSES = 1 << 12


def weak(guess: int) -> bytes:
    return hashlib.sha256(b"weak seed" + guess.to_bytes(4, "big")).digest()


def read_by_guessing(group: Any) -> Any:
    """The vector of site a, found by trying GUESSES seeds for each of its two pair masks; None when none fits."""
    coordinator = group.coordinator()
    seen = group.run(coordinator, group.sites())
    vector = np.frombuffer(wire.decode(Masked, seen["a"][2]).vector, dtype="<u4").copy()
    seed = shamir.combine(coordinator._seeds["a"])
    apply_masks([Mask(derivation.self_key(seed, coordinator._transcript, "a"), -1)], vector)
    streams = np.zeros((GUESSES, vector.size), dtype="<u4")
    for guess in range(GUESSES):
        apply_masks([Mask(weak(guess), 1)], streams[guess])
    by_last = {int(word): guess for guess, word in enumerate(streams[:, -1])}
    for other in range(GUESSES):
        rest = vector - streams[other]
        guess = by_last.get(int(rest[-1]))
        if guess is not None:
            opened = rest - streams[guess]
            if opened[0] == 0 and opened[1] == 0:
                return ring.open_vector(opened, group.base.session(group.names).step)[0]
    return None


def test_guessing_seeds(consortium: Any, monkeypatch: Any) -> None:
    group = consortium(3)
    group.vectors["a"][:2] = 0.0
    assert read_by_guessing(group) is None

    honest = derivation._derive
    monkeypatch.setattr(derivation, "_derive", lambda *given: weak(int.from_bytes(honest(*given), "big") % GUESSES))
    assert read_by_guessing(group) == pytest.approx(group.vectors["a"], abs=1e-6)


def test_seeds_have_256_bits_and_every_context_its_own() -> None:
    keys = [
        derivation.pair_key(bytes([i]) * 32, derivation.public_key(bytes([j]) * 32), bytes([t]) * 32, *names)
        for i, j, t in product((1, 2), (3, 4), (5, 6))
        for names in (("a", "b"), ("a", "c"))
    ]
    keys += [derivation.seal_key(b"1" * 32, derivation.public_key(b"2" * 32), b"t" * 32, *n) for n in ("ab", "ba")]
    keys += [derivation.self_key(b"1" * 32, b"t" * 32, name) for name in "ab"]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 32 for key in keys)
    # Over these keys every bit takes both values: none of the 256 is fixed.
    ones = np.unpackbits(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), 32), axis=1).sum(axis=0)
    assert (ones > 0).all()
    assert (ones < len(keys)).all()


def test_both_sides_of_a_pair_derive_the_same_key() -> None:
    one, other = b"1" * 32, b"2" * 32
    there = derivation.pair_key(one, derivation.public_key(other), b"t" * 32, "a", "b")
    assert there == derivation.pair_key(other, derivation.public_key(one), b"t" * 32, "b", "a")
