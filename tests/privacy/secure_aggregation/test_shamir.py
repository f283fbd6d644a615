"""Shamir's sharing: any t shares give the secret back, fewer say nothing, and false ones do not pass unnoticed."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medquorum.privacy.secure_aggregation import shamir
from medquorum.privacy.secure_aggregation.errors import BreachError

SECRETS = st.one_of(st.binary(min_size=32, max_size=32), st.sampled_from([bytes(32), b"\xff" * 32]))


@given(SECRETS, st.integers(1, 8), st.integers(0, 4), st.randoms())
def test_any_threshold_shares_give_the_secret_back(secret: bytes, t: int, spare: int, random: object) -> None:
    shares = shamir.split(secret, t, t + spare)
    assert all(len(share) == shamir.SHARE_BYTES for share in shares)
    points = random.sample(range(1, t + spare + 1), t)  # type: ignore[attr-defined]
    assert shamir.combine({point: shares[point - 1] for point in points}) == secret


@given(SECRETS, SECRETS)
def test_fewer_shares_fit_every_secret(secret: bytes, other: bytes) -> None:
    shares = shamir.split(secret, 3, 5)
    for two in combinations(range(1, 6), 2):
        # For any other secret there is a third share that turns these two into it: they rule nothing out.
        known = {point: shares[point - 1] for point in two}
        third = next(point for point in range(1, 6) if point not in two)
        points = {0: int.from_bytes(other, "big"), **{p: int.from_bytes(s, "big") for p, s in known.items()}}
        forged = _interpolate(points, third).to_bytes(shamir.SHARE_BYTES, "big")
        assert shamir.combine({**known, third: forged}) == other


def test_secrets_split_alike_never_share_alike() -> None:
    assert shamir.split(bytes(32), 2, 3) != shamir.split(bytes(32), 2, 3)


def test_the_prime_is_prime() -> None:
    # Pocklington needs a factor base; Fermat to forty prime bases rules out any composite one would meet by accident.
    bases = [n for n in range(2, 174) if all(n % m for m in range(2, n))]
    assert all(pow(base, shamir.PRIME - 1, shamir.PRIME) == 1 for base in bases)
    assert shamir.PRIME > 2**256


@pytest.mark.parametrize("bad", [b"", b"\x00" * 32, b"\xff" * 33, shamir.PRIME.to_bytes(33, "big")])
def test_shares_outside_the_field_are_refused(bad: bytes) -> None:
    with pytest.raises(BreachError, match="no element of the field"):
        shamir.combine({1: bad})


def test_a_field_element_that_is_no_secret_is_refused() -> None:
    with pytest.raises(BreachError, match="no common secret"):
        shamir.combine({1: (2**256 + 5).to_bytes(33, "big")})


def _interpolate(points: dict[int, int], at: int) -> int:
    total = 0
    for i, value in points.items():
        for j in points:
            if j != i:
                value = value * (at - j) * pow(i - j, -1, shamir.PRIME) % shamir.PRIME
        total += value
    return total % shamir.PRIME
