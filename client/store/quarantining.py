"""Files that were not imported: kept, encrypted, with code and reason, until somebody releases or deletes them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select, update

from ..annotations import new_id, utc_now
from ..errors import StoreError
from .assets import NewAsset
from .coding import microseconds, moment, pack, unpack
from .events import NewEvent, append
from .rows import Outcome, QuarantineRow
from .schema import quarantine
from .tracing import note
from .vault import Vault

_VERSION = 1


def put(vault: Vault, source: str, code: str, reason: str, content: bytes | None) -> str:
    """Quarantine a file; see Store.quarantine."""
    now = microseconds(utc_now())
    blind = vault.keys.blind("quarantine", source, code, b"" if content is None else content)
    identifier = new_id()
    seal, wrapped = vault.keys.new_data_key(identifier)
    files = [] if content is None else [NewAsset(identifier, _VERSION, seal, content)]
    try:
        with vault.transaction() as connection:
            known = connection.scalar(
                select(quarantine.c.id).where(quarantine.c.blind == blind, quarantine.c.outcome == "held")
            )
            if known is not None:
                return known
            connection.execute(
                insert(quarantine).values(
                    id=identifier,
                    blind=blind,
                    wrapped_key=wrapped,
                    code=code,
                    sealed=seal.seal(pack({"source": source, "reason": reason}), "quarantine", identifier),
                    size=None if content is None else len(content),
                    at=now,
                    outcome="held",
                )
            )
            payload = pack({"item": identifier, "code": code, "outcome": "held"})
            append(vault, connection, [NewEvent(kind="quarantine", at=now, payload=payload)])
            note(vault, connection, "quarantine", item=identifier, outcome="held", code=code)
            vault.files.stage(files)
    except BaseException:
        vault.files.unstage(files)
        raise
    vault.publish([asset.id for asset in files])
    return identifier


def listed(vault: Vault) -> list[QuarantineRow]:
    """What is in quarantine now, oldest first."""
    with vault.transaction() as connection:
        rows = connection.execute(
            select(quarantine).where(quarantine.c.outcome == "held").order_by(quarantine.c.number)
        ).all()
    return [_row(vault, row) for row in rows]


def _row(vault: Vault, row: Any) -> QuarantineRow:
    seal = vault.keys.data_key(row.id, row.wrapped_key)
    plain = unpack(seal.open(row.sealed, "quarantine", row.id))
    return QuarantineRow(row.id, plain["source"], row.code, plain["reason"], row.size, moment(row.at), row.outcome)


def content(vault: Vault, identifier: str) -> bytes | None:
    """A quarantined file's bytes, or None where none were kept."""
    with vault.transaction() as connection:
        row = connection.execute(
            select(quarantine).where(quarantine.c.id == identifier, quarantine.c.outcome == "held")
        ).one_or_none()
    if row is None:
        raise _unknown(vault, identifier)
    if row.size is None:
        return None
    return vault.files.read(identifier, _VERSION, vault.keys.data_key(identifier, row.wrapped_key))


def end(vault: Vault, identifier: str, outcome: Outcome) -> None:
    """Take an item out of quarantine, destroying its key and file; the log keeps that it was there and what for."""
    now = microseconds(utc_now())
    with vault.transaction() as connection:
        ended = connection.execute(
            update(quarantine)
            .where(quarantine.c.id == identifier, quarantine.c.outcome == "held")
            .values(outcome=outcome, wrapped_key=None)
        )
        if ended.rowcount != 1:
            raise _unknown(vault, identifier)
        payload = pack({"item": identifier, "outcome": outcome})
        append(vault, connection, [NewEvent(kind="quarantine", at=now, payload=payload)])
        note(vault, connection, "quarantine", item=identifier, outcome=outcome)
    vault.files.remove([identifier])
    vault.overwrite_deleted()


def _unknown(vault: Vault, identifier: str) -> StoreError:
    return StoreError(
        f"nothing is quarantined as {identifier!r}", where=vault.where, fix="list them with Store.quarantined()"
    )
