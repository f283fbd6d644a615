"""Which labels count: from the readings of a frame to the one that enters training, by the site's own rule.

"any": the newest reading that states something. "two": what two or more readers' newest readings state alike of every
finding, and more readers than state anything else; where readers disagreed, the word of a lead who read after them.
"lead": the newest reading by a lead. A lead is who the rule names, and who read as one by role. A lead who was among
those that disagreed settles it by weighing the readings against each other, their own earlier one with them.
Regions need not be equal; how far they overlap is a figure of quality. A frame of which the rule says nothing yet is
not trained on and not measured by. Rules look at readings and at nothing that a model says, so that whose labels count
does not depend on other patients.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from .annotations import Annotation
from .errors import AnnotationError

Kind = Literal["any", "two", "lead"]
How = Literal["newest", "agreed", "adjudicated", "lead"]
Why = Literal["unread", "waiting", "disputed"]


@dataclass(frozen=True, slots=True)
class LabelRule:
    """A site's rule. leads: readers whose word settles. Raises AnnotationError for a rule that could settle nothing."""

    kind: Kind = "any"
    leads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise AnnotationError(f"a label rule {self.kind!r}", fix=f"choose one of {get_args(Kind)}")
        if self.kind == "lead" and not self.leads:
            raise AnnotationError('the label rule "lead" without a lead reader', fix="name one or more")

    def encoded(self) -> str:
        """As a setting of the store."""
        return json.dumps({"kind": self.kind, "leads": list(self.leads)})

    @classmethod
    def decoded(cls, text: str) -> LabelRule:
        """Read back what `encoded` gave."""
        plain = json.loads(text)
        return cls(plain["kind"], tuple(plain["leads"]))


@dataclass(frozen=True, slots=True)
class Settled:
    """The reading that counts, how it came to count, and the readings that this rests on (it among them)."""

    annotation: Annotation
    how: How
    basis: tuple[Annotation, ...]

    @property
    def rests_on(self) -> tuple[str, ...]:
        """The ids of all of them, with those that a lead weighed and that stand no more."""
        return tuple(dict.fromkeys([*self.annotation.weighed, *(one.id for one in self.basis)]))


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Nothing counts yet: nobody has read, too few have, or those who have disagree."""

    why: Why


def settle(readings: Sequence[Annotation], rule: LabelRule) -> Settled | Unsettled:
    """By the rule, of one frame's standing readings, oldest first, any number of each reader (the newest counts)."""
    newest: dict[str, Annotation] = {}
    for one in readings:
        newest.pop(one.reader, None)
        newest[one.reader] = one
    stated = [one for one in newest.values() if one.assessed]
    if not stated:
        return Unsettled("unread")
    if rule.kind == "any":
        return Settled(stated[-1], "newest", (stated[-1],))
    by_lead = [one for one in stated if one.as_lead or one.reader in rule.leads]
    if rule.kind == "lead":
        return Settled(by_lead[-1], "lead", (by_lead[-1],)) if by_lead else Unsettled("waiting")
    return _of_two(stated, by_lead)


def _of_two(stated: Sequence[Annotation], by_lead: Sequence[Annotation]) -> Settled | Unsettled:
    """stated: each reader's newest, oldest first."""
    if len(stated) < 2:
        return Unsettled("waiting")
    before = stated[:-1]
    if by_lead and stated[-1] is by_lead[-1]:
        # A lead's own earlier reading stands no more; the others that are left may be of one mind.
        weighed_own = set(stated[-1].weighed) > {one.id for one in before}
        if weighed_own or len({_says(one) for one in before}) > 1:
            return Settled(stated[-1], "adjudicated", tuple(stated))
    groups: dict[tuple[tuple[str, str], ...], list[Annotation]] = {}
    for one in stated:
        groups.setdefault(_says(one), []).append(one)
    *others, largest = sorted(groups.values(), key=len)
    if len(largest) < 2 or any(len(group) == len(largest) for group in others):
        return Unsettled("disputed")
    return Settled(largest[-1], "agreed", tuple(largest))


def _says(annotation: Annotation) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(annotation.states))
