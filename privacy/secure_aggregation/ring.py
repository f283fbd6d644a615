"""From a float64 vector to the masked vector in the ring of 2^32, and from the opened ring sum back.

Values saturate at the site's limit and are rounded to whole steps at random, up or down, so that the expected value is
the value itself (to 2^-22 of a step: float64's own grid at the ring's ends). The randomness is AES-256-CTR under a
fresh key. Saturated values are counted in one more ring element, masked like the rest.

Vectors of whole numbers that carry their noise already (mode "distributed") go in as they are: nothing saturates,
nothing is rounded again, the count is 0, and the sum is exact modulo 2^32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import AggregationError
from .keystream import PIECE, Mask, Masker, Ring, Words, apply_masks

Vector = NDArray[np.float64]


def mask_vector(values: Vector, limit: float, step: float, masks: Sequence[Mask], rounding_key: bytes) -> Ring:
    """Quantise `values` (d,) and mask them: returns (d + 1,) ring words, the last one the count of saturated values.

    `limit`, `step`: in the values' unit. `rounding_key`: 32 bytes, used here only.
    Raises AggregationError when a value is not finite or the vector is not one row of float64.
    """
    if values.ndim != 1 or values.dtype != np.float64:
        raise AggregationError(f"a contribution of shape {values.shape} and {values.dtype}", where="contribution")
    vector: Ring = np.empty(values.size + 1, dtype="<u4")
    masker, random = Masker(masks), Words(rounding_key)
    scaled, dither, words = np.empty(PIECE), np.empty(PIECE), np.empty(PIECE, dtype="<u4")
    saturated = 0
    for begin in range(0, values.size, PIECE):
        part, piece = values[begin : begin + PIECE], vector[begin : min(begin + PIECE, values.size)]
        x, u, w = scaled[: part.size], dither[: part.size], words[: part.size]
        saturated += _scale(part, limit, step, x)
        # A signed word / 2^32 is uniform in [-1/2, 1/2): the nearest whole number to x + u is x's upper neighbour with
        # the probability of x's fraction.
        random.fill(w)
        np.copyto(u, w.view("<i4"))
        u *= 2.0**-32
        x += u
        np.rint(x, out=x)
        np.copyto(piece.view("<i4"), x, casting="unsafe")
        masker.apply(piece)
    vector[-1] = saturated
    masker.apply(vector[-1:])
    return vector


def mask_whole(values: Vector, masks: Sequence[Mask]) -> Ring:
    """Mask a vector (d,) of whole numbers below 2^53 in size: returns (d + 1,) ring words, the last one a count of 0.

    Raises AggregationError when a value is no such number.
    """
    if values.ndim != 1 or values.dtype != np.float64:
        raise AggregationError(f"a contribution of shape {values.shape} and {values.dtype}", where="contribution")
    if not bool(np.all((np.abs(values) < 2.0**53) & (values == np.rint(values)))):
        raise AggregationError("the contribution holds values that are not whole numbers", where="contribution")
    vector: Ring = np.zeros(values.size + 1, dtype="<u4")
    vector[:-1] = values.astype(np.int64).astype("<u4")  # the remainder modulo 2^32
    apply_masks(masks, vector)
    return vector


def open_vector(total: Ring, step: float) -> tuple[Vector, int]:
    """The float64 sum (d,) and the count of saturated values behind an unmasked ring sum (d + 1,)."""
    values = total[:-1].view("<i4").astype(np.float64)
    values *= step
    return values, int(total[-1])


def _scale(values: Vector, limit: float, step: float, out: Vector) -> int:
    """Write values / step into `out`, saturated at +- limit; returns how many were."""
    low, high = float(values.min()), float(values.max())
    # NaN fails every comparison, so it ends up here too.
    if not (-limit <= low and high <= limit):
        if not (np.isfinite(low) and np.isfinite(high)):
            raise AggregationError(
                "the contribution holds values that are not finite",
                where="contribution",
                fix="training diverged: lower the learning rate",
            )
        np.clip(values, -limit, limit, out=out)
        saturated = int(np.count_nonzero(values != out))
        out *= 1.0 / step
        return saturated
    np.multiply(values, 1.0 / step, out=out)
    return 0
