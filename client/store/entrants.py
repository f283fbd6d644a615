"""Whose turn has come to take part in plans, by the site's own rule."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert as upsert

from ..entering import Entering, EntryRule
from . import freezing, tracing
from .freezing import Asked, Rules
from .labels import rule_of
from .rows import Eligibility
from .schema import settings
from .vault import Vault

RULE = "entry_rule"


def rules_of(connection: Connection) -> Rules:
    """Everything that a plan's records are chosen by; everybody's turn has come until another rule was set."""
    kept = _setting(connection, RULE)
    entry = EntryRule() if kept is None else EntryRule.decoded(kept)
    return Rules(cast("Eligibility", _setting(connection, "eligibility")), rule_of(connection), entry)


def _setting(connection: Connection, name: str) -> str | None:
    return connection.scalar(select(settings.c.value).where(settings.c.name == name))


class EntryView:
    """Whose turn has come. Safe to use from several threads."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def rule(self) -> EntryRule:
        """The site's rule."""
        with self._vault.transaction() as connection:
            return rules_of(connection).entry

    def set_rule(self, rule: EntryRule) -> None:
        """Let patients' turns come by this rule from now on; what was frozen for a plan stays as it is."""
        value = rule.encoded()
        with self._vault.transaction() as connection:
            row = upsert(settings).values(name=RULE, value=value)
            connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": value}))
            tracing.note(self._vault, connection, "settings", name=RULE, value=value)

    def coin(self, patient: str) -> float:
        """The number in [0, 1) that a patient's turn is decided by."""
        return self._vault.keys.coin(patient)

    def entering(self, at: datetime, asked: Asked) -> Entering:
        """Whose turn has come at `at` (UTC), and of whom an image that is asked about is unread."""
        with self._vault.transaction() as connection:
            return freezing.entering(self._vault, connection, at, rules_of(connection), asked)
