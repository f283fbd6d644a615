"""The evaluation vector: how a site's held-out patients score, and its vote on what they say of the last model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.histograms import noised_auroc
from ..privacy import evaluation
from ..privacy.plan import Plan
from ..privacy.randomness import Randomness

Vector = NDArray[np.float64]

# One-sided 95 %: with no fall beyond the limit, noise alone makes a site vote against once in twenty times at most.
_SURE = 1.645


def score_histograms(
    probabilities: NDArray[np.float64], labels: NDArray[np.float64], patients: NDArray[np.int64], bins: int
) -> Vector:
    """Score histograms, flattened from (F, 2, bins): for each finding the absent patients, then the present ones.

    probabilities (N, F) in [0, 1]; labels (N, F): 1 present, 0 absent, anything else (uncertain, not assessed) does
    not count; patients (N,). Each patient adds one to at most one cell of each finding: they are present if any of
    their images is, their score is the mean over their images with a label. Bins are of equal width over [0, 1].
    """
    histograms = np.zeros((probabilities.shape[1], 2, bins))
    _, owner = np.unique(patients, return_inverse=True)
    for finding in range(probabilities.shape[1]):
        told = np.isin(labels[:, finding], (0.0, 1.0))
        images = np.bincount(owner[told], minlength=1)
        scores = np.bincount(owner[told], probabilities[told, finding], minlength=1)
        present = np.bincount(owner[told], labels[told, finding], minlength=1) > 0.0
        known = images > 0
        cells = np.minimum((scores[known] / images[known] * bins).astype(np.int64), bins - 1)
        np.add.at(histograms[finding], (present[known].astype(np.int64), cells), 1.0)
    return histograms.reshape(-1)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A site's evaluation vector, and the noised copy (cells,) that it judged or will judge by, where it does."""

    vector: Vector
    copy: Vector | None


def evaluated(plan: Plan, histograms: Vector, round: int, before: Vector | None, source: Randomness) -> Evaluated:
    """The vector for the model after `round`: noised histograms, and after the last round the vote.

    histograms (cells,): the site's own. before: the copy kept from the starting release, None where there is none. The
    caller has charged the ledger for `events.evaluation_events`.
    """
    noised = evaluation.hidden(plan, histograms, source)
    copy = None
    if evaluation.judged(plan, round):
        copy = evaluation.noised_copy(plan, histograms, source) if evaluation.copies(plan, round) else noised
    word = vote(plan, before, copy) if round > 0 and before is not None and copy is not None else None
    return Evaluated(evaluation.with_votes(plan, noised, word), copy)


def vote(plan: Plan, before: Vector, after: Vector) -> bool | None:
    """A site's vote by its noised copies (cells,), in units, of the starting release's and the last model's histograms.

    False, against the release, when the mean AUROC fell by more than the gate allows and noise alone hardly explains
    it. The held-out patients are the same in both, and the gate is about them and nobody else, so that only the noise
    is uncertain. None, no vote, when the noise leaves no AUROC to judge. Only noised copies are looked at: the vote is
    post-processing of what was charged.
    """
    gate = evaluation.terms_of(plan).gate
    if gate is None:
        return None
    deviation = evaluation.copy_deviation(plan)
    shape = (len(plan.task.findings), 2, evaluation.terms_of(plan).bins)
    falls: list[tuple[float, float]] = []
    for first, last in zip(before.reshape(shape), after.reshape(shape), strict=True):
        was = noised_auroc(first[0] / evaluation.UNIT, first[1] / evaluation.UNIT, deviation)
        now = noised_auroc(last[0] / evaluation.UNIT, last[1] / evaluation.UNIT, deviation)
        if was is not None and now is not None:
            falls.append((was[0] - now[0], float(np.hypot(was[1], now[1]))))
    if not falls:
        return None
    fall = float(np.mean([one for one, _ in falls]))
    error = float(np.sqrt(sum(error**2 for _, error in falls))) / len(falls)
    return not fall - gate.max_fall > _SURE * error
