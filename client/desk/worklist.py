"""The worklist: which study a reader sees first. Pure.

Order and filters are the reader's convenience. Who takes part in plans is decided by a coin of each patient's own, and
no plan is joined before all whose turn has come are read (entering, docs/decisions/worklist.md), so that nothing that a
list shows first, and nowhere that a reader stops, lets one patient take another's place.

Studies whose proposal is hidden must not betray it by their place. They borrow the score of another study, drawn by
their id, and pass every filter on scores. Nor must a study betray what another reader said of it to one who has not
read it: its disagreement counts readings only for who has read it too, and a study that waits for a second reader, or
that somebody is asked to look at again, says so and no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..annotations import State

Order = Literal["uncertainty", "disagreement", "urgency", "random", "arrival"]
Status = Literal["unread", "begun", "read", "accepted", "not_asked"]
Filter = Literal["open", "turn", "all", "unread", "begun", "read", "again", "second", "accepted", "not_asked"]
ORDERS: tuple[Order, ...] = get_args(Order)
FILTERS: tuple[Filter, ...] = get_args(Filter)


@dataclass(frozen=True, slots=True)
class Entry:
    """A study in the worklist.

    patient: what the hospital calls them. text: what a search looks through, in lower case. hidden: read without the
    model's proposal. turn: it is due, since its patient's turn to take part in plans has come. uncertainty,
    disagreement, urgency: in [0, 1]; None where nothing is known (or all is hidden). second: exactly one other reader
    has read it, this one has not, and two are to. again: this reader is asked to look at it again. accepted: all that
    is proposed was accepted unseen, and no reader spoke; its status says so to who need not read it for a plan.
    """

    study: str
    patient: str
    images: tuple[str, ...]
    number: int
    acquired: str
    modality: str
    body_part: str
    view: str
    text: str
    hidden: bool
    turn: bool
    status: Status
    uncertainty: float | None = None
    disagreement: float | None = None
    urgency: float | None = None
    second: bool = False
    again: bool = False
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """How the list is to be ordered and which studies it is to show. uncertain_from: only studies at least as uncertain
    (0: all)."""

    order: Order = "uncertainty"
    show: Filter = "open"
    find: str = ""
    uncertain_from: float = 0.0


def uncertainty(probabilities: Iterable[float]) -> float | None:
    """How near the least certain finding is to one half: 1 - |2p - 1|, in [0, 1]. None without probabilities."""
    return max((1.0 - abs(2.0 * p - 1.0) for p in probabilities), default=None)


def disagreement(
    readings: Sequence[Mapping[str, State]], proposed: Mapping[str, float] | None, findings: Sequence[str]
) -> float | None:
    """How far readers are apart, in [0, 1]: the share of findings, of those that are asked of the image and so stand in
    a reading, that two of them call present and absent. With one reading only, the greatest distance between a
    statement and its proposed probability. None when nothing compares."""
    if len(readings) > 1:
        asked = [key for key in findings if any(key in reading for reading in readings)]
        said = [{r[key] for r in readings if r.get(key) in ("present", "absent")} for key in asked]
        return sum(len(one) > 1 for one in said) / max(1, len(said))
    if not readings or not proposed:
        return None
    apart = [
        abs((state == "present") - proposed[key])
        for key, state in readings[0].items()
        if state in ("present", "absent") and key in proposed
    ]
    return max(apart, default=None)


def chance(identifier: str) -> float:
    """A number in [0, 1) drawn by hashing an id: without any relation to the image, and the same every time."""
    return int.from_bytes(hashlib.sha256(b"worklist" + identifier.encode()).digest()[:8]) / 2**64


def ordered(entries: Sequence[Entry], order: Order) -> list[Entry]:
    """The entries in an order, highest score first; entries about which nothing is known come last, as they arrived."""
    if order == "arrival":
        return sorted(entries, key=lambda entry: entry.number)
    if order == "random":
        return sorted(entries, key=lambda entry: chance(entry.study))
    scores = {entry.study: getattr(entry, order) for entry in entries}
    known = sorted(scores[entry.study] for entry in entries if not entry.hidden and scores[entry.study] is not None)
    for entry in entries:
        if entry.hidden:
            scores[entry.study] = known[int(chance(entry.study) * len(known))] if known else None
    return sorted(entries, key=lambda entry: (scores[entry.study] is None, -(scores[entry.study] or 0.0), entry.number))


def matches(entry: Entry, query: Query) -> bool:
    """Whether the query shows the entry."""
    if not _shown(entry, query.show):
        return False
    if query.uncertain_from > 0.0 and not entry.hidden and (entry.uncertainty or 0.0) < query.uncertain_from:
        return False
    return all(word in entry.text for word in query.find.lower().split())


def _shown(entry: Entry, show: Filter) -> bool:
    if show == "open":
        return entry.again or unfinished(entry)
    if show == "turn":
        return entry.turn and (entry.again or unfinished(entry))
    if show == "again":
        return entry.again
    if show == "second":
        return entry.second
    return show == "all" or entry.status == show


def unfinished(entry: Entry) -> bool:
    """Whether the reader is not through with it."""
    return entry.status in ("unread", "begun")


def neighbours(entries: Sequence[Entry], study: str, query: Query) -> tuple[str | None, str | None]:
    """The studies shown before and after one in an ordered list (going round its end), whatever that one is."""
    at = next((place for place, entry in enumerate(entries) if entry.study == study), -1)
    later = [*entries[at + 1 :], *entries[: max(at, 0)]]
    after = next((entry.study for entry in later if matches(entry, query)), None)
    before = next((entry.study for entry in reversed(entries[: max(at, 0)]) if matches(entry, query)), None)
    return before, after
