"""Proposals and annotations: appended as events, read back as what is current and as history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, exists, func, select

from ..annotations import Annotation, Box, Proposal, Region
from ..errors import AnnotationError, ConflictError, StoreError
from .coding import microseconds, pack_annotation, pack_proposal, unpack_annotation, unpack_proposal
from .events import NewEvent, append, opened
from .instances import CHUNK
from .rows import Figures
from .schema import events, instances, patients, quarantine
from .vault import Vault


@dataclass(frozen=True, slots=True)
class _Grid:
    """An instance's owner and the pixel grid that regions must lie on."""

    patient: str
    rows: int
    columns: int
    frames: int


def _grids(vault: Vault, connection: Connection, wanted: Iterable[str]) -> dict[str, _Grid]:
    identifiers = list(dict.fromkeys(wanted))
    found: dict[str, _Grid] = {}
    columns = (instances.c.id, instances.c.patient, instances.c.rows, instances.c.columns, instances.c.frames)
    for start in range(0, len(identifiers), CHUNK):
        chosen = select(*columns).where(instances.c.id.in_(identifiers[start : start + CHUNK]))
        for identifier, *grid in connection.execute(chosen):
            found[identifier] = _Grid(*grid)
    for identifier in identifiers:
        if identifier not in found:
            raise StoreError(
                f"no instance {identifier!r} is stored", where=vault.where, fix="list them with Store.instances()"
            )
    return found


def _require_fit(what: Proposal | Annotation, grid: _Grid) -> None:
    """AnnotationError unless the frame exists and every region lies on the image's own pixel grid."""
    if what.frame >= grid.frames:
        raise AnnotationError(
            f"frame {what.frame} of an image of {grid.frames}", where=what.instance, fix="count frames from 0"
        )
    for region in what.regions:
        _require_on_grid(region, what.instance, grid.rows, grid.columns)


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
    grids = _grids(vault, connection, (one.instance for one in proposals))
    made: list[NewEvent] = []
    for one in proposals:
        _require_fit(one, grids[one.instance])
        made.append(
            NewEvent(
                id=one.id,
                kind="proposal",
                patient=grids[one.instance].patient,
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
    grids = _grids(vault, connection, (one.instance for one in annotations))
    standing = _standing(connection, [one.supersedes for one in annotations if one.supersedes is not None])
    made: list[NewEvent] = []
    for one in annotations:
        _require_fit(one, grids[one.instance])
        if one.supersedes is not None:
            _supersede(standing, one)
        standing[one.id] = (one.instance, one.frame, None)
        made.append(
            NewEvent(
                id=one.id,
                kind="annotation",
                patient=grids[one.instance].patient,
                level="frame",
                target=one.instance,
                frame=one.frame,
                release=one.release,
                supersedes=one.supersedes,
                at=microseconds(one.at),
                payload=pack_annotation(one),
            )
        )
    append(vault, connection, made)


def _standing(connection: Connection, wanted: Sequence[str]) -> dict[str, tuple[str, int, str | None]]:
    """Of each stored annotation among `wanted`: its instance, its frame, and what superseded it."""
    later = events.alias("later")
    found: dict[str, tuple[str, int, str | None]] = {}
    for start in range(0, len(wanted), CHUNK):
        chosen = (
            select(events.c.id, events.c.target, events.c.frame, later.c.id.label("later"))
            .outerjoin(later, later.c.supersedes == events.c.id)
            .where(events.c.kind == "annotation", events.c.id.in_(wanted[start : start + CHUNK]))
        )
        for row in connection.execute(chosen):
            found[row.id] = (row.target, row.frame, row.later)
    return found


def _supersede(standing: dict[str, tuple[str, int, str | None]], new: Annotation) -> None:
    assert new.supersedes is not None
    instance, frame, later = standing.get(new.supersedes, ("", -1, None))
    if (instance, frame) != (new.instance, new.frame):
        raise StoreError(
            f"annotation {new.supersedes} is not one of this frame", where=new.instance, fix="supersede one that is"
        )
    if later is not None:
        raise ConflictError(
            f"the annotation has been superseded meanwhile, by {later}",
            where=new.instance,
            fix="read the current annotation, then annotate again; nothing was lost",
        )
    standing[new.supersedes] = (instance, frame, new.id)


def selected(kind: str) -> Select[Any]:
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
    rows = connection.execute(selected("proposal").where(events.c.release == release, events.c.frame == frame))
    return {row.target: _proposal(vault, connection, row) for row in rows}


def proposals_of(vault: Vault, connection: Connection, instance: str) -> list[Proposal]:
    """Every proposal of an instance, oldest first."""
    rows = connection.execute(selected("proposal").where(events.c.target == instance))
    return [_proposal(vault, connection, row) for row in rows]


def proposals_since(vault: Vault, connection: Connection, after: int) -> list[Proposal]:
    """Proposals after the event of this number, oldest first."""
    return [_proposal(vault, connection, row) for row in connection.execute(_since("proposal", after))]


def annotations_since(vault: Vault, connection: Connection, after: int) -> list[Annotation]:
    """Annotations after the event of this number, oldest first."""
    return [_annotation(vault, connection, row) for row in connection.execute(_since("annotation", after))]


def _since(kind: str, after: int) -> Select[Any]:
    return selected(kind).where(events.c.seq > after)


def has_proposal(release: str) -> Any:
    """The SQL condition that an instance has a proposal of the release."""
    return exists().where(events.c.kind == "proposal", events.c.release == release, events.c.target == instances.c.id)


def readings(vault: Vault, connection: Connection) -> list[Annotation]:
    """Every annotation that no other supersedes, of however many readers a frame has; in the order they were said."""
    later = events.alias("later")
    rows = connection.execute(selected("annotation").where(~exists().where(later.c.supersedes == events.c.id)))
    return [_annotation(vault, connection, row) for row in rows]


def current(vault: Vault, connection: Connection) -> dict[tuple[str, int], Annotation]:
    """For each annotated frame, the newest annotation that no other supersedes; in the order they were said."""
    later = events.alias("later")
    standing: dict[tuple[str, int], Any] = {}
    for row in connection.execute(selected("annotation").where(~exists().where(later.c.supersedes == events.c.id))):
        standing.pop((row.target, row.frame), None)
        standing[row.target, row.frame] = row
    return {target: _annotation(vault, connection, row) for target, row in standing.items()}


def by_id(vault: Vault, connection: Connection, identifiers: Iterable[str]) -> dict[str, Annotation]:
    """Annotations by their ids, current or superseded; StoreError when one is unknown or erased."""
    wanted = list(dict.fromkeys(identifiers))
    found: dict[str, Annotation] = {}
    for start in range(0, len(wanted), CHUNK):
        chosen = selected("annotation").where(events.c.id.in_(wanted[start : start + CHUNK]))
        for row in connection.execute(chosen):
            found[row.id] = _annotation(vault, connection, row)
    missing = [identifier for identifier in wanted if identifier not in found]
    if missing:
        raise StoreError(f"no annotation {missing[0]!r} is stored, or its patient was erased", where=vault.where)
    return {identifier: found[identifier] for identifier in wanted}


def history(vault: Vault, connection: Connection, instance: str) -> list[Annotation]:
    """Every annotation of an instance, oldest first."""
    rows = connection.execute(selected("annotation").where(events.c.target == instance))
    return [_annotation(vault, connection, row) for row in rows]


def figures(connection: Connection, release: str | None) -> Figures:
    """See Store.figures."""

    def count(query: Select[Any]) -> int:
        return connection.scalar(select(func.count()).select_from(query.subquery())) or 0

    # Events outlive an erased patient; the images they were about do not.
    about = select(events.c.target).join(instances, instances.c.id == events.c.target).distinct()
    return Figures(
        patients=count(select(patients.c.id).where(patients.c.erased_at.is_(None), patients.c.merged_into.is_(None))),
        images=count(select(instances.c.id)),
        proposed=count(about.where(events.c.kind == "proposal", events.c.release == release)),
        reviewed=count(about.where(events.c.kind == "annotation")),
        quarantined=count(select(quarantine.c.id).where(quarantine.c.outcome == "held")),
    )
