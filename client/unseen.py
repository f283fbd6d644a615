"""Labels accepted unseen: what the model says, taken where it was shown to be right often enough. Pure.

Of each finding and each side of it (present, absent) a threshold is sought from which proposals are right for at least
the share that the site asks for, with a lower confidence bound, on the patients who were read with the proposal hidden
(models/acceptance). Looking again is paid for: the k-th look at one release has the chance of error
ALPHA / (k (k + 1)), which sums to ALPHA over however many looks, divided evenly over all findings and sides. So
everything that one release's looks ever claim is true together with probability 1 - ALPHA. And nobody chooses when to
look: the next look is due when there are a quarter more hidden patients.

What is accepted is the model's own word. It is never a reader's, never trained on and never measured by.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from ..models.acceptance import Acceptance, accept_unseen, cases_needed
from .annotations import Proposal, State
from .errors import AnnotationError
from .inference import PRESENT_FROM

Side = Literal["present", "absent"]
SIDES: tuple[Side, ...] = get_args(Side)
ALPHA = 0.05
_GROWTH = 1.25


@dataclass(frozen=True, slots=True)
class Line:
    """A finding's side at a look. threshold: the score from which it is accepted, None: it is not. bound: the lower
    bound of precision there; right, of: hidden patients there, and how many were proposed right. patients: hidden ones
    with a proposal of this side; needed: how many there must be at least."""

    finding: str
    side: Side
    threshold: float | None
    bound: float
    right: int
    of: int
    patients: int
    needed: int


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the hidden patients, kept for good. number: of the looks at this release, from 1 on. level: the
    chance of error of all its lines together. patients: hidden ones then. at: UTC."""

    id: str
    release: str
    number: int
    precision: float
    level: float
    patients: int
    lines: tuple[Line, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class Taken:
    """One finding's state as it was accepted: the model's score for it, and the threshold and bound it was held to."""

    finding: str
    state: Side
    score: float
    threshold: float
    bound: float

    def words(self, release: str) -> str:
        """Its provenance."""
        return f"accepted unseen by release {release} at threshold {self.threshold:.4f}, bound {self.bound:.4f}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """What of one frame was accepted unseen, by which look, from which proposal; findings that are not among `states`
    were not. at: UTC."""

    id: str
    instance: str
    frame: int
    release: str
    proposal: str
    look: str
    states: tuple[Taken, ...]
    at: datetime

    def whole(self, findings: Sequence[str]) -> bool:
        """Whether nothing of these findings is left to be read."""
        return {one.finding for one in self.states} >= set(findings)


@dataclass(frozen=True, slots=True)
class Case:
    """One image of a hidden patient: what was proposed, and what its label that counts says."""

    patient: str
    probabilities: Mapping[str, float]
    states: Mapping[str, State]


def side_of(probability: float) -> tuple[Side, float]:
    """What a probability proposes, and its score: how sure the model is of it, from one half to 1."""
    return ("present", probability) if probability >= PRESENT_FROM else ("absent", 1.0 - probability)


def level_of(number: int) -> float:
    """The chance of error of the look of this number."""
    return ALPHA / (number * (number + 1))


def due_at(earlier: Sequence[Look], precision: float) -> int:
    """From how many hidden patients on the next look for a precision is due; earlier: looks at the same release."""
    last = max((one.patients for one in earlier if one.precision == precision), default=0)
    return max(last + 1, math.ceil(last * _GROWTH)) if last else 0


def require_precision(precision: float) -> None:
    """AnnotationError unless it is one that can be asked for."""
    if not 0.5 < precision < 1.0:
        raise AnnotationError(f"a precision of {precision:g}", fix="ask for one above 0.5 and below 1, such as 0.95")


def outlook(cases: Sequence[Case], findings: Sequence[str], precision: float, number: int) -> tuple[Line, ...]:
    """How many hidden patients each line has and needs for the look of this number; what was right is not looked at."""
    needed = cases_needed(precision, _alpha(findings, number))
    return tuple(
        Line(finding, side, None, 0.0, 0, 0, len({case.patient for case, _ in _of(cases, finding, side)}), needed)
        for finding in findings
        for side in SIDES
    )


def lines_of(
    cases: Sequence[Case],
    waiting: Sequence[Mapping[str, float]],
    findings: Sequence[str],
    precision: float,
    number: int,
    release: str,
) -> tuple[Line, ...]:
    """The lines of a look. waiting: the probabilities of images that nobody has read, which alone give candidates."""
    made: list[Line] = []
    for finding in findings:
        proposed = [side_of(one[finding]) for one in waiting if finding in one]
        for side in SIDES:
            known = _of(cases, finding, side)
            found = accept_unseen(
                [score for _, score in known],
                [case.states[finding] == side for case, _ in known],
                [case.patient for case, _ in known],
                [score for other, score in proposed if other == side],
                precision,
                _alpha(findings, number),
                _seed(release, finding, side),
            )
            made.append(_line(finding, side, found))
    return tuple(made)


def taken(proposal: Proposal, lines: Sequence[Line]) -> tuple[Taken, ...]:
    """What of a proposal the lines let be accepted."""
    found: list[Taken] = []
    for finding, probability in proposal.probabilities:
        side, score = side_of(probability)
        found += [
            Taken(finding, side, score, line.threshold, line.bound)
            for line in lines
            if (line.finding, line.side) == (finding, side) and line.threshold is not None and score >= line.threshold
        ]
    return tuple(found)


def _of(cases: Sequence[Case], finding: str, side: Side) -> list[tuple[Case, float]]:
    """Cases of which the side was proposed and the finding assessed, with their scores."""
    return [
        (case, side_of(case.probabilities[finding])[1])
        for case in cases
        if finding in case.probabilities
        and case.states.get(finding, "not_assessed") != "not_assessed"
        and side_of(case.probabilities[finding])[0] == side
    ]


def _alpha(findings: Sequence[str], number: int) -> float:
    return level_of(number) / (len(SIDES) * len(findings))


def _line(finding: str, side: Side, found: Acceptance) -> Line:
    return Line(finding, side, found.threshold, found.bound, found.right, found.of, found.patients, found.needed)


def _seed(release: str, finding: str, side: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{release} {finding} {side}".encode()).digest()[:8], "big")
