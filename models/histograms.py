"""What score histograms say when noise was added to them: AUROC, calibration and a temperature, with intervals.

Histograms are (2, B): patients without and with the finding over equal bins of stated probability, each cell with
independent noise of a known standard deviation (0: exact). All here is post-processing of them.

**No bias from negative counts.** Counts below zero are not cut off: the sum of cut noise is above zero, and on sparse
histograms that would be most of the figure. Everything is written in sums that are linear in each histogram, so that
noise of mean zero cancels in them: the AUROC's numerator sum(present_j (absent below j + absent_j / 2)) is bilinear in
the two independent histograms, hence exact on average. Only its division by the noised totals bends it, and that bend
is known to second order and taken out (`noised_auroc`). A calibration error is a sum of distances, which noise can only
lengthen; its square is right on average once the noise's variance is subtracted (`_distance`). A temperature is that of
least cross-entropy, which is linear in the counts.

**Intervals** are from a parametric bootstrap (Efron and Tibshirani 1993, section 6.5): the histograms are drawn in to
the nearest possible ones of the same totals (Euclidean projection on a simplex), patients are drawn anew from those,
new noise is added, and the figure is computed again.
The spread of the draws about the figure of the projected histograms, turned round (the basic interval), is the
interval. The projection itself is not used for any figure: it is biased towards flat histograms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .estimate import Estimate

Array = NDArray[np.float64]

GROUPS = 10
"""Groups of bins that calibration is told in."""
_DRAWS = 400
# A class is there when its total is this many standard deviations of its noise, and rounds to a patient or more.
_PRESENT = 3.0
_SURE = 1.645
_TEMPERATURES = np.exp(np.linspace(math.log(0.05), math.log(20.0), 241))


def noised_auroc(absent: Array, present: Array, deviation: float) -> tuple[float, float] | None:
    """The AUROC of histograms (B,), and the standard deviation that the noise gives it; not limited to [0, 1].

    With c_i the AUROC's slope in absent_i (the share of the present above bin i, half of those in it), N the total and
    U the quotient, noise of variance v in each cell gives U a mean error of v (B U - sum c) / N^2 (the second-order
    term of a quotient whose numerator and total share their noise), and likewise for the present; both are subtracted.
    None when a class cannot be told from noise.
    """
    if absent.shape != present.shape or absent.ndim != 1:
        raise ModelError(
            f"histograms of {absent.shape} and {present.shape}", where="auroc", fix="give two of the same bins"
        )
    totals = float(absent.sum()), float(present.sum())
    if not all(_is_there(total, absent.size, deviation) for total in totals):
        return None
    without, with_it = totals
    above = (with_it - np.cumsum(present) + 0.5 * present) / with_it
    below = (np.cumsum(absent) - 0.5 * absent) / without
    quotient = float(present @ below) / with_it
    variance = deviation**2
    bend = variance * (absent.size * quotient - float(above.sum())) / without**2
    bend += variance * (present.size * quotient - float(below.sum())) / with_it**2
    spread = float(((above - quotient) ** 2).sum()) / without**2 + float(((below - quotient) ** 2).sum()) / with_it**2
    return quotient - bend, deviation * math.sqrt(spread)


def auroc(histograms: Array, deviation: float, seed: int) -> Estimate | None:
    """The AUROC of histograms (2, B) with its interval; None when a class cannot be told from noise."""

    def figure(drawn: Array) -> float | None:
        found = noised_auroc(drawn[0], drawn[1], deviation)
        return None if found is None else found[0]

    return _estimate(histograms, deviation, figure, seed)


@dataclass(frozen=True, slots=True)
class ReliabilityGroup:
    """Patients whose stated probability lies around `stated` (the mean of the bins' centres): the share of them that
    have the finding, and about how many they are."""

    stated: float
    observed: Estimate
    patients: float


def calibration_error(histograms: Array, deviation: float, seed: int) -> Estimate | None:
    """The expected calibration error over groups of bins of histograms (2, B), to within half a bin's width, with its
    interval; None when nobody can be told from noise."""
    stated = _centres(histograms.shape[1])

    def figure(drawn: Array) -> float | None:
        total = float(drawn.sum())
        if not _is_there(total, drawn.size, deviation):
            return None
        gap = _grouped(stated * drawn.sum(axis=0) - drawn[1])
        variance = _grouped(stated**2 + (1.0 - stated) ** 2) * deviation**2
        return float(_distance(gap, variance).sum()) / total

    return _estimate(histograms, deviation, figure, seed)


def reliability(histograms: Array, deviation: float, seed: int) -> tuple[ReliabilityGroup, ...]:
    """The groups of histograms (2, B) in which anybody can be told from noise."""
    stated = _centres(histograms.shape[1])
    counts = _grouped(histograms.sum(axis=0))
    sizes = _grouped(np.ones(histograms.shape[1]))
    centres = _grouped(stated) / np.maximum(sizes, 1.0)
    groups: list[ReliabilityGroup] = []
    for group in range(GROUPS):
        if not sizes[group] or not _is_there(float(counts[group]), int(2 * sizes[group]), deviation):
            continue

        def figure(drawn: Array, group: int = group) -> float | None:
            total = float(_grouped(drawn.sum(axis=0))[group])
            return float(_grouped(drawn[1])[group]) / total if total > 0.0 else None

        observed = _estimate(histograms, deviation, figure, seed + group)
        if observed is not None:
            groups.append(ReliabilityGroup(float(centres[group]), observed, float(counts[group])))
    return tuple(groups)


def temperature(histograms: Array, deviation: float, current: float) -> float:
    """The temperature in [0.05, 20] of least cross-entropy on histograms (2, B) of uncalibrated probabilities.

    `current` stays unless another is better by more than the noise explains (one-sided 95 %), and where a class cannot
    be told from noise. A bin stands at its centre.
    """
    if not all(_is_there(float(one.sum()), one.size, deviation) for one in histograms):
        return current
    centres = _centres(histograms.shape[1])
    logits = np.log(centres / (1.0 - centres))

    def costs(temperatures: Array) -> Array:
        scaled = logits / temperatures[:, None]
        return np.stack([np.logaddexp(0.0, scaled), np.logaddexp(0.0, -scaled)], axis=1)

    each = costs(_TEMPERATURES)  # (T, 2, B): of an absent and of a present patient in each bin
    best = int(np.argmin((each * histograms).sum(axis=(1, 2))))
    gain = costs(np.array([current]))[0] - each[best]
    better = float((gain * histograms).sum()) > _SURE * deviation * float(np.sqrt((gain**2).sum()))
    return float(_TEMPERATURES[best]) if better else current


def _is_there(total: float, cells: int, deviation: float) -> bool:
    return total >= max(0.5, _PRESENT * deviation * math.sqrt(cells))


def _centres(bins: int) -> Array:
    return (np.arange(bins) + 0.5) / bins


def _grouped(values: Array) -> Array:
    """Sums (GROUPS,) of values (B,) over the bins whose centres fall into each group."""
    place = (_centres(values.size) * GROUPS).astype(np.int64)
    return np.bincount(place, weights=values, minlength=GROUPS).astype(np.float64)


def _distance(gap: Array, variance: Array) -> Array:
    """The size of gaps that were met with noise of that variance: the root of what their squares exceed it by."""
    return np.sqrt(np.maximum(gap**2 - variance, 0.0))


def _projected(counts: Array, total: float) -> Array:
    """The nearest counts (B,) at or above zero that add up to `total` >= 0 (Euclidean projection on a simplex)."""
    falling = np.sort(counts)[::-1]
    excess = (np.cumsum(falling) - total) / np.arange(1, counts.size + 1)
    kept = int(np.flatnonzero(falling - excess > 0.0)[-1]) if total > 0.0 else 0
    return np.maximum(counts - excess[kept], 0.0) if total > 0.0 else np.zeros_like(counts)


def _estimate(
    histograms: Array, deviation: float, figure: Callable[[Array], float | None], seed: int
) -> Estimate | None:
    value = figure(histograms)
    if value is None:
        return None
    possible = np.stack([_projected(one, max(0.0, float(one.sum()))) for one in histograms])
    centre = figure(possible)
    if centre is None:
        return None
    source = np.random.default_rng([seed, 0xE7A1])
    chances = possible.ravel() / possible.sum()
    patients = max(1, round(float(possible.sum())))
    drawn: list[float] = []
    for _ in range(_DRAWS):
        sample = source.multinomial(patients, chances).astype(np.float64).reshape(histograms.shape)
        found = figure(sample + source.normal(0.0, deviation, histograms.shape) if deviation else sample)
        if found is not None:
            drawn.append(found)
    if 2 * len(drawn) < _DRAWS:
        return None
    low, high = np.percentile(np.array(drawn) - centre, [2.5, 97.5])
    bounded = np.clip([value, value - high, value - low], 0.0, 1.0)
    # Turned round, a skewed spread may leave the figure outside its own interval; the interval then reaches to it.
    return Estimate(float(bounded[0]), float(min(bounded[1], bounded[0])), float(max(bounded[2], bounded[0])))
