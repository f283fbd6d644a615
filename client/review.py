"""From a proposal and a reader's decision to an annotation. Pure: what comes out is stored by `Store.annotate`.

Every annotation says who read, when, with how much effort, and which proposal of which release was on the screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from .annotations import Annotation, Proposal, Region, State, new_id
from .errors import AnnotationError


@dataclass(frozen=True, slots=True)
class Reading:
    """Who read, when (UTC), and what it took: actions (key strokes, clicks, vertices) and seconds."""

    reader: str
    at: datetime
    actions: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Target:
    """The frame that is read (counted from 0), and the findings that the task asks for, in its order."""

    instance: str
    frame: int
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Accept:
    """The proposal is right as it stands: its findings and the regions of those it calls present."""


@dataclass(frozen=True, slots=True)
class Correct:
    """The proposal is right but for these findings; without a shown proposal, these are all that is stated.

    regions: for each finding given here, its regions now, in place of those proposed (none: it has none). Proposed
    regions of findings that end up anything but present fall away.
    """

    states: Mapping[str, State] = field(default_factory=dict[str, State])
    regions: Mapping[str, tuple[Region, ...]] = field(default_factory=dict[str, tuple[Region, ...]])


@dataclass(frozen=True, slots=True)
class Reject:
    """The proposal is of no use and nothing is stated in its place: every finding stays not assessed."""


Decision = Accept | Correct | Reject


def suggested(proposal: Proposal, thresholds: Mapping[str, float]) -> dict[str, State]:
    """What a proposal states: present at or above the finding's threshold (0.5 where none is given), else absent."""
    return {
        finding: "present" if probability >= thresholds.get(finding, 0.5) else "absent"
        for finding, probability in proposal.probabilities
    }


def decide(
    target: Target,
    shown: Proposal | None,
    decision: Decision,
    reading: Reading,
    *,
    thresholds: Mapping[str, float] | None = None,
    supersedes: Annotation | None = None,
) -> Annotation:
    """The annotation that a decision amounts to.

    shown: the proposal on the reader's screen, None when it was hidden or there is none. thresholds: above which a
    probability was shown as present, by finding. supersedes: what this reading replaces. Raises AnnotationError
    when the decision accepts or rejects what was not shown, names a finding outside the task, draws a finding that
    it calls absent, or fits another frame.
    """
    if shown is None and not isinstance(decision, Correct):
        raise AnnotationError(
            "a proposal that was not shown cannot be accepted or rejected",
            where=target.instance,
            fix="state the findings instead",
        )
    if shown is not None and (shown.instance, shown.frame) != (target.instance, target.frame):
        raise AnnotationError("the proposal shown is of another frame", where=target.instance, fix="show its own")
    if shown is not None and not shown.applicable and isinstance(decision, Accept):
        raise AnnotationError(
            f"a proposal that is not applicable ({shown.reason}) states nothing to accept",
            where=target.instance,
            fix="state the findings instead",
        )
    states: dict[str, State] = dict.fromkeys(target.findings, "not_assessed")
    regions: tuple[Region, ...] = ()
    if shown is not None and not isinstance(decision, Reject):
        states.update(_within(target, suggested(shown, thresholds or {})))
        regions = shown.regions
    redrawn: Mapping[str, tuple[Region, ...]] = {}
    if isinstance(decision, Correct):
        states.update(_within(target, decision.states))
        redrawn = decision.regions
    kept = tuple(r for r in regions if r.finding not in redrawn and states.get(r.finding) == "present")
    return Annotation(
        id=new_id(),
        instance=target.instance,
        frame=target.frame,
        reader=reading.reader,
        at=reading.at,
        release=None if shown is None else shown.release,
        proposal=None if shown is None else shown.id,
        states=tuple(states.items()),
        regions=kept + _drawn(target, states, redrawn),
        actions=reading.actions,
        seconds=reading.seconds,
        supersedes=None if supersedes is None else supersedes.id,
    )


def restate(current: Annotation, earlier: Annotation | None, reading: Reading) -> Annotation:
    """A new event that supersedes `current` and says again what `earlier` said; None withdraws every statement.

    This is undo and redo alike: nothing is removed, and what was shown is told as of `earlier`.
    """
    if earlier is not None and (earlier.instance, earlier.frame) != (current.instance, current.frame):
        raise AnnotationError(
            "an annotation of another frame cannot be restated here", where=current.instance, fix="give one of its own"
        )
    return Annotation(
        id=new_id(),
        instance=current.instance,
        frame=current.frame,
        reader=reading.reader,
        at=reading.at,
        release=None if earlier is None else earlier.release,
        proposal=None if earlier is None else earlier.proposal,
        states=tuple((finding, "not_assessed") for finding, _ in current.states) if earlier is None else earlier.states,
        regions=() if earlier is None else earlier.regions,
        actions=reading.actions,
        seconds=reading.seconds,
        supersedes=current.id,
    )


def undo(history: Sequence[Annotation], reading: Reading) -> Annotation:
    """Undo the last of one frame's annotations: restate the one that it superseded, or withdraw it.

    An undo undone restates what it took back. Raises AnnotationError when there is nothing to undo.
    """
    if not history:
        raise AnnotationError("there is nothing to undo", fix="annotate first")
    last = history[-1]
    earlier = {annotation.id: annotation for annotation in history}.get(last.supersedes or "")
    return restate(last, earlier, reading)


def _within(target: Target, states: Mapping[str, State]) -> Mapping[str, State]:
    outside = sorted(states.keys() - set(target.findings))
    if outside:
        raise AnnotationError(
            f"{outside[0]!r} is not a finding of the task",
            where=target.instance,
            fix=f"use {', '.join(target.findings)}",
        )
    return states


def _drawn(
    target: Target, states: Mapping[str, State], regions: Mapping[str, tuple[Region, ...]]
) -> tuple[Region, ...]:
    for finding, shapes in regions.items():
        if any(region.finding != finding for region in shapes):
            raise AnnotationError(
                f"regions given for {finding!r} are of another finding", where=target.instance, fix="give its own"
            )
        if shapes and states.get(finding) not in ("present", "uncertain"):
            raise AnnotationError(
                f"regions are drawn of {finding!r}, which is called {states.get(finding, 'nothing')}",
                where=target.instance,
                fix="call it present or uncertain, or draw none",
            )
    return tuple(region for shapes in regions.values() for region in shapes)
