"""The append-only event log: every import, proposal, annotation, consent, freeze and erasure, chained by hashes.

The chain runs over ciphertext, so that it can still be verified when a patient's key, and with it the meaning of
their events, is gone. It shows changes and gaps to whoever remembers an earlier head; against somebody who holds the
node's key and rewrites everything after a point, only such a remembered head helps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cbor2
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from ..annotations import new_id
from ..errors import ConflictError, TamperError
from .rows import ChainHead
from .schema import events, freezes, frozen_records
from .vault import Vault

_GENESIS = hashlib.sha256(b"medquorum store events").digest()
_CHAINED = tuple(column for column in events.c if column.name != "hash")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to be appended. patient: under whose key `payload` is sealed (None: the node's)."""

    kind: str
    at: int
    payload: bytes = field(repr=False)
    id: str = field(default_factory=new_id)
    patient: str | None = None
    level: str | None = None
    target: str | None = None
    frame: int | None = None
    release: str | None = None
    supersedes: str | None = None


def link(previous: bytes, values: Sequence[Any]) -> bytes:
    """A row's hash: SHA-256 over the previous row's hash and the canonical CBOR of the row's other columns."""
    return hashlib.sha256(previous + cbor2.dumps(list(values), canonical=True)).digest()


def head(connection: Connection) -> ChainHead:
    """The end of the chain as stored (not verified)."""
    last = connection.execute(select(events.c.seq, events.c.hash).order_by(events.c.seq.desc()).limit(1)).one_or_none()
    return ChainHead(0, _GENESIS) if last is None else ChainHead(last.seq, last.hash)


def append(vault: Vault, connection: Connection, new: Sequence[NewEvent]) -> ChainHead:
    """Seal and append events in order; returns the new head."""
    end = head(connection)
    seq, previous = end.events, end.hash
    rows: list[dict[str, Any]] = []
    for one in new:
        seq += 1
        seal = vault.keys.node if one.patient is None else vault.seal_of(connection, one.patient)
        row: dict[str, Any] = {
            "seq": seq,
            "id": one.id,
            "kind": one.kind,
            "patient": one.patient,
            "level": one.level,
            "target": one.target,
            "frame": one.frame,
            "release": one.release,
            "supersedes": one.supersedes,
            "at": one.at,
            "sealed": seal.seal(one.payload, "event", one.kind, one.id),
        }
        row["hash"] = previous = link(previous, list(row.values()))
        rows.append(row)
    if rows:
        try:
            connection.execute(insert(events), rows)
        except IntegrityError as fault:
            raise ConflictError(
                "something with this id is stored already", where=vault.where, fix="give new things new ids"
            ) from fault
    return ChainHead(seq, previous)


def opened(vault: Vault, connection: Connection, row: Any) -> bytes:
    """The payload of an event's row (with its columns id, kind, patient and sealed)."""
    seal = vault.keys.node if row.patient is None else vault.seal_of(connection, row.patient)
    return seal.open(row.sealed, "event", row.kind, row.id)


def frozen_digest(rows: Sequence[Any]) -> bytes:
    """SHA-256 over frozen records (instance, frame, patient, annotation, and True if held out) in their order."""
    items = [[row.instance, row.frame, row.patient, row.annotation, *([True] if row.held_out else [])] for row in rows]
    return hashlib.sha256(cbor2.dumps(items, canonical=True)).digest()


def verify(vault: Vault, connection: Connection, witnessed: ChainHead | None) -> ChainHead:
    """Recompute the whole chain and every frozen set's digest.

    witnessed: a head remembered from earlier, which the chain must pass through. Raises TamperError naming the first
    event that does not fit.
    """
    expected, previous = 0, _GENESIS
    met = witnessed is None or witnessed == ChainHead(0, _GENESIS)
    digests: dict[bytes, bytes] = {}
    for row in connection.execute(select(*_CHAINED, events.c.hash).order_by(events.c.seq)):
        expected += 1
        previous = link(previous, list(row)[:-1])
        if row.seq != expected or row.hash != previous:
            raise _broken(f"the event chain is broken at event {expected}", vault)
        met = met or witnessed == ChainHead(expected, previous)
        if row.kind == "freeze":
            plain = cbor2.loads(opened(vault, connection, row))
            digests[plain["plan"]] = plain["digest"]
    if not met:
        raise _broken("the event chain does not contain the head that was witnessed", vault)
    kept = {row.plan: row.digest for row in connection.execute(select(freezes.c.plan, freezes.c.digest))}
    for plan in kept.keys() | digests.keys():
        records = connection.execute(
            select(frozen_records).where(frozen_records.c.plan == plan).order_by(frozen_records.c.position)
        ).all()
        if kept.get(plan) != digests.get(plan) or frozen_digest(records) != digests.get(plan):
            raise _broken(f"the records frozen for plan {plan.hex()[:16]} were changed", vault)
    return ChainHead(expected, previous)


def _broken(what: str, vault: Vault) -> TamperError:
    return TamperError(what, where=vault.where, fix="restore the store from a backup and keep this one as evidence")
