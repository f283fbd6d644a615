"""What a browser sends when a reader acts, and the annotation that it amounts to. Pure.

An action comes with an id that the browser drew, so that sending it again changes nothing, and with the id of the
annotation that the reader saw, so that a second window's action in between is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..annotations import LONGEST_COMMENT, Annotation, Box, Proposal, Region, State
from ..errors import AnnotationError, ConflictError
from .timeline import Timeline

_ID = r"^[0-9a-f]{32}$"


class Drawn(BaseModel):
    """A region: one that is known (`ref`: whose, and which of its regions), or a box drawn in stored pixels."""

    model_config = ConfigDict(extra="forbid", strict=True)
    finding: str = Field(max_length=40)
    ref: str | None = Field(default=None, max_length=80)
    box: tuple[float, float, float, float] | None = None


class Action(BaseModel):
    """One action of a reader. base: the annotation seen before it. proposal: the one that was shown, if any. weighs: by
    a lead who settles a disagreement, the readings that lay before them."""

    model_config = ConfigDict(extra="forbid", strict=True)
    id: str = Field(pattern=_ID)
    instance: str = Field(pattern=_ID)
    frame: int = Field(ge=0, le=1_000_000)
    base: str | None = Field(default=None, pattern=_ID)
    proposal: str | None = Field(default=None, pattern=_ID)
    states: dict[str, Literal["present", "absent", "uncertain", "not_assessed"]] = Field(max_length=200)
    regions: list[Drawn] = Field(default_factory=list[Drawn], max_length=200)
    comment: str = Field(default="", max_length=LONGEST_COMMENT)
    restates: str | None = Field(default=None, pattern=r"^([0-9a-f]{32})?$")
    weighs: list[Annotated[str, Field(pattern=_ID)]] = Field(default_factory=list[str], max_length=100)
    actions: int = Field(ge=0, le=100_000)
    seconds: float = Field(ge=0.0, le=86_400.0, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What an action is judged by: the reader, the time (UTC), the findings asked for, the image's proposals, and
    whether they are hidden from every reader. as_lead: the reader is a lead by role. weighed: the readings that lay
    before a lead who settles a disagreement."""

    reader: str
    at: datetime
    findings: tuple[str, ...]
    proposals: Sequence[Proposal]
    hidden: bool
    as_lead: bool = False
    weighed: tuple[Annotation, ...] = ()


def parsed(body: bytes) -> Action:
    """The action that JSON spells; AnnotationError names the first thing that is wrong with it."""
    try:
        return Action.model_validate_json(body)
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "action"
        raise AnnotationError(
            f"the page sent something that is no action: {first['msg']}", where=place, fix="load the page again"
        ) from fault


def annotation_of(action: Action, line: Timeline, desk: Circumstances) -> Annotation:
    """The annotation that an action amounts to after a reader's timeline.

    It supersedes the reader's newest, whether or not that is the one the action was based on: the later one counts,
    and the earlier one is an undo away. Raises AnnotationError for a proposal that the reader cannot have seen, a
    finding that nobody asks for, or a region that is not known.
    """
    last = line.last
    base = Annotation(
        id=action.id,
        instance=action.instance,
        frame=action.frame,
        reader=desk.reader,
        at=desk.at,
        release=None,
        proposal=None,
        states=(),
        regions=(),
        actions=action.actions,
        seconds=action.seconds,
        supersedes=None if last is None else last.id,
        as_lead=desk.as_lead,
    )
    if action.restates is not None:
        return _restating(base, action.restates, line)
    shown = _shown(action, desk)
    states: dict[str, State] = {**action.states}
    _require_asked(states, shown, line, desk, action.instance)
    stated: dict[str, State] = {finding: states.pop(finding, "not_assessed") for finding in desk.findings}
    stated.update(states)
    known = {said.id: said.regions for said in (*line.said, *desk.weighed, *(() if shown is None else (shown,)))}
    regions = tuple(_region(one, known, action.instance) for one in action.regions)
    for region in regions:
        if stated.get(region.finding) not in ("present", "uncertain"):
            raise AnnotationError(
                f"a region of {region.finding!r}, which is not called present or uncertain",
                where=action.instance,
                fix="state it, or take the region away",
            )
    return replace(
        base,
        release=None if shown is None else shown.release,
        proposal=None if shown is None else shown.id,
        states=tuple(stated.items()),
        regions=regions,
        comment=action.comment.strip(),
        weighed=tuple(one.id for one in desk.weighed),
    )


def require_same(stored: Annotation, action: Action, reader: str) -> None:
    """ConflictError unless the stored annotation is what this action of this reader was stored as."""
    same = (stored.instance, stored.frame, stored.reader, stored.restates) == (
        action.instance,
        action.frame,
        reader,
        action.restates,
    )
    if same and action.restates is None:
        told = {finding: state for finding, state in stored.states if state != "not_assessed"}
        same = told == {f: s for f, s in action.states.items() if s != "not_assessed"}
        same = same and len(stored.regions) == len(action.regions) and stored.comment == action.comment.strip()
    if not same:
        raise ConflictError(
            "another action is stored under this id already", where=action.instance, fix="load the page again"
        )


def _restating(base: Annotation, restated: str, line: Timeline) -> Annotation:
    place = line.place(restated)
    if place is None:
        raise AnnotationError(
            "what is to be undone or redone is not on this image's timeline any more: another window went another way",
            where=base.instance,
            fix="look at what stands now, and state it again if it is not right",
        )
    if place == 0:
        known = line.last.states if line.last is not None else ()
        withdrawn: tuple[tuple[str, State], ...] = tuple((finding, "not_assessed") for finding, _ in known)
        return replace(base, states=withdrawn, restates=restated)
    again = line.said[place - 1]
    return replace(
        base,
        release=again.release,
        proposal=again.proposal,
        states=again.states,
        regions=again.regions,
        comment=again.comment,
        restates=restated,
        weighed=again.weighed,
    )


def _shown(action: Action, desk: Circumstances) -> Proposal | None:
    if action.proposal is None:
        return None
    found = next((one for one in desk.proposals if one.id == action.proposal and one.frame == action.frame), None)
    if found is None or desk.hidden:
        raise AnnotationError(
            "the action names a proposal that this reader cannot have seen",
            where=action.instance,
            fix="load the page again",
        )
    return found


def _require_asked(
    states: Mapping[str, State], shown: Proposal | None, line: Timeline, desk: Circumstances, where: str
) -> None:
    """AnnotationError unless each finding is asked for: today, by the release shown, or when it was last stated. A
    release that was replaced while the study was open may have asked for others."""
    asked = set(desk.findings)
    if shown is not None:
        asked |= {finding for finding, _ in shown.probabilities}
    if line.last is not None:
        asked |= {finding for finding, _ in line.last.states}
    asked |= {finding for one in desk.weighed for finding, _ in one.states}
    for finding in states:
        if finding not in asked:
            raise AnnotationError(
                f"{finding!r} is not a finding that is asked for", where=where, fix=f"use {', '.join(desk.findings)}"
            )


def _region(one: Drawn, known: Mapping[str, Sequence[Region]], where: str) -> Region:
    if one.ref is None and one.box is not None:
        return Region(one.finding, Box(*one.box), "drawn")
    owner, _, place = (one.ref or "").partition(":")
    regions = known.get(owner, ())
    if not place.isdecimal() or int(place) >= len(regions) or regions[int(place)].finding != one.finding:
        raise AnnotationError("a region that is kept is not known", where=where, fix="draw it again")
    return regions[int(place)]
