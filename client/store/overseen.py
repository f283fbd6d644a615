"""The side of a store that whoever runs the node looks at: how much there is, what was noted, what was erased."""

from __future__ import annotations

from pathlib import Path

from ..audit_log import AuditHead, AuditLog, Trail, Untraced, this_user
from . import patients, reviews, tracing
from .rows import Erasure, Figures
from .vault import Vault


class Overseen:
    """An open vault, as its overseers see it."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    @property
    def trail(self) -> Trail:
        """Where what is done on this node is noted: its audit log, or nothing in a simulation."""
        return self._vault.audit or Untraced()

    def audit_head(self) -> AuditHead | None:
        """The audit log's head as the database remembers it, for `AuditLog.verify`."""
        with self._vault.transaction() as connection:
            return tracing.remembered(connection)

    def begin_audit_again(self, log: AuditLog) -> Path | None:
        """Put a broken audit log aside as evidence and begin a new one that says so; returns where the old one lies."""
        with self._vault.transaction() as connection:
            aside = log.begin_again(this_user())
            tracing.remember_anew(connection, log.head())
        return aside

    def figures(self, release: str | None) -> Figures:
        """How much is stored, proposed (by `release`), reviewed and held in quarantine."""
        with self._vault.transaction() as connection:
            return reviews.figures(connection, release)

    def erasure(self, patient: str) -> Erasure | None:
        """What the erasure of this patient (by the store's id) destroyed, from the event chain; None before one."""
        with self._vault.transaction() as connection:
            return patients.erasure(self._vault, connection, patient)

    def settle(self) -> None:
        """Bring everything committed into the database's file, so that the files alone are the whole store."""
        self._vault.overwrite_deleted()
