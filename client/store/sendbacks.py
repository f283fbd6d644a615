"""Frames sent back to the worklist: appended as events, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from ..annotations import Annotation
from ..errors import AnnotationError
from ..sendback import Outcome, SendBack, answer, outcome
from . import reviews
from .coding import microseconds, moment, pack, unpack
from .events import NewEvent, append, opened
from .schema import events
from .tracing import remember
from .vault import Vault

KIND = "send_back"


def send_back(vault: Vault, connection: Connection, asked: SendBack) -> SendBack:
    """Append one and hand it back as it is stored (`of` filled in), or the same one that is open already.

    Raises StoreError for an unknown instance, AnnotationError when it asks a reader who has said nothing of the frame.
    """
    owner = vault.owner(connection, asked.instance)
    standing = _standing(vault, connection, asked.instance, asked.frame)
    if asked.whom and asked.whom not in {one.reader for one in standing if one.assessed}:
        raise AnnotationError(
            f"{asked.whom} has said nothing of this image", where=asked.instance, fix="send it back to anybody"
        )
    for known in sent(vault, connection, asked.instance):
        if (known.frame, known.whom) == (asked.frame, asked.whom) and answer(known, standing) is None:
            return known
    of = tuple(one.id for one in standing)
    payload = pack({"by": asked.by, "whom": asked.whom, "why": asked.why, "of": of})
    event = NewEvent(
        id=asked.id,
        kind=KIND,
        patient=owner,
        level="frame",
        target=asked.instance,
        frame=asked.frame,
        at=microseconds(asked.at),
        payload=payload,
    )
    append(vault, connection, [event])
    if vault.audit is not None:
        noted = vault.audit.append("review", asked.by, sent_back=asked.id, instance=asked.instance, frame=asked.frame)
        remember(vault.audit, connection, noted)
    return _read(asked.id, asked.instance, asked.frame, event.at, unpack(payload))


def sent(vault: Vault, connection: Connection, instance: str | None = None) -> list[SendBack]:
    """Every frame sent back (of one instance), oldest first."""
    query = reviews.selected(KIND)
    return _all(vault, connection, query if instance is None else query.where(events.c.target == instance))


def sent_since(vault: Vault, connection: Connection, after: int) -> list[SendBack]:
    """What was sent back after the event of this number, oldest first."""
    return _all(vault, connection, reviews.selected(KIND).where(events.c.seq > after))


def outcomes(vault: Vault, connection: Connection) -> list[tuple[SendBack, Outcome]]:
    """Every frame sent back, oldest first, and what became of it."""
    found: list[tuple[SendBack, Outcome]] = []
    for one in sent(vault, connection):
        said = [each for each in reviews.history(vault, connection, one.instance) if each.frame == one.frame]
        found.append((one, outcome(one, _newest(said), {each.id: each for each in said})))
    return found


def _standing(vault: Vault, connection: Connection, instance: str, frame: int) -> list[Annotation]:
    return _newest([one for one in reviews.history(vault, connection, instance) if one.frame == frame])


def _newest(history: Sequence[Annotation]) -> list[Annotation]:
    superseded = {one.supersedes for one in history}
    return [one for one in history if one.id not in superseded]


def _all(vault: Vault, connection: Connection, query: Any) -> list[SendBack]:
    return [
        _read(row.id, row.target, row.frame, row.at, unpack(opened(vault, connection, row)))
        for row in connection.execute(query)
    ]


def _read(identifier: str, instance: str, frame: int, at: int, plain: dict[str, Any]) -> SendBack:
    said = plain["by"], plain["whom"], plain["why"]
    return SendBack(identifier, instance, frame, *said, moment(at), tuple(plain["of"]))
