"""How good proposals are: discrimination, overlap, pointing, and intervals that respect who the images belong to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ModelError


def auroc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """The chance that a positive outscores a negative, ties counting one half (Mann and Whitney 1947).

    scores (N,) float, labels (N,) in {0, 1}. None when one class is missing.
    """
    s, y = np.asarray(scores, dtype=np.float64).ravel(), np.asarray(labels).ravel() > 0.5
    if s.shape != y.shape:
        raise ModelError(f"{len(s)} scores for {len(y)} labels", where="auroc", fix="give one label for each score")
    positives, negatives = s[y], np.sort(s[~y])
    if not len(positives) or not len(negatives):
        return None
    below = np.searchsorted(negatives, positives, side="left")
    up_to = np.searchsorted(negatives, positives, side="right")
    return float((below + up_to).mean() / (2.0 * len(negatives)))


def dice(first: ArrayLike, second: ArrayLike) -> float:
    """The Dice coefficient of two masks of one shape; 1 when both are empty."""
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape:
        raise ModelError(f"masks of {a.shape} and {b.shape}", where="dice", fix="give masks of one shape")
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 1.0


def pointing_hit(map: ArrayLike, mask: ArrayLike) -> bool:
    """Whether the map's maximum (the first of equals) lies inside the mask, both (rows, columns)."""
    values, truth = np.asarray(map, dtype=np.float64), np.asarray(mask, dtype=bool)
    if values.shape != truth.shape:
        raise ModelError(
            f"a map of {values.shape} on a mask of {truth.shape}", where="pointing", fix="restore the map first"
        )
    return bool(truth.ravel()[int(values.argmax())])


def bootstrap_by_patient(
    metric: Callable[..., float | None],
    patients: ArrayLike,
    *arrays: NDArray[Any],
    seed: int,
    draws: int = 200,
) -> tuple[float, float, float] | None:
    """`metric(*arrays)` with its 95 % percentile interval, drawing patients with all their rows (Efron 1979).

    patients (N,): the patient of each row; arrays: each (N, ...). None when the metric is None on the whole, or on
    more than half of the draws.
    """
    value = metric(*arrays)
    if value is None:
        return None
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    count = int(patient.max()) + 1
    source = np.random.default_rng(seed)
    drawn: list[float] = []
    for _ in range(draws):
        times = np.bincount(source.integers(0, count, size=count), minlength=count)
        rows = np.repeat(np.arange(len(patient)), times[patient])
        sample = metric(*(array[rows] for array in arrays))
        if sample is not None:
            drawn.append(sample)
    if 2 * len(drawn) < draws:
        return None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return value, float(low), float(high)
