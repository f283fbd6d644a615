"""The noise against its distribution, and against the floating-point attack that it is built to stop."""

from __future__ import annotations

import decimal
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medquorum.privacy import noise
from medquorum.privacy.errors import UnaccountableError
from medquorum.privacy.noise import add_gaussian, gaussian, integer_gaussian, lattice_gaussian, lattice_step
from medquorum.privacy.randomness import SeededRandomness


@pytest.mark.parametrize("std", [1e-3, 1.0, 7.3])
def test_the_noise_is_gaussian_with_the_deviation_asked_for(std: float) -> None:
    draws = gaussian(200_000, std, SeededRandomness(31)) / std
    assert stats.kstest(draws, "norm").pvalue > 1e-3
    assert abs(draws.std() - 1.0) < 5 / math.sqrt(2 * draws.size)
    assert abs(draws.mean()) < 5 / math.sqrt(draws.size)


def test_the_tails_are_there() -> None:
    draws = np.abs(gaussian(2_000_000, 1.0, SeededRandomness(32)))
    for reach in (3.0, 4.0):
        expected = draws.size * 2 * stats.norm.sf(reach)
        assert abs(np.sum(draws > reach) - expected) < 5 * math.sqrt(expected)


def test_values_are_independent_of_each_other() -> None:
    draws = gaussian(200_000, 1.0, SeededRandomness(33))
    for lag in (1, 2, 1024):
        assert abs(np.corrcoef(draws[:-lag], draws[lag:])[0, 1]) < 5 / math.sqrt(draws.size)


@pytest.mark.parametrize("scale", [0.3, 1.7, 5.0])
def test_the_lattice_gaussian_has_its_own_probabilities_point_by_point(scale: float) -> None:
    draws = lattice_gaussian(100_000, scale, SeededRandomness(34))
    points = np.arange(-math.ceil(9 * scale) - 1, math.ceil(9 * scale) + 1) + 0.5
    weights = np.exp(-(points**2) / (2 * scale**2))
    expected = weights / weights.sum() * draws.size
    common = expected > 5.0
    seen = np.array([np.sum(draws == point) for point in points])
    assert seen.sum() == draws.size
    observed = np.append(seen[common], seen[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    assert stats.chisquare(observed, wanted).pvalue > 1e-3


@pytest.mark.parametrize("scale", [0.3, 1.7, 5.0, 300.0])
def test_the_integer_gaussian_has_its_own_probabilities_point_by_point(scale: float) -> None:
    """Zero, which has no sign, comes neither twice as often nor half."""
    draws = integer_gaussian(100_000, scale, SeededRandomness(36))
    assert np.array_equal(draws, np.rint(draws))
    points = np.arange(-math.ceil(9 * scale) - 1, math.ceil(9 * scale) + 2)
    weights = np.exp(-(points**2) / (2 * scale**2))
    expected = weights / weights.sum() * draws.size
    common = expected > 5.0
    seen = np.bincount((draws - points[0]).astype(np.int64), minlength=points.size)
    observed = np.append(seen[common], seen[~common].sum())
    wanted = np.append(expected[common], max(expected[~common].sum(), draws.size - expected[common].sum(), 1e-9))
    if not seen[~common].any():
        observed, wanted = observed[:-1], wanted[:-1] * (observed[:-1].sum() / wanted[:-1].sum())
    assert stats.chisquare(observed, wanted * (observed.sum() / wanted.sum())).pvalue > 1e-3


@pytest.mark.parametrize("origin", [0.0, 0.5])
@pytest.mark.parametrize("scale", [1.0, 70.0, 65_536.0 * 1.4])
def test_the_alias_table_gives_every_strip_its_share_to_the_last_of_192_bits(scale: float, origin: float) -> None:
    """From the table's own integers: what is lost in rounding is far below the smallest strip's share."""
    table = noise._staircase(scale, origin)
    full, cells = 1 << 192, len(table.lower)
    shares = [0] * cells
    for cell, alias in enumerate(table.aliases.tolist()):
        threshold = (int(table.thresholds[cell]) << 128) + table.lower[cell]
        shares[cell] += threshold
        shares[alias] += full - threshold
    starts = [decimal.Decimal(strip << table.bits) + decimal.Decimal(origin) for strip in range(cells)]
    with decimal.localcontext(prec=80):
        reach = math.ceil(13.0 * scale)
        strips = min(cells, -(-reach // (1 << table.bits)))
        heights = [(-(start**2) / (2 * decimal.Decimal(scale) ** 2)).exp() for start in starts[:strips]]
        total = sum(heights)
        for share, height in zip(shares, heights, strict=False):
            exact = height / total * cells * full
            assert abs(share - exact) <= exact * decimal.Decimal(2) ** -55
    assert not any(shares[strips:])


def test_a_tie_of_the_upper_bits_is_settled_by_the_lower_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes once in 2^64 draws, so it is made here: every coin equals its cell's threshold."""
    table = noise._staircase(70.0, 0.0)
    cell = next(c for c in range(len(table.lower)) if table.lower[c] and table.aliases[c] != c)

    class Rigged:
        reproducible = True

        def __init__(self, low: int) -> None:
            self.low = low

        def take(self, count: int) -> bytes:
            assert count == 16
            return self.low.to_bytes(16, "little")

    place = np.array([cell << 53], dtype=np.uint64)
    drawn = np.concatenate([place, table.thresholds[[cell]], np.zeros(1, dtype=np.uint64)])
    monkeypatch.setattr(noise, "words", lambda count, source: drawn)
    below = noise._propose(1, 70.0, table, Rigged(table.lower[cell] - 1))
    above = noise._propose(1, 70.0, table, Rigged(table.lower[cell]))
    assert below.tolist() == [cell << table.bits] and above.tolist() == [int(table.aliases[cell]) << table.bits]


@pytest.mark.parametrize("scale", [2.0**10, 2.0**33, 2.0**45 * 1.3])
def test_low_bits_of_a_wide_lattice_are_uniform(scale: float) -> None:
    draws = (lattice_gaussian(50_000, scale, SeededRandomness(35)) - 0.5).astype(np.int64)
    assert stats.chisquare(np.bincount(draws % 16, minlength=16)).pvalue > 1e-3


def test_the_same_doubles_can_come_out_whatever_the_secret() -> None:
    """Mironov's attack asks which secret could have given an output exactly; here every secret could."""
    std, step = 2.0, lattice_step(1.0, 2.0, 1)
    for secret in (0.0, 1.0, 0.1, -1 / 3, 1e-9):
        noised = add_gaussian(np.full(1000, secret), std, step, SeededRandomness(36))
        units = noised / step - 0.5
        assert np.array_equal(units, np.rint(units))


@settings(max_examples=30)
@given(st.integers(1, 12_000_000), st.floats(1e-3, 100.0), st.floats(0.05, 1000.0))
def test_the_lattice_is_a_power_of_two_and_moves_neighbours_by_less_than_the_margin(
    size: int, clip: float, noise_multiplier: float
) -> None:
    step = lattice_step(clip, clip * noise_multiplier, size)
    assert math.frexp(step)[0] == 0.5
    assert step * math.sqrt(size) <= clip * 2.0**-12
    assert clip * noise_multiplier / step >= 2.0**24


def test_rounding_is_exact_where_the_secret_is_on_the_lattice() -> None:
    secret = np.array([0.0, 5.0, -3.0])
    noise = add_gaussian(np.zeros(3), 1.0, 2.0**-30, SeededRandomness(37))
    assert np.array_equal(add_gaussian(secret, 1.0, 2.0**-30, SeededRandomness(37)) - secret, noise)


def test_no_noise_changes_nothing() -> None:
    values = np.array([0.1, 0.2])
    assert np.array_equal(add_gaussian(values, 0.0, 1.0, SeededRandomness(1)), values)
    assert np.array_equal(gaussian(3, 0.0, SeededRandomness(1)), np.zeros(3))


def test_an_empty_vector_is_ordinary() -> None:
    assert gaussian(0, 1.0, SeededRandomness(1)).shape == (0,)


@pytest.mark.parametrize("std", [-1.0, float("nan"), float("inf")])
def test_a_deviation_that_is_none_is_refused(std: float) -> None:
    with pytest.raises(UnaccountableError):
        add_gaussian(np.zeros(2), std, 1e-3, SeededRandomness(1))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_secret_that_cannot_be_hidden_exactly_is_refused(value: float) -> None:
    with pytest.raises(UnaccountableError, match="too large"):
        add_gaussian(np.array([0.0, value]), 1.0, 2.0**-30, SeededRandomness(1))


def test_a_lattice_too_fine_to_be_exact_is_refused() -> None:
    with pytest.raises(UnaccountableError, match="exactly"):
        lattice_gaussian(1, 2.0**47, SeededRandomness(1))
