"""Asking for an image to be read again: who asked, of whom, and whether it has been done. Pure.

A label that a lead doubts is neither dropped nor changed: whoever said it, or anybody, is asked to look again and to
state it anew. Saying the same once more is an answer as good as another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from .annotations import Annotation
from .errors import AnnotationError

Why = Literal["suspect", "disagreement", "other"]
Outcome = Literal["open", "confirmed", "changed", "read"]
WHYS: tuple[Why, ...] = get_args(Why)


@dataclass(frozen=True, slots=True)
class SendBack:
    """One frame sent back to the worklist; an event that is never changed.

    by: the lead who asks. whom: the reader who is to look again; "": anybody. why: kept for leads, and not shown to
    who reads again: it would tell what the model or another reader says. of: the readings that stood at that moment
    (ids of annotations), so that what is said afterwards is known as said afterwards. at: UTC.
    """

    id: str
    instance: str
    frame: int
    by: str
    whom: str
    why: Why
    at: datetime
    of: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.by:
            raise AnnotationError("an image is sent back by nobody", fix="name who asks")
        if self.why not in WHYS:
            raise AnnotationError(f"an image is sent back as {self.why!r}", fix=f"use one of {WHYS}")

    def asks(self, reader: str) -> bool:
        """Whether the reader is among those who are to look again."""
        return self.whom in ("", reader)


def answer(sent: SendBack, standing: Iterable[Annotation]) -> Annotation | None:
    """What was said in answer, of the frame's standing readings; None while nobody has."""
    return next((one for one in standing if one.assessed and sent.asks(one.reader) and one.id not in sent.of), None)


def outcome(sent: SendBack, standing: Iterable[Annotation], known: Mapping[str, Annotation]) -> Outcome:
    """What became of it: "read" is an answer by somebody who had said nothing of the frame before.

    standing: the frame's standing readings. known: annotations by id, with at least those that stood back then.
    """
    said = answer(sent, standing)
    if said is None:
        return "open"
    before = next((known[one] for one in sent.of if one in known and known[one].reader == said.reader), None)
    if before is None or not before.assessed:
        return "read"
    return "confirmed" if _says(before) == _says(said) else "changed"


def _says(annotation: Annotation) -> object:
    return sorted(annotation.states), annotation.regions
