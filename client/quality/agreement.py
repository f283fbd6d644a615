"""Agreement beyond chance on categories: Cohen's kappa, Fleiss' kappa, Krippendorff's alpha.

Ratings are whole numbers, one for each category, MISSING where a reader did not rate a unit. NaN is returned where
agreement is undefined: nobody rated what another rated, or there was only one category all along, so that agreement
by chance is certain.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Ratings = NDArray[np.int64]

MISSING = -1


def cohen_kappa(one: Ratings, two: Ratings) -> float:
    """Cohen 1960: of two readers, over the units (n,) that both rated; in [-1, 1]."""
    both = (one != MISSING) & (two != MISSING)
    a, b = one[both], two[both]
    if not len(a):
        return math.nan
    kinds = int(max(a.max(), b.max())) + 1
    chance = float(np.bincount(a, minlength=kinds) @ np.bincount(b, minlength=kinds)) / len(a) ** 2
    return _beyond_chance(float((a == b).mean()), chance)


def fleiss_kappa(ratings: Ratings) -> float:
    """Fleiss 1971: of ratings (readers, n), over the units that the same number of readers (two or more) rated.

    Where that number differs between units, the units with the commonest number of readers count (the larger number
    of two that are equally common): his statistic is made for a fixed one. Units of one reader never count.
    """
    counts = _counts(ratings)
    readers = counts.sum(axis=1)
    several = readers[readers >= 2]
    if not len(several):
        return math.nan
    often = np.bincount(several)
    fixed = int(np.flatnonzero(often == often.max())[-1])
    chosen = counts[readers == fixed]
    observed = float((chosen * (chosen - 1)).sum()) / (len(chosen) * fixed * (fixed - 1))
    shares = chosen.sum(axis=0) / chosen.sum()
    return _beyond_chance(observed, float(shares @ shares))


def krippendorff_alpha(ratings: Ratings) -> float:
    """Krippendorff 2011, nominal data: of ratings (readers, n) with any of them missing; in [-1, 1].

    Every pair of ratings of one unit counts 1 / (ratings of the unit - 1); units of one reader say nothing.
    """
    counts = _counts(ratings)
    paired = counts[counts.sum(axis=1) >= 2].astype(np.float64)
    if not len(paired):
        return math.nan
    readers = paired.sum(axis=1)
    total = float(readers.sum())
    agreeing = float(((paired * (paired - 1.0)).sum(axis=1) / (readers - 1.0)).sum())
    values = paired.sum(axis=0)
    chance = float((values * (values - 1.0)).sum()) / (total * (total - 1.0))
    return _beyond_chance(agreeing / total, chance)


def _counts(ratings: Ratings) -> NDArray[np.int64]:
    """How many readers put each unit into each category (n, categories)."""
    kinds = max(int(ratings.max(initial=MISSING)) + 1, 1)
    return np.stack([(ratings == kind).sum(axis=0) for kind in range(kinds)], axis=1)


def _beyond_chance(observed: float, chance: float) -> float:
    return math.nan if chance >= 1.0 else (observed - chance) / (1.0 - chance)
