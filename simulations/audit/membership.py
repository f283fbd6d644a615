"""Who was trained on? A likelihood-ratio attack on released models, after Carlini et al. (2022, LiRA).

The plan is carried out several times, each time on a random half of every hospital's patients, so that every patient is
in half of the trainings. Each release in turn is attacked with all others as shadows: for every patient the attacker
knows how confident releases with and without this patient are, and asks which of the two the attacked one resembles.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...client.training_set import TrainingSet
from ...models.checkpoint import Release
from ..compare.cells import Cell
from ..compare.folds import Fold
from ..compare.nodes import train
from ..results import Estimate
from .bounds import Vector
from .rows import kept

RATES = (0.001, 0.01)
_DRAWS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Membership:
    """auc: 0.5 is chance. hit_rates: the share of members found at each false alarm rate of RATES. Intervals of 95 %,
    by drawing patients anew. curve: (false alarm rate, hit rate) for a plot."""

    patients: int
    trainings: int
    auc: Estimate
    hit_rates: tuple[Estimate, ...]
    curve: tuple[tuple[float, float], ...]


def attack(
    fold: Fold,
    cell: Cell,
    sets: Sequence[TrainingSet],
    folder: Path,
    trainings: int,
    advance: Callable[[int], None],
) -> Membership:
    """Carry out the cell's plan `trainings` times (an even number, 4 or more) and attack every release."""
    generator = np.random.default_rng([cell.seed, 0x314A])
    sizes = [rows.patient_count for rows in sets]
    half = np.arange(trainings) < trainings // 2
    members = np.stack([generator.permutation(half) for _ in range(sum(sizes))], axis=1)
    # Nobody is trained on an empty hospital: its first patient then takes part.
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for training in range(trainings):
        for first, last in pairwise(starts):
            members[training, first] |= not members[training, first:last].any()
    confidences = np.empty(members.shape)
    for training in range(trainings):
        parts = [
            kept(rows, members[training, first:last])
            for rows, first, last in zip(sets, starts[:-1], starts[1:], strict=True)
        ]
        work = folder / str(training)
        trained = train(fold, cell, parts, work)
        shutil.rmtree(work, ignore_errors=True)
        confidences[training] = np.concatenate([confidence(trained.release, rows) for rows in sets])
        advance(training + 1)
    return judged(confidences, members, generator)


def confidence(release: Release, rows: TrainingSet) -> Vector:
    """How sure the release is of each patient's labels (P,): the logit of the labelled state, mean over the patient's
    assessed findings and images."""
    import torch

    module = release.network().trainable()
    with torch.inference_mode():
        parts = [module(rows.inputs[at : at + 64].float()).logits.double() for at in range(0, len(rows.inputs), 64)]
    assessed = rows.targets.assessed.numpy()
    signed = torch.cat(parts).numpy() * (2.0 * rows.targets.labels.double().numpy() - 1.0) * assessed
    totals = np.bincount(rows.patients, signed.sum(axis=1), rows.patient_count)
    return totals / np.maximum(1, np.bincount(rows.patients, assessed.sum(axis=1), rows.patient_count))


def judged(confidences: Vector, members: NDArray[np.bool_], generator: np.random.Generator) -> Membership:
    """The attack's figures from confidences (T, P) and who was a member of which training (T, P)."""
    scores = _ratios(confidences, members)
    auc, *hits = _figures(scores, members)
    drawn = np.array(
        [
            _figures(scores[:, some], members[:, some])
            for some in (generator.integers(0, members.shape[1], members.shape[1]) for _ in range(_DRAWS))
        ]
    )
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    estimates = [Estimate(value, float(a), float(b)) for value, a, b in zip((auc, *hits), low, high, strict=True)]
    rates = np.geomspace(1e-3, 1.0, 61)
    curve = tuple((float(rate), _hit_rate(scores, members, float(rate))) for rate in rates)
    return Membership(members.shape[1], members.shape[0], estimates[0], tuple(estimates[1:]), curve)


def _ratios(confidences: Vector, members: NDArray[np.bool_]) -> Vector:
    """Log likelihood ratios (T, P): each training judged by all others, in squares of one spread for all.

    A mean over n shadows is itself uncertain by spread^2 / n. Without that a member, who has one shadow fewer inside,
    would look less like a member even where nothing leaks.
    """
    scores = np.empty_like(confidences)
    for training in range(len(confidences)):
        others = np.arange(len(confidences)) != training
        away: list[Vector] = []
        for inside in (~members[others], members[others]):
            mean = np.nanmean(np.where(inside, confidences[others], np.nan), axis=0)
            away.append(np.square(confidences[training] - mean) / (1.0 + 1.0 / inside.sum(axis=0)))
        scores[training] = (away[0] - away[1]) / 2.0
    return scores


def _figures(scores: Vector, members: NDArray[np.bool_]) -> tuple[float, ...]:
    from scipy.stats import rankdata

    inside = int(members.sum())
    outside = members.size - inside
    ranks = rankdata(scores.ravel())[members.ravel()]
    auc = (float(ranks.sum()) - inside * (inside + 1) / 2.0) / (inside * outside)
    return (auc, *(_hit_rate(scores, members, rate) for rate in RATES))


def _hit_rate(scores: Vector, members: NDArray[np.bool_], rate: float) -> float:
    """The share of members above a threshold that at most `rate` of the others pass."""
    others = np.sort(scores[~members])[::-1]
    threshold = others[min(others.size - 1, int(rate * others.size))]
    return float((scores[members] > threshold).mean())
