"""Which labels count: the site's rule, how each frame stands by it, and what a plan's records rest on."""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert as upsert

from ..annotations import Annotation
from ..settling import LabelRule, Settled, Unsettled, settle
from . import freezing, reviews, tracing
from .rows import Provenance
from .schema import settings
from .vault import Vault

RULE = "label_rule"


def rule_of(connection: Connection) -> LabelRule:
    """The site's rule; any reader's newest label until another was set."""
    kept = connection.scalar(select(settings.c.value).where(settings.c.name == RULE))
    return LabelRule() if kept is None else LabelRule.decoded(kept)


class LabelView:
    """The store's labels. Safe to use from several threads."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def rule(self) -> LabelRule:
        """The site's rule."""
        with self._vault.transaction() as connection:
            return rule_of(connection)

    def set_rule(self, rule: LabelRule) -> None:
        """Let labels count by this rule from now on; what was frozen for a plan stays as it is."""
        with self._vault.transaction() as connection:
            row = upsert(settings).values(name=RULE, value=rule.encoded())
            connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": rule.encoded()}))
            tracing.note(self._vault, connection, "settings", name=RULE)

    def readings(self) -> list[Annotation]:
        """Every annotation that no other supersedes, oldest first: one for each reader of a frame."""
        with self._vault.transaction() as connection:
            return reviews.readings(self._vault, connection)

    def standings(self) -> dict[tuple[str, int], Settled | Unsettled]:
        """How each (instance, frame) with a reading stands by the site's rule, in order of the first reading."""
        with self._vault.transaction() as connection:
            rule = rule_of(connection)
            read = freezing.readings_by_frame(self._vault, connection)
            return {frame: settle(readings, rule) for frame, readings in read.items()}

    def provenance(self, plan_hash: bytes) -> tuple[Provenance, ...]:
        """How the label of each record frozen for a plan came to count; StoreError when nothing was frozen for it."""
        with self._vault.transaction() as connection:
            freezing.require_frozen(connection, plan_hash, self._vault.where)
            return freezing.provenance(self._vault, connection, plan_hash)
