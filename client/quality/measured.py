"""The figures of a node's labels: agreement for each finding, each reader's work, suspected errors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...models.estimate import Estimate
from ...models.metrics import bootstrap_by_patient, dice
from ..annotations import Annotation, Box
from ..inference import PRESENT_FROM
from .agreement import MISSING, Ratings, cohen_kappa, fleiss_kappa, krippendorff_alpha
from .gathered import CODES, Frame
from .suspects import suspects

_SEED = 20_071


@dataclass(frozen=True, slots=True)
class Pair:
    """Two readers of one finding, or a reader and the model. frames: that both rated; kappa: Cohen's, None where it is
    undefined; dice: the mean overlap where both say present and either marked where (readers only)."""

    one: str
    two: str
    frames: int
    kappa: Estimate | None
    dice: Estimate | None = None


@dataclass(frozen=True, slots=True)
class FindingQuality:
    """One finding. alpha: Krippendorff's, fleiss: Fleiss's, over all readers. blind, shown: readers beside the model,
    on frames that they read with the proposal hidden, and on those where it lay before them, which pulls towards it."""

    finding: str
    frames: int
    twice: int
    alpha: Estimate | None
    fleiss: Estimate | None
    pairs: tuple[Pair, ...]
    blind: tuple[Pair, ...]
    shown: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class ReaderQuality:
    """One reader's standing readings. seconds: the median of a frame; actions: the mean."""

    reader: str
    frames: int
    seconds: float
    actions: float
    hidden: int
    present: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class SuspectLabel:
    """A label that is probably wrong: to be read again, never dropped. probability: of presence, by the model before
    it saw the label. margin: by how much the other answer is likelier, in (-1, 1)."""

    instance: str
    frame: int
    finding: str
    reader: str
    state: str
    probability: float
    margin: float


def finding_quality(frames: Sequence[Frame], finding: str) -> FindingQuality:
    """Agreement on one finding, over the frames; intervals resample patients."""
    readers = sorted({reader for frame in frames for reader in frame.readings})
    ratings = np.array([[_code(frame, reader, finding) for frame in frames] for reader in readers], dtype=np.int64)
    ratings = ratings.reshape(len(readers), len(frames))
    patients = np.array([frame.patient for frame in frames])
    rated = (ratings != MISSING).sum(axis=0)

    def over(statistic: Callable[[Ratings], float]) -> Estimate | None:
        return _estimate(lambda units: statistic(units.T), patients, ratings.T)

    return FindingQuality(
        finding,
        int((rated >= 1).sum()),
        int((rated >= 2).sum()),
        over(krippendorff_alpha),
        over(fleiss_kappa),
        tuple(
            _pair(readers[one], readers[two], ratings[one], ratings[two], patients, frames, finding)
            for one, two in itertools.combinations(range(len(readers)), 2)
        ),
        tuple(_beside_model(reader, frames, finding, patients, hidden=True) for reader in readers),
        tuple(_beside_model(reader, frames, finding, patients, hidden=False) for reader in readers),
    )


def reader_quality(frames: Sequence[Frame]) -> tuple[ReaderQuality, ...]:
    """Each reader's work, by name."""
    mine: dict[str, list[Annotation]] = {}
    for frame in frames:
        for reader, annotation in frame.readings.items():
            mine.setdefault(reader, []).append(annotation)
    return tuple(
        ReaderQuality(
            reader,
            len(done),
            float(np.median([one.seconds for one in done])),
            float(np.mean([one.actions for one in done])),
            sum(one.proposal is None for one in done),
            _present(done),
        )
        for reader, done in sorted(mine.items())
    )


def suspect_labels(frames: Sequence[Frame], finding: str) -> tuple[SuspectLabel, ...]:
    """Suspected labels of one finding, the likeliest error first; each reader's label counts by itself.

    Labels of held-out patients are never among them: had the model a say in which of those are read again, they would
    no longer measure it.
    """
    rows = [
        (frame, reader, probability)
        for frame in frames
        if not frame.held_out
        for reader, annotation in frame.readings.items()
        if _code(frame, reader, finding) in (0, 1) and (probability := frame.said(finding, annotation.at)) is not None
    ]
    labels = np.array([_code(frame, reader, finding) == 1 for frame, reader, _ in rows], dtype=bool)
    chances = np.array([probability for _, _, probability in rows])
    return tuple(
        SuspectLabel(
            rows[one.index][0].instance,
            rows[one.index][0].frame,
            finding,
            rows[one.index][1],
            "present" if labels[one.index] else "absent",
            rows[one.index][2],
            one.margin,
        )
        for one in suspects(labels, chances)
    )


def _code(frame: Frame, reader: str, finding: str) -> int:
    annotation = frame.readings.get(reader)
    return MISSING if annotation is None else CODES[dict(annotation.states).get(finding, "not_assessed")]


def _present(done: Sequence[Annotation]) -> tuple[tuple[str, float], ...]:
    """Of each finding, the share of the reader's definite answers that say present."""
    stated: dict[str, list[bool]] = {}
    for one in done:
        for finding, state in one.states:
            if state in ("present", "absent"):
                stated.setdefault(finding, []).append(state == "present")
    return tuple((finding, float(np.mean(answers))) for finding, answers in sorted(stated.items()))


def _pair(
    one: str,
    two: str,
    first: Ratings,
    second: Ratings,
    patients: NDArray[np.str_],
    frames: Sequence[Frame],
    finding: str,
) -> Pair:
    both = (first != MISSING) & (second != MISSING)
    overlaps = [
        (frame.patient, overlap)
        for frame, either in zip(frames, both, strict=True)
        if either and (overlap := _overlap(frame, one, two, finding)) is not None
    ]
    return Pair(one, two, int(both.sum()), _kappa(first, second, patients), _mean(overlaps))


def _beside_model(
    reader: str, frames: Sequence[Frame], finding: str, patients: NDArray[np.str_], *, hidden: bool
) -> Pair:
    """The reader's categories beside the model's, over frames read so; what is uncertain to the reader counts as
    a category that the model never says."""
    reads = np.full(len(frames), MISSING, dtype=np.int64)
    model = np.full(len(frames), MISSING, dtype=np.int64)
    for at, frame in enumerate(frames):
        annotation = frame.readings.get(reader)
        if annotation is None or (annotation.proposal is None) is not hidden:
            continue
        probability = frame.said(finding, annotation.at)
        if probability is not None:
            reads[at], model[at] = _code(frame, reader, finding), int(probability >= PRESENT_FROM)
    both = (reads != MISSING) & (model != MISSING)
    return Pair(reader, "model", int(both.sum()), _kappa(reads, model, patients))


def _overlap(frame: Frame, one: str, two: str, finding: str) -> float | None:
    masks = [_marked(frame, frame.readings[reader], finding) for reader in (one, two)]
    said = [dict(frame.readings[reader].states).get(finding) for reader in (one, two)]
    if said != ["present", "present"] or not any(bool(mask.any()) for mask in masks):
        return None
    return dice(*masks)


def _marked(frame: Frame, annotation: Annotation, finding: str) -> NDArray[np.bool_]:
    """The pixels (rows, columns) that the reader marked as the finding."""
    marked = np.zeros((frame.rows, frame.columns), dtype=np.bool_)
    for region in annotation.regions:
        if region.finding == finding:
            shape = region.shape
            marked |= shape.mask(frame.rows, frame.columns) if isinstance(shape, Box) else shape.array()
    return marked


def _kappa(first: Ratings, second: Ratings, patients: NDArray[np.str_]) -> Estimate | None:
    return _estimate(lambda units: cohen_kappa(units[:, 0], units[:, 1]), patients, np.stack([first, second], axis=1))


def _mean(values: Sequence[tuple[str, float]]) -> Estimate | None:
    if not values:
        return None
    patients, numbers = np.array([who for who, _ in values]), np.array([value for _, value in values])
    return _estimate(lambda drawn: float(drawn.mean()), patients, numbers)


def _estimate(
    statistic: Callable[[NDArray[np.int64]], float], patients: NDArray[np.str_], units: NDArray[np.generic]
) -> Estimate | None:
    """A statistic of units (n, ...) with its interval over patients; None where it is undefined."""

    def defined(drawn: NDArray[np.int64]) -> float | None:
        value = statistic(drawn)
        return None if math.isnan(value) else value

    if not len(units):
        return None
    found = bootstrap_by_patient(defined, patients, units, seed=_SEED)
    return None if found is None else Estimate(*found)
