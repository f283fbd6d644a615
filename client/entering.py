"""Who takes part in plans: each patient by a coin of their own, whoever else is there and whatever has been read.

A step of training is private for a patient when adding or removing them changes their presence and nobody else's. What
readers happen to have read is no such rule: their hours are places, and one patient takes another's
(docs/decisions/worklist.md). So a patient's turn comes by a coin that only the node can throw (a keyed hash of the
store's name for them), held against a chance that follows from public numbers and the calendar. Everybody whose turn
has come takes part, to be trained on or, if held out, to be measured by; a plan is joined only once all of them have
been read or set aside. Who is read ahead waits for their turn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta

from .annotations import Annotation
from .errors import AnnotationError, NodeError, RefusedError
from .settling import LabelRule, Settled, settle


class UnreadError(NodeError, RefusedError):
    """Patients whose turn has come have not been read. Says how many, so it is for people inside the hospital."""


@dataclass(frozen=True, slots=True)
class EntryRule:
    """When patients' turns come.

    share: of all patients, in (0, 1], who ever take part. a_day, declared: on each day from `since` (ISO 8601) on, so
    many more of a declared number of patients are expected; 0: all of the share at once. wait_days: images of the last
    so many days, today's included, are left out, so that readers have time (0: none are). Raises AnnotationError for a
    rule that makes no sense.
    """

    share: float = 1.0
    a_day: int = 0
    declared: int = 0
    since: str = ""
    wait_days: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise AnnotationError(f"a share of {self.share:g} of the patients", fix="choose it above 0, up to 1")
        if self.a_day < 0 or self.wait_days < 0 or (self.a_day > 0) != (self.declared > 0):
            raise AnnotationError(
                f"{self.a_day} patients a day of {self.declared}", fix="give both numbers, above 0, or neither"
            )
        if self.a_day:
            date.fromisoformat(self.since)

    @property
    def everybody(self) -> bool:
        """Whether every patient's turn has come from the beginning."""
        return self.share == 1.0 and not self.a_day

    def turn(self, on: date) -> Turn:
        """Whose turn has come on a day (UTC)."""
        chance = self.share
        if self.a_day:
            days = max(0, (on - date.fromisoformat(self.since)).days + 1)
            chance = min(chance, self.a_day * days / self.declared)
        if not self.wait_days:
            return Turn(chance, None)
        return Turn(chance, datetime.combine(on - timedelta(days=self.wait_days - 1), time(), UTC))

    def encoded(self) -> str:
        """As a setting of the store."""
        return json.dumps({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def decoded(cls, text: str) -> EntryRule:
        """Read back what `encoded` gave."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn has come on one day. chance: held against each patient's coin; before: images that arrived from this
    moment (UTC) on are left out; None: none are."""

    chance: float
    before: datetime | None

    def has_come(self, coin: float, arrived: datetime) -> bool:
        """For an image of the patient with this coin (in [0, 1)) that arrived then."""
        return coin < self.chance and (self.before is None or arrived < self.before)


@dataclass(frozen=True, slots=True)
class Entering:
    """patients: whose turn has come; unread: those of them of whom an image that is asked about has been neither read,
    by the site's rule for labels, nor set aside. Both held-out patients and others; who opted out is in neither."""

    patients: frozenset[str]
    unread: frozenset[str]


def finished(readings: Sequence[Annotation], rule: LabelRule) -> bool:
    """Whether readers are through with a frame, by its standing readings, oldest first: its label counts, or whoever
    spoke, and somebody did, set it aside. Taking everything back is not setting aside."""
    if isinstance(settle(readings, rule), Settled):
        return True
    spoken = {one.reader: one for one in readings}.values()
    return any(one.restates != "" for one in spoken) and not any(one.assessed for one in spoken)
