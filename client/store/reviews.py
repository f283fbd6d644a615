"""Proposals and annotations: appended as events, read back as what is current and as history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, exists, func, select

from ..annotations import Annotation, Box, Proposal, Region
from ..errors import AnnotationError, ConflictError, StoreError
from .coding import microseconds, pack_annotation, pack_proposal, unpack_annotation, unpack_proposal
from .events import NewEvent, append, opened
from .schema import events, instances, patients
from .vault import Vault

# SQLite allows far more bound values; this keeps each statement small.
_CHUNK = 500


def _require_fit(vault: Vault, connection: Connection, what: Proposal | Annotation) -> None:
    """AnnotationError unless the frame exists and every region lies on the image's own pixel grid."""
    row = connection.execute(
        select(instances.c.rows, instances.c.columns, instances.c.frames).where(instances.c.id == what.instance)
    ).one_or_none()
    if row is None:
        raise StoreError(
            f"no instance {what.instance!r} is stored", where=vault.where, fix="list them with Store.instances()"
        )
    if what.frame >= row.frames:
        raise AnnotationError(
            f"frame {what.frame} of an image of {row.frames}", where=what.instance, fix="count frames from 0"
        )
    for region in what.regions:
        _require_on_grid(region, what.instance, row.rows, row.columns)


def _require_on_grid(region: Region, instance: str, rows: int, columns: int) -> None:
    shape = region.shape
    if isinstance(shape, Box):
        fits, said = shape.x1 <= columns and shape.y1 <= rows, f"box to ({shape.x1:g}, {shape.y1:g})"
    else:
        fits = (shape.rows, shape.columns) == (rows, columns)
        said = f"mask of {shape.rows} x {shape.columns}"
    if not fits:
        raise AnnotationError(
            f"a {said} on an image of {rows} rows and {columns} columns",
            where=instance,
            fix="give regions in stored-pixel coordinates",
        )


def add_proposals(vault: Vault, connection: Connection, proposals: Sequence[Proposal]) -> None:
    """Append proposals in one transaction."""
    made: list[NewEvent] = []
    for one in proposals:
        _require_fit(vault, connection, one)
        made.append(
            NewEvent(
                id=one.id,
                kind="proposal",
                patient=vault.owner(connection, one.instance),
                level="frame",
                target=one.instance,
                frame=one.frame,
                release=one.release,
                at=microseconds(one.at),
                payload=pack_proposal(one),
            )
        )
    append(vault, connection, made)


def add_annotations(vault: Vault, connection: Connection, annotations: Sequence[Annotation]) -> None:
    """Append annotations in one transaction; ConflictError when one supersedes what is not current any more."""
    for one in annotations:
        _require_fit(vault, connection, one)
        if one.supersedes is not None:
            _require_current(vault, connection, one)
        # One at a time, so that an annotation may supersede an earlier one of the same call.
        append(
            vault,
            connection,
            [
                NewEvent(
                    id=one.id,
                    kind="annotation",
                    patient=vault.owner(connection, one.instance),
                    level="frame",
                    target=one.instance,
                    frame=one.frame,
                    release=one.release,
                    supersedes=one.supersedes,
                    at=microseconds(one.at),
                    payload=pack_annotation(one),
                )
            ],
        )


def _require_current(vault: Vault, connection: Connection, new: Annotation) -> None:
    there = connection.execute(
        select(events.c.target, events.c.frame).where(events.c.id == new.supersedes, events.c.kind == "annotation")
    ).one_or_none()
    if there is None or (there.target, there.frame) != (new.instance, new.frame):
        raise StoreError(
            f"annotation {new.supersedes} is not one of this frame", where=new.instance, fix="supersede one that is"
        )
    newer = connection.scalar(select(events.c.id).where(events.c.supersedes == new.supersedes))
    if newer is not None:
        raise ConflictError(
            f"the annotation has been superseded meanwhile, by {newer}",
            where=new.instance,
            fix="read the current annotation, then annotate again; nothing was lost",
        )


def _selected(kind: str) -> Select[Any]:
    """Events of one kind, oldest first, of patients who are not erased."""
    return (
        select(events)
        .join(patients, patients.c.id == events.c.patient)
        .where(events.c.kind == kind, patients.c.erased_at.is_(None))
        .order_by(events.c.seq)
    )


def _proposal(vault: Vault, connection: Connection, row: Any) -> Proposal:
    return unpack_proposal(opened(vault, connection, row), row.id, row.target, row.frame, row.release, row.at)


def _annotation(vault: Vault, connection: Connection, row: Any) -> Annotation:
    data = opened(vault, connection, row)
    return unpack_annotation(data, row.id, row.target, row.frame, row.release, row.supersedes, row.at)


def proposals(vault: Vault, connection: Connection, release: str, frame: int) -> dict[str, Proposal]:
    """A release's newest proposal for one frame of each instance."""
    rows = connection.execute(_selected("proposal").where(events.c.release == release, events.c.frame == frame))
    return {row.target: _proposal(vault, connection, row) for row in rows}


def proposals_of(vault: Vault, connection: Connection, instance: str) -> list[Proposal]:
    """Every proposal of an instance, oldest first."""
    rows = connection.execute(_selected("proposal").where(events.c.target == instance))
    return [_proposal(vault, connection, row) for row in rows]


def has_proposal(release: str) -> Any:
    """The SQL condition that an instance has a proposal of the release."""
    return exists().where(events.c.kind == "proposal", events.c.release == release, events.c.target == instances.c.id)


def current_rows(connection: Connection) -> dict[tuple[str, int], Any]:
    """For each annotated frame, the newest annotation's event that no other supersedes."""
    later = events.alias("later")
    rows = connection.execute(_selected("annotation").where(~exists().where(later.c.supersedes == events.c.id)))
    return {(row.target, row.frame): row for row in rows}


def current(vault: Vault, connection: Connection) -> dict[tuple[str, int], Annotation]:
    """What stands for each annotated frame."""
    return {target: _annotation(vault, connection, row) for target, row in sorted_by_arrival(current_rows(connection))}


def sorted_by_arrival(rows: dict[tuple[str, int], Any]) -> list[tuple[tuple[str, int], Any]]:
    """Current rows in the order in which they were said."""
    return sorted(rows.items(), key=lambda item: item[1].seq)


def by_id(vault: Vault, connection: Connection, identifiers: Iterable[str]) -> dict[str, Annotation]:
    """Annotations by their ids, current or superseded; StoreError when one is unknown or erased."""
    wanted = list(dict.fromkeys(identifiers))
    found: dict[str, Annotation] = {}
    for start in range(0, len(wanted), _CHUNK):
        chosen = _selected("annotation").where(events.c.id.in_(wanted[start : start + _CHUNK]))
        for row in connection.execute(chosen):
            found[row.id] = _annotation(vault, connection, row)
    missing = [identifier for identifier in wanted if identifier not in found]
    if missing:
        raise StoreError(f"no annotation {missing[0]!r} is stored, or its patient was erased", where=vault.where)
    return {identifier: found[identifier] for identifier in wanted}


def history(vault: Vault, connection: Connection, instance: str) -> list[Annotation]:
    """Every annotation of an instance, oldest first."""
    rows = connection.execute(_selected("annotation").where(events.c.target == instance))
    return [_annotation(vault, connection, row) for row in rows]


def counted(connection: Connection, kind: str) -> int:
    """How many events of a kind there are."""
    return connection.scalar(select(func.count()).select_from(events).where(events.c.kind == kind)) or 0
