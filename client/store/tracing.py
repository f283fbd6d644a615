"""What the store itself notes in the audit log, and the log's head as the encrypted database remembers it.

A note about a change is made inside the change's transaction, before it is committed: what could not be noted is not
done, and at worst the log speaks of something that a power cut undid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert as upsert

from ..annotations import Annotation
from ..audit_log import AuditHead, AuditLog, Kind, Plain, this_user
from ..errors import StoreError
from .rows import Stored
from .schema import settings
from .vault import Vault

REMEMBERED = "audit head"


def note(vault: Vault, connection: Connection, kind: Kind, **what: Plain) -> None:
    """Note what this machine's user does, within the transaction at hand."""
    if vault.audit is not None:
        remember(vault.audit, connection, vault.audit.append(kind, this_user(), **what))


def note_reviews(vault: Vault, connection: Connection, annotations: Sequence[Annotation]) -> None:
    """Note annotations, each by its own reader, within the transaction at hand."""
    if vault.audit is None:
        return
    for reader in dict.fromkeys(one.reader for one in annotations):
        items: Iterable[dict[str, Plain]] = (
            {"annotation": one.id, "instance": one.instance, "frame": one.frame}
            for one in annotations
            if one.reader == reader
        )
        remember(vault.audit, connection, vault.audit.append_many("review", reader, list(items)))


def note_import(vault: Vault, outcomes: list[Stored | StoreError]) -> list[Stored | StoreError]:
    """Note what became of a batch, once it is stored (the same batch again is no fault), and hand it back."""
    stored = [one for one in outcomes if isinstance(one, Stored)]
    fresh, refused = sum(one.new for one in stored), len(outcomes) - len(stored)
    if vault.audit is not None and (fresh or refused):
        vault.audit.append("import", this_user(), new=fresh, refused=refused)
    return outcomes


def remember(audit: AuditLog, connection: Connection, head: AuditHead) -> None:
    """Keep the audit log's head in the database, unless the log no longer passes through the one kept there: that one
    is the evidence, and stays until a person begins a new log."""
    known = remembered(connection)
    if known != head and (known is None or audit.passes(known)):
        remember_anew(connection, head)


def remember_anew(connection: Connection, head: AuditHead) -> None:
    """Keep a head whatever was kept before it."""
    value = f"{head.entries}:{head.hash.hex()}:{head.size}"
    row = upsert(settings).values(name=REMEMBERED, value=value)
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


def remembered(connection: Connection) -> AuditHead | None:
    """The head that the database remembers, if any."""
    value = connection.scalar(select(settings.c.value).where(settings.c.name == REMEMBERED))
    if value is None:
        return None
    entries, digest, size = value.split(":")
    return AuditHead(int(entries), bytes.fromhex(digest), int(size))
