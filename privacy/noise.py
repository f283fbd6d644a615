"""Gaussian noise that stays Gaussian to the last bit.

Mironov (2012, "On significance of the least significant bits for differential privacy") showed that textbook
floating-point noise gives the secret away: which doubles can come out depends on the number that the noise was added
to. Here no floating-point noise is ever added to a floating-point secret:

1. The secret is rounded to a public lattice, the multiples of a power of two `step`.
2. The noise is an integer number of steps (plus one half), drawn from N(0, std^2) restricted to that lattice.
3. Both are integers below 2^53, so their sum is exact, and the same outputs are possible whatever the secret.

With at least 2^24 lattice points to a standard deviation, the lattice Gaussian equals a continuous Gaussian rounded to
the lattice up to a relative difference below 2^-45 at every point drawn, and rounding is post-processing: whatever is
proved for the continuous Gaussian mechanism on the rounded secret holds (compare Canonne, Kamath and Steinke 2020 for
noise on a lattice, Holohan and Braghin 2021 for attacks on samplers of doubles). Rounding the secret moves it by at
most half a step per coordinate, which `lattice_step` keeps below 2^-12 of the clip in norm between neighbours; the
clip leaves four times that room.

The sampler is rejection from a staircase: |noise| is cut into up to 2048 strips of 2^k lattice points, a strip is
drawn by Walker's alias method (1977) with 192-bit thresholds computed in 80-digit decimal arithmetic (the lower 128
bits are looked at when the upper 64 tie), a point in it uniformly by integer bits, and it is kept with probability
exp(-(x^2 - x0^2) / 2s^2), x0 being the strip's start. Every lattice point up to 13 standard deviations so gets its
probability to within a relative 2^-50; the tail beyond (2^-126) is not drawn. How many draws were rejected does not
depend on what was kept, so neither does the time taken.

Noise that several sites share (see distributed) is drawn on the whole numbers by the same sampler.
"""

from __future__ import annotations

import decimal
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .errors import UnaccountableError
from .randomness import Randomness, words

_STRIPS = 2048
_REACH = 13.0
_LOWER = 128
_CHUNK = 1 << 15
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class _Staircase:
    """The proposal for one scale s (in lattice points): an alias table over strips of 2^bits points each.

    The lattice's points are at the whole numbers plus `origin` (0 or one half). thresholds: the upper 64 bits of each
    cell's threshold, lower: the 128 bits below.
    """

    origin: float
    bits: int
    thresholds: NDArray[np.uint64]
    lower: tuple[int, ...]
    aliases: NDArray[np.int64]


@lru_cache(maxsize=16)
def _staircase(scale: float, origin: float) -> _Staircase:
    points = math.ceil(_REACH * scale)
    bits = max(0, math.ceil(math.log2(points / _STRIPS)))
    strips = min(_STRIPS, -(-points // (1 << bits)))
    with decimal.localcontext(prec=80):
        two_variances = 2 * decimal.Decimal(scale) ** 2
        starts = [decimal.Decimal(j << bits) + decimal.Decimal(origin) for j in range(strips)]
        heights = [(-(start * start) / two_variances).exp() for start in starts]
        total = sum(heights)
        # Each strip's share, in units of 2^-192 of an average table cell, as exact integers that sum to the table.
        unit = _STRIPS << 64 + _LOWER
        shares = [int(height / total * unit) for height in heights] + [0] * (_STRIPS - strips)
    shares[0] += unit - sum(shares)
    full = 1 << 64 + _LOWER
    thresholds, aliases = [0] * _STRIPS, list(range(_STRIPS))
    small = [j for j in range(_STRIPS) if shares[j] < full]
    large = [j for j in range(_STRIPS) if shares[j] >= full]
    while small:
        j = small.pop()
        thresholds[j] = shares[j]
        donor = large[-1]
        aliases[j] = donor
        shares[donor] -= full - shares[j]
        if shares[donor] < full:
            large.pop()
            small.append(donor)
    # What is left holds exactly one whole cell: its own alias, so its threshold does not matter.
    return _Staircase(
        origin,
        bits,
        np.array([threshold >> _LOWER for threshold in thresholds], dtype=np.uint64),
        tuple(threshold & ((1 << _LOWER) - 1) for threshold in thresholds),
        np.array(aliases, dtype=np.int64),
    )


def lattice_gaussian(size: int, scale: float, source: Randomness) -> NDArray[np.float64]:
    """Draw from the Gaussian of scale s > 0 on the half-integers: P(x) proportional to exp(-x^2 / (2 s^2)).

    Returns float64 (size,), each an integer plus one half, below 13 s + 2^k in size. Raises UnaccountableError when
    the scale is not positive or too large for exact arithmetic (13 s must stay below 2^50).
    """
    return _drawn(size, scale, _HALF, source)


def integer_gaussian(size: int, scale: float, source: Randomness) -> NDArray[np.float64]:
    """The same on the whole numbers, the discrete Gaussian N_Z(0, s^2) of Canonne, Kamath and Steinke (2020).

    Returns whole numbers as float64 (size,). Raises as `lattice_gaussian` does.
    """
    return _drawn(size, scale, 0.0, source)


def _drawn(size: int, scale: float, origin: float, source: Randomness) -> NDArray[np.float64]:
    if not 0.0 < scale <= 2.0**46:
        raise UnaccountableError(f"noise of {scale:g} lattice points cannot be drawn exactly")
    table = _staircase(scale, origin)
    result = np.empty(size, dtype=np.float64)
    filled = 0
    while filled < size:
        kept = _propose(min(_CHUNK, size - filled + 64), scale, table, source)[: size - filled]
        result[filled : filled + kept.size] = kept
        filled += kept.size
    return result


def _propose(count: int, scale: float, table: _Staircase, source: Randomness) -> NDArray[np.float64]:
    """Make `count` proposals and return those that were kept, in order."""
    drawn = words(3 * count, source)
    place, coin, keep = drawn[:count], drawn[count : 2 * count], drawn[2 * count :]
    cell = (place >> np.uint64(53)).astype(np.int64)  # 11 bits
    threshold = table.thresholds[cell]
    below = coin < threshold
    for tied in np.flatnonzero(coin == threshold):  # once in 2^64 draws
        below[tied] = int.from_bytes(source.take(_LOWER // 8), "little") < table.lower[cell[tied]]
    strip = np.where(below, cell, table.aliases[cell])
    offset = (place & np.uint64((1 << table.bits) - 1)).astype(np.float64)  # at most 42 bits
    negative = ((place >> np.uint64(52)) & np.uint64(1)) == 1
    start = (strip << table.bits).astype(np.float64) + table.origin
    # x^2 - x0^2 as (x - x0)(x + x0): both factors are exact, so the exponent is right to two roundings.
    exponent = offset * (2.0 * start + offset) / (-2.0 * scale * scale)
    kept = (keep >> np.uint64(11)).astype(np.float64) * 2.0**-53 < np.exp(exponent)
    values = start + offset
    if table.origin == 0.0:
        kept &= ~(negative & (values == 0.0))  # or else 0, which has no negative, would come twice as often
    return np.where(negative, -values, values)[kept]


def _power_of_two_below(value: float) -> float:
    return 2.0 ** math.floor(math.log2(value))


def gaussian(size: int, std: float, source: Randomness) -> NDArray[np.float64]:
    """Draw `size` values of N(0, std^2) on a lattice of at least 2^32 points to a standard deviation.

    std >= 0, in the units of the caller; returns float64 (size,), zeros for std 0. To hide a secret do not add this
    to it: call `add_gaussian`, which rounds the secret to the same lattice first. Raises UnaccountableError when the
    std is negative or not finite.
    """
    return add_gaussian(np.zeros(size), std, _power_of_two_below(std) * 2.0**-32 if std > 0.0 else 1.0, source)


def lattice_step(clip: float, std: float, size: int) -> float:
    """The lattice for a vector of `size` values with sensitivity `clip` under noise of `std`: a power of two.

    Small enough that rounding moves the vector by at most 2^-12 clip in norm (between neighbours, twice half a step
    in every coordinate) and that a standard deviation spans at least 2^24 points.
    """
    return _power_of_two_below(min(clip * 2.0**-12 / math.sqrt(max(size, 1)), std * 2.0**-24))


def add_gaussian(values: NDArray[np.float64], std: float, step: float, source: Randomness) -> NDArray[np.float64]:
    """Round `values` (d,) to multiples of `step` (a power of two) and add lattice noise of `std`; exact, float64 (d,).

    With std 0 the values come back as they are. Raises UnaccountableError when the std is negative, a value is not
    finite, or the values are so large beside the step that the sum would not be exact.
    """
    if std == 0.0:
        return values.copy()
    if not (0.0 < std < math.inf):
        raise UnaccountableError(f"a noise of standard deviation {std} was asked for", fix="give one above 0")
    units = np.rint(values / step)
    if not bool(np.all(np.abs(units) < 2.0**50)):
        raise UnaccountableError(
            "a value is not finite, or too large beside the noise to be hidden exactly", fix="lower the clip"
        )
    return (units + lattice_gaussian(values.size, std / step, source)) * step
