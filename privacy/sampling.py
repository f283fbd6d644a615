"""Which patients take part in a step: every one, or each drawn by an independent coin (Poisson sampling).

The unit is the patient, never the image: the accountant's sampling rate is the probability that anything of a
patient enters the step at all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .errors import UnaccountableError
from .randomness import Randomness, below, words


def sample_patients(count: int, rate: float, source: Randomness) -> NDArray[np.int64]:
    """Return the indices of the patients of one step, ascending, shape (k,) with 0 <= k <= count.

    With rate 1.0 all `count` patients are returned and no randomness is used. Below it every patient is drawn
    independently with probability floor(rate x 2^64) / 2^64, never more than the accountant was told; the empty
    sample is an ordinary one (Abadi et al. 2016, section 3.1; Zhu and Wang 2019). Raises UnaccountableError when
    the rate is not in (0, 1] or the count is negative.
    """
    if not 0.0 < rate <= 1.0:
        raise UnaccountableError(f"a sampling rate of {rate} is not in (0, 1]", fix="choose it in (0, 1]")
    if count < 0:
        raise UnaccountableError(f"{count} patients cannot be sampled from")
    if rate == 1.0:
        return np.arange(count, dtype=np.int64)
    threshold = np.uint64(int(rate * 2.0**64))  # exact: scaling a float by a power of two
    return np.flatnonzero(words(count, source) < threshold).astype(np.int64)


def sample_images(images_of: NDArray[np.int64], source: Randomness) -> NDArray[np.int64]:
    """Return for each patient with n = images_of[i] >= 1 images one index in [0, n), uniformly; shape (k,)."""
    return below(images_of, source)
