"""The evaluation vector: how a site's held-out patients score, and its vote on what they say of the last model.

Only the vote leaves, one for all gates: not which of them failed, nor which were asked. What the site's own people see
of it (`Verdict`) is read off the same noised copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ..models.histograms import noised_auroc
from ..privacy import evaluation
from ..privacy.plan import Plan
from ..privacy.randomness import Randomness
from ..privacy.subgroups import EVERYBODY, Subgroup, Traits

Vector = NDArray[np.float64]

# With no fall beyond any limit, noise alone makes a site vote against once in twenty times at most.
_FALSE_ALARM = 0.05


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


def group_histograms(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.float64],
    patients: NDArray[np.int64],
    groups: Sequence[tuple[Subgroup, int]],
    traits: Sequence[Traits],
) -> Vector:
    """The score histograms of each group's patients, F x 2 x its bins values one after the other.

    probabilities, labels, patients: as for `score_histograms`, patients numbered from 0. groups: with their bins.
    traits: of each patient, by number; not looked at for everybody. A patient counts in every group that holds them.
    """
    parts: list[Vector] = []
    for group, bins in groups:
        inside = np.ones(len(patients), np.bool_)
        if group != EVERYBODY:
            held = np.array([group.holds(one) for one in traits], np.bool_)
            inside = held[patients]
        parts.append(score_histograms(probabilities[inside], labels[inside], patients[inside], bins))
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A site's evaluation vector; where it judges, the noised histograms that it judges by, of the groups of
    `evaluation.counted` one after the other; and after the last round what it found (none where nothing was kept of
    the first)."""

    vector: Vector
    copy: Vector | None
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a site found about one group, by its noised copies alone.

    before, after: the group's AUROC under the starting release and the last model, the mean over the findings that it
    was asked about; None where none was, and then the group had no part in the vote. error: the noise's standard
    deviation in after - before. failed: by fall or floor, beyond what noise explains.
    """

    group: str
    before: float | None
    after: float | None
    error: float
    failed: bool

    def words(self) -> str:
        """As the site's people read it."""
        if self.before is None or self.after is None:
            return "not asked: too few patients to be told from the noise"
        held = "failed" if self.failed else "passed"
        return f"{held}: AUROC {self.before:.2f} before, {self.after:.2f} after, noise {self.error:.2f}"


def evaluated(plan: Plan, histograms: Vector, round: int, before: Vector | None, source: Randomness) -> Evaluated:
    """The vector for the model after `round`: noised histograms, and after the last round the vote.

    histograms: the site's own, of the groups of `evaluation.counted`. before: the copy kept from the
    starting release, None where there is none. The caller has charged the ledger for `events.evaluation_events`.
    """
    own = evaluation.cells(plan)
    noised = evaluation.hidden(plan, histograms[:own], source)
    if not evaluation.judged(plan, round):
        return Evaluated(evaluation.with_votes(plan, noised, None), None, ())
    copy = noised
    if evaluation.copies(plan, round):
        if plan.privacy.mode == "distributed":
            copy = evaluation.noised_copy(plan, histograms, source)
        else:
            copy = np.concatenate([noised, evaluation.noised_copy(plan, histograms[own:], source)])
    found = verdicts(plan, before, copy) if round > 0 and before is not None else ()
    return Evaluated(evaluation.with_votes(plan, noised, vote(found)), copy, found)


def vote(found: Sequence[Verdict]) -> bool | None:
    """A site's one vote: False, against, when any group failed; None, no vote, when none could be judged."""
    asked = [one for one in found if one.after is not None]
    return not any(one.failed for one in asked) if asked else None


def verdicts(plan: Plan, before: Vector, after: Vector) -> tuple[Verdict, ...]:
    """What noised copies, in units, of the starting release's and the last model's histograms say of each group.

    A group fails when its mean AUROC fell by more than its gate allows, or lies below its floor, and noise alone hardly
    explains it: by a one-sided test at 0.05 over the number of tests made (Bonferroni), so that more gates raise no
    more false alarms. The held-out patients are the same in both, and the gates are about them and nobody else, so that
    only the noise is uncertain. A subgroup is asked about a finding when the patients in it, counted as the mean of
    both copies, reach the plan's minimum; nobody is asked where the noise leaves no AUROC. Only noised copies are
    looked at: whatever follows is post-processing of what was charged.
    """
    gate = evaluation.terms_of(plan).gate
    if gate is None:
        return ()
    asked = gate.subgroups
    limits = [(EVERYBODY.name, gate.max_fall, 0.0, 0)]
    if asked is not None:
        limits += [(one.name, asked.max_fall, asked.floor, asked.minimum_patients) for one in asked.groups]
    findings, copies = len(plan.task.findings), np.stack([before, after]) / evaluation.UNIT
    bins = [bins for _, bins in evaluation.counted(plan, plan.rounds)]
    ends = np.cumsum([2 * findings * one for one in bins])
    means = [
        _means(part.reshape(2, findings, 2, one), deviation, minimum)
        for part, one, deviation, (_, _, _, minimum) in zip(
            np.split(copies, ends[:-1], axis=1), bins, evaluation.judged_deviations(plan), limits, strict=True
        )
    ]
    tests = sum((fall < 1.0) + (floor > 0.0) for (_, fall, floor, _), mean in zip(limits, means, strict=True) if mean)
    sure = NormalDist().inv_cdf(1.0 - _FALSE_ALARM / max(1, tests))
    found: list[Verdict] = []
    for (name, max_fall, floor, _), mean in zip(limits, means, strict=True):
        if mean is None:
            found.append(Verdict(name, None, None, 0.0, False))
            continue
        first, last = mean
        error = float(np.hypot(first[1], last[1]))
        fell = max_fall < 1.0 and first[0] - last[0] - max_fall > sure * error
        low = floor > 0.0 and floor - last[0] > sure * last[1]
        found.append(Verdict(name, first[0], last[0], error, bool(fell or low)))
    return tuple(found)


def _means(
    copies: NDArray[np.float64], deviation: float, minimum: int
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Of a group's two noised copies (2, F, 2, bins), in patients, the mean AUROC over the findings that it is asked
    about with the noise's deviation in it, before and after; None where it is asked about none."""
    told: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for first, last in zip(*copies, strict=True):
        if minimum and float(first.sum() + last.sum()) / 2.0 < minimum:
            continue
        was = noised_auroc(first[0], first[1], deviation)
        now = noised_auroc(last[0], last[1], deviation)
        if was is not None and now is not None:
            told.append((was, now))
    if not told:
        return None
    before, after = (
        (float(np.mean([one[place][0] for one in told])), float(np.linalg.norm([one[place][1] for one in told])))
        for place in (0, 1)
    )
    return (before[0], before[1] / len(told)), (after[0], after[1] / len(told))
