"""What a reader's desk needs of the store: every image with its study and patient, and what was said since last time.

The desk keeps a worklist in memory and follows the event log, so that a list of 50,000 studies is read once and not for
every page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from ..annotations import Annotation, Proposal
from ..sendback import SendBack
from ..unseen import Accepted
from . import acceptances, reviews, sendbacks
from .coding import moment, unpack
from .events import head
from .instances import CHUNK, row_of, select_instances
from .rows import InstanceRow
from .schema import events, identifiers, instances, originals, patients, series, studies
from .vault import Vault

# What changes who an image belongs to, or whether it is there at all.
_UNSETTLING = ("held_out", "merge", "erasure")
_BEFORE_ALL = moment(0)


@dataclass(frozen=True, slots=True)
class DeskRow:
    """An image, the study it lies in (the store's id), when it was made (as its file says it, or ""), its place in the
    order of arrival, and its series (the store's id). coin, arrived: what the patient's turn to take part in plans is
    decided by (see entering)."""

    image: InstanceRow
    study: str
    acquired: str
    number: int
    series: str
    coin: float = 0.0
    arrived: datetime = _BEFORE_ALL


@dataclass(frozen=True, slots=True)
class Changes:
    """What the event log says after an event: proposals, annotations, what was sent back and what was accepted unseen,
    oldest first. unsettled: patients were erased, merged or held out, so that what was read before no longer stands.
    withdrawn: everything accepted before was. head: the last event's number."""

    head: int
    unsettled: bool
    proposals: tuple[Proposal, ...]
    annotations: tuple[Annotation, ...]
    sent: tuple[SendBack, ...] = ()
    accepted: tuple[Accepted, ...] = ()
    withdrawn: bool = False


class DeskView:
    """The store as a reader's desk sees it. Safe to use from several threads."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def images(self, after: int = 0) -> list[DeskRow]:
        """Images that arrived after the one of this number, in order of arrival."""
        with self._vault.transaction() as connection:
            query = (
                select_instances()
                .add_columns(studies.c.id.label("study"))
                .join(series, series.c.id == instances.c.series)
                .join(studies, studies.c.id == series.c.study)
                .where(instances.c.number > after)
            )
            found: list[DeskRow] = []
            for row in connection.execute(query):
                seal = self._vault.seal_of(connection, row.patient)
                acquired = unpack(seal.open(row.sealed, "instance", row.id))["acquired"]
                image = row_of(self._vault, connection, row)
                turn = self._vault.keys.coin(row.root), moment(row.created_at)
                found.append(DeskRow(image, row.study, acquired, row.number, row.series, *turn))
            return found

    def numbers(self, wanted: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Series and instance number of these images as their files stated them, 0 for what they did not; images that
        were not de-identified on their way in are left out."""
        query = select(originals.c.instance, originals.c.sealed, instances.c.patient).join(
            instances, instances.c.id == originals.c.instance
        )
        found: dict[str, tuple[int, int]] = {}
        with self._vault.transaction() as connection:
            for start in range(0, len(wanted), CHUNK):
                for row in connection.execute(query.where(instances.c.id.in_(wanted[start : start + CHUNK]))):
                    seal = self._vault.seal_of(connection, row.patient)
                    plain = unpack(seal.open(row.sealed, "original", row.instance))
                    found[row.instance] = _whole(plain["series_number"]), _whole(plain["instance_number"])
        return found

    def identities(self, wanted: Sequence[str]) -> dict[str, str]:
        """What the hospital calls these patients (after merges): their identifiers, joined by commas."""
        root = func.coalesce(patients.c.merged_into, patients.c.id)
        query = select(identifiers.c.sealed, identifiers.c.patient, root.label("root")).join(
            patients, patients.c.id == identifiers.c.patient
        )
        found: dict[str, list[str]] = {}
        with self._vault.transaction() as connection:
            for start in range(0, len(wanted), CHUNK):
                chosen = query.where(patients.c.erased_at.is_(None), root.in_(wanted[start : start + CHUNK]))
                for row in connection.execute(chosen):
                    seal = self._vault.seal_of(connection, row.patient)
                    plain = unpack(seal.open(row.sealed, "identifier", row.patient))
                    found.setdefault(row.root, []).append(plain["id"])
        return {patient: ", ".join(names) for patient, names in found.items()}

    def changes(self, after: int = 0) -> Changes:
        """What was said after the event of this number (0: from the beginning)."""
        with self._vault.transaction() as connection:
            end = head(connection).events
            if end == after:
                return Changes(end, False, (), ())
            kinds = select(events.c.seq).where(events.c.seq > after, events.c.kind.in_(_UNSETTLING)).limit(1)
            return Changes(
                end,
                connection.scalar(kinds) is not None,
                tuple(reviews.proposals_since(self._vault, connection, after)),
                tuple(reviews.annotations_since(self._vault, connection, after)),
                tuple(sendbacks.sent_since(self._vault, connection, after)),
                tuple(acceptances.accepted_since(self._vault, connection, after)),
                acceptances.withdrawn_at(connection) > after,
            )

    def annotation(self, identifier: str) -> Annotation | None:
        """The annotation of this id, current or not; None when there is none."""
        with self._vault.transaction() as connection:
            known = select(events.c.id).where(events.c.id == identifier, events.c.kind == "annotation")
            if connection.scalar(known) is None:
                return None
            return reviews.by_id(self._vault, connection, [identifier])[identifier]


def _whole(text: str) -> int:
    """An integer string of DICOM (at most 12 characters), or 0."""
    return int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,11}\s*", text, re.ASCII) else 0
