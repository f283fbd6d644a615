"""One reader's worklist, kept in memory on top of what all readers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..store.desk import DeskRow
from .log import DeskLog
from .timeline import Timeline
from .worklist import Entry, Order, Status, ordered


class DeskIndex:
    """What one reader sees of a log, as of its last sync. Safe to use from several threads."""

    def __init__(self, log: DeskLog, reader: str) -> None:
        self._log = log
        self._reader = reader
        self._epoch, self._at = -1, 0
        self._sorted: dict[Order, list[Entry]] = {}
        self._entries: dict[str, Entry] = {}

    def sync(self) -> None:
        """Take in what the log has taken in."""
        with self._log.turn:
            log = self._log
            if log.epoch != self._epoch:
                self._epoch, self._at = log.epoch, 0
                self._entries = {study: self._entry(study) for study in log.studies()}
                self._sorted.clear()
            elif self._at < len(log.touched):
                for study in set(log.touched[self._at :]):
                    self._entries[study] = self._entry(study)
                self._sorted.clear()
            self._at = len(log.touched)

    def entries(self, order: Order) -> list[Entry]:
        """Every study, in an order."""
        with self._log.turn:
            if order not in self._sorted:
                self._sorted[order] = ordered(list(self._entries.values()), order)
            return self._sorted[order]

    def entry(self, study: str) -> Entry | None:
        """One study."""
        with self._log.turn:
            return self._entries.get(study)

    def row(self, image: str) -> DeskRow | None:
        """One image."""
        return self._log.row(image)

    def line(self, image: str) -> Timeline:
        """This reader's timeline of an image."""
        return self._log.line(image, self._reader)

    def lines(self, image: str) -> Mapping[str, Timeline]:
        """Every reader's timeline of an image."""
        return self._log.lines(image)

    def others(self, image: str) -> int:
        """How many other readers have said something of an image."""
        return sum(line.at > 0 for reader, line in self._log.lines(image).items() if reader != self._reader)

    def _entry(self, study: str) -> Entry:
        entry = self._log.entry(study)
        assert entry is not None  # the log knows every study that it names
        return replace(entry, status=_status([_read(self.line(image)) for image in self._log.asked(study)]))


def _read(line: Timeline) -> Status:
    """How far a reader is with an image: one of which every finding was left unassessed has been set aside."""
    if line.current is None:
        return "unread"
    states = {state for _, state in line.current.states}
    return "begun" if "not_assessed" in states and len(states) > 1 else "read"


def _status(images: list[Status]) -> Status:
    if not images:
        return "not_asked"
    return images[0] if len(set(images)) == 1 else "begun"
