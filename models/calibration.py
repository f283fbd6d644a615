"""Temperature scaling and how well stated probabilities match observed frequencies (Guo et al. 2017)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ModelError

_LEAST, _MOST = 0.05, 20.0


def probabilities(logits: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """sigmoid(logit / temperature), any shape, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64) / temperature))


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature in [0.05, 20] of least cross-entropy on logits (N,) and labels (N,) in {0, 1}.

    Labels are smoothed by Platt's (1999) counts, so that a few perfectly separated cases do not claim certainty. With
    one class only there is nothing to fit, and the temperature is 1.
    """
    z, y = _paired(logits, labels)
    positives = float(y.sum())
    negatives = len(y) - positives
    if positives < 1.0 or negatives < 1.0:
        return 1.0
    target = np.where(y > 0.5, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))

    def slope(log_inverse: float) -> float:
        # Cross-entropy is convex in the inverse temperature; its derivative there rises through one zero.
        return float(np.mean((probabilities(z, math.exp(-log_inverse)) - target) * z))

    low, high = -math.log(_MOST), -math.log(_LEAST)
    if slope(low) >= 0.0:
        return _MOST
    if slope(high) <= 0.0:
        return _LEAST
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) < 0.0 else (low, middle)
    return math.exp(-0.5 * (low + high))


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> list[tuple[float, float, int]]:
    """For each non-empty bin of equal width: (mean stated probability, observed frequency, count)."""
    p, y = _paired(probabilities, labels)
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    stated = np.bincount(place, weights=p, minlength=bins)
    observed = np.bincount(place, weights=y, minlength=bins)
    return [
        (float(stated[index] / counts[index]), float(observed[index] / counts[index]), int(counts[index]))
        for index in np.flatnonzero(counts)
    ]


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> float:
    """Mean distance between stated and observed over the bins, weighted by their counts; 0 of no cases."""
    rows = reliability(probabilities, labels, bins)
    total = sum(count for _, _, count in rows)
    return sum(count * abs(stated - observed) for stated, observed, count in rows) / total if total else 0.0


def _paired(values: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(values, dtype=np.float64).ravel(), np.asarray(labels, dtype=np.float64).ravel()
    if x.shape != y.shape:
        raise ModelError(f"{len(x)} values for {len(y)} labels", where="calibration", fix="give one label each")
    return x, y
