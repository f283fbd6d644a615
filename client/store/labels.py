"""Which labels count: the site's rule, how each frame stands by it, what is to be read again, and what a plan's records
rest on."""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert as upsert

from ..annotations import Annotation, new_id, utc_now
from ..sendback import Outcome, SendBack, Why
from ..settling import LabelRule, Settled, Unsettled, settle
from . import freezing, reviews, sendbacks, tracing
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

    def send_back(self, instance: str, frame: int, by: str, whom: str, why: Why) -> SendBack:
        """Ask a reader (whom; "": anybody) to look at a frame again and state it anew; see SendBack.

        Nothing is taken away: its label counts as before until somebody states another. Asking again what is still
        open changes nothing. Raises StoreError for an unknown instance, AnnotationError for a reader who has said
        nothing of it.
        """
        asked = SendBack(new_id(), instance, frame, by, whom, why, utc_now(), ())
        with self._vault.transaction() as connection:
            return sendbacks.send_back(self._vault, connection, asked)

    def sent_back(self) -> list[tuple[SendBack, Outcome]]:
        """Every frame that was sent back, oldest first, and what became of it."""
        with self._vault.transaction() as connection:
            return sendbacks.outcomes(self._vault, connection)

    def provenance(self, plan_hash: bytes) -> tuple[Provenance, ...]:
        """How the label of each record frozen for a plan came to count; StoreError when nothing was frozen for it."""
        with self._vault.transaction() as connection:
            freezing.require_frozen(connection, plan_hash, self._vault.where)
            return freezing.provenance(self._vault, connection, plan_hash)
