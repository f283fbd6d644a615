"""What the hidden share says: how well the release discriminates and is calibrated, and what reading by hand costs.

Only patients who are read with the proposal hidden and never trained on count here, and only labels that count by the
site's rule. Beside the model stands who always gives each finding's commoner answer: where that is right nearly
always, few corrections prove little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.calibration import expected_calibration_error, reliability
from ...models.estimate import Estimate
from ...models.metrics import auroc, bootstrap_by_patient
from ..annotations import Annotation
from ..inference import PRESENT_FROM
from .gathered import Frame

_SEED = 20_072
_BINS = 10
_Z = 1.959963984540054
Settled = Mapping[tuple[str, int], Annotation]


@dataclass(frozen=True, slots=True)
class Bin:
    """Frames whose stated probabilities lie together. stated: their mean; observed: the share with the finding, with
    Wilson's 95 % interval over as many independent cases as there are patients among them."""

    stated: float
    observed: Estimate
    frames: int


@dataclass(frozen=True, slots=True)
class HiddenFinding:
    """One finding. positives: frames with it; error: the expected calibration error."""

    finding: str
    frames: int
    patients: int
    positives: int
    auroc: Estimate | None
    error: Estimate | None
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class HiddenShare:
    """All of it. read: frames with a label that counts, proposed: those of them that the release has spoken of, and to
    which the findings belong. actions (mean), seconds (median): a reading by hand. model, commoner: the share of frames
    of which every definite answer is the release's, or the commoner one of its finding."""

    read: int
    proposed: int
    findings: tuple[HiddenFinding, ...]
    actions: Estimate | None
    seconds: Estimate | None
    model: Estimate | None
    commoner: Estimate | None


def hidden_share(frames: Sequence[Frame], settled: Settled, release: str = "") -> HiddenShare:
    """The figures of a release (its hash; "": of whichever proposed last) on held-out frames.

    settled: the label that counts of each (instance, frame) that has one. Intervals resample patients.
    """
    kept = [frame for frame in frames if frame.held_out and (frame.instance, frame.frame) in settled]
    truths = [_definite(settled[frame.instance, frame.frame]) for frame in kept]
    spoken = [(frame, truth, says) for frame, truth in zip(kept, truths, strict=True) if (says := frame.says(release))]
    keys = list(dict.fromkeys(key for _, truth, _ in spoken for key in truth))
    efforts = [(frame.patient, spent) for frame in frames if frame.held_out for spent in frame.effort.values()]
    owners = [patient for patient, _ in efforts]
    return HiddenShare(
        len(kept),
        len(spoken),
        tuple(_finding(key, spoken) for key in keys),
        _estimate(owners, [float(actions) for _, (actions, _) in efforts], np.mean),
        _estimate(owners, [seconds for _, (_, seconds) in efforts], np.median),
        _model(spoken),
        _commoner(spoken),
    )


_Spoken = Sequence[tuple[Frame, Mapping[str, bool], Mapping[str, float]]]


def _definite(label: Annotation) -> dict[str, bool]:
    return {key: state == "present" for key, state in label.states if state in ("present", "absent")}


def _finding(key: str, spoken: _Spoken) -> HiddenFinding:
    rows = [(frame.patient, says[key], truth[key]) for frame, truth, says in spoken if key in truth and key in says]
    patients = np.array([patient for patient, _, _ in rows])
    scores, labels = np.array([score for _, score, _ in rows]), np.array([float(label) for _, _, label in rows])
    if not rows:
        return HiddenFinding(key, 0, 0, 0, None, None, ())
    found = bootstrap_by_patient(auroc, patients, scores, labels, seed=_SEED)
    error = bootstrap_by_patient(expected_calibration_error, patients, scores, labels, seed=_SEED)
    return HiddenFinding(
        key,
        len(rows),
        len(np.unique(patients)),
        int(labels.sum()),
        None if found is None else Estimate(*found),
        None if error is None else Estimate(*error),
        _bins(patients, scores, labels),
    )


def _bins(patients: NDArray[np.str_], scores: NDArray[np.float64], labels: NDArray[np.float64]) -> tuple[Bin, ...]:
    place = np.minimum((scores * _BINS).astype(np.int64), _BINS - 1)
    present = np.unique(place)
    rows = reliability(scores, labels, _BINS)
    return tuple(
        Bin(stated, _wilson(observed, len(np.unique(patients[place == here]))), count)
        for here, (stated, observed, count) in zip(present, rows, strict=True)
    )


def _wilson(share: float, cases: int) -> Estimate:
    """Wilson 1927: the interval of a proportion of so many independent cases."""
    square = _Z * _Z / cases
    middle = (share + square / 2.0) / (1.0 + square)
    reach = _Z * math.sqrt(share * (1.0 - share) / cases + square / (4.0 * cases)) / (1.0 + square)
    return Estimate(share, max(0.0, middle - reach), min(1.0, middle + reach))


def _model(spoken: _Spoken) -> Estimate | None:
    """How often the proposal is right as a whole, where it has a word on every definite answer."""
    rows = [
        (frame.patient, float(all((says[key] >= PRESENT_FROM) == value for key, value in truth.items())))
        for frame, truth, says in spoken
        if truth and truth.keys() <= says.keys()
    ]
    return _estimate([patient for patient, _ in rows], [value for _, value in rows], np.mean)


def _commoner(spoken: _Spoken) -> Estimate | None:
    rows = [(frame.patient, truth) for frame, truth, says in spoken if truth and truth.keys() <= says.keys()]
    answers: dict[str, list[bool]] = {}
    for _, truth in rows:
        for key, value in truth.items():
            answers.setdefault(key, []).append(value)
    common = {key: 2 * sum(values) >= len(values) for key, values in answers.items()}
    right = [float(all(common[key] == value for key, value in truth.items())) for _, truth in rows]
    return _estimate([patient for patient, _ in rows], right, np.mean)


def _estimate(
    patients: Sequence[str], values: Sequence[float], statistic: Callable[[NDArray[np.float64]], np.floating[Any]]
) -> Estimate | None:
    if not values:
        return None
    found = bootstrap_by_patient(
        lambda drawn: float(statistic(drawn)), np.array(patients), np.array(values), seed=_SEED
    )
    return None if found is None else Estimate(*found)
