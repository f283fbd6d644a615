"""One reader's worklist, kept in memory on top of what all readers share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..store.desk import DeskRow
from .log import DeskLog
from .timeline import Timeline
from .worklist import Entry, Order, Status, disagreement, ordered


class DeskIndex:
    """What one reader sees of a log, as of its last sync. Safe to use from several threads."""

    def __init__(self, log: DeskLog, reader: str) -> None:
        self._log = log
        self._reader = reader
        self._epoch, self._at = -1, 0
        self._two = False
        self._sorted: dict[Order, list[Entry]] = {}
        self._entries: dict[str, Entry] = {}

    def sync(self, two: bool) -> None:
        """Take in what the log has taken in. two: the site wants two readers for an image."""
        with self._log.turn:
            log = self._log
            if (log.epoch, two) != (self._epoch, self._two):
                self._epoch, self._two, self._at = log.epoch, two, 0
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

    def line(self, image: str, frame: int = 0) -> Timeline:
        """This reader's timeline of a frame."""
        return self._log.line(image, self._reader, frame)

    def frames(self, image: str) -> dict[int, Timeline]:
        """This reader's timelines of the first frame of an image and of all others that they have spoken of."""
        found = {frame: self.line(image, frame) for frame in (0, *self._log.frames(image))}
        return {frame: line for frame, line in found.items() if frame == 0 or line.last is not None}

    def lines(self, image: str, frame: int = 0) -> Mapping[str, Timeline]:
        """Every reader's timeline of a frame."""
        return self._log.lines(image, frame)

    def others(self, image: str) -> int:
        """How many other readers have said something of an image."""
        spoken = (line for frame in self._log.frames(image) for line in self._log.lines(image, frame).items())
        return len({reader for reader, line in spoken if line.at > 0} - {self._reader})

    def _entry(self, study: str) -> Entry:
        entry = self._log.entry(study)
        assert entry is not None  # the log knows every study that it names
        if self._log.quiet(study):
            return replace(entry, status="accepted") if entry.accepted and not entry.turn else entry
        asked = self._log.asked(study)
        apart = [value for image in asked if (value := self._apart(image)) is not None]
        status = _status([_read(self.frames(image).values()) for image in asked])
        return replace(
            entry,
            status="accepted" if status == "unread" and entry.accepted and not entry.turn else status,
            disagreement=max(apart, default=None),
            second=self._two and any(self._waits(image) for image in asked),
            again=any(self.again(image) for image in asked),
        )

    def again(self, image: str) -> list[int]:
        """The frames of an image at which this reader is asked to look again."""
        return sorted({sent.frame for sent in self._log.waiting(image) if sent.asks(self._reader)})

    def _apart(self, image: str) -> float | None:
        """How far an image's readings are apart, or this reader's and the model's: of each frame that this reader has
        read, since before that they are not to know, or guess, what others said."""
        found: list[float | None] = []
        for frame, line in self.frames(image).items():
            if _finished(line):
                said = [dict(one.current.states) for one in self.lines(image, frame).values() if one.current]
                proposed = self._log.chances(image) if frame == 0 else None
                found.append(disagreement(said, proposed, self._log.keys()))
        return max((value for value in found if value is not None), default=None)

    def _waits(self, image: str) -> bool:
        """Whether an image has been read by one other reader and not by this one."""
        if any(line.current is not None for line in self.frames(image).values()):
            return False
        spoken = (self._log.lines(image, frame).items() for frame in self._log.frames(image))
        return len({reader for lines in spoken for reader, line in lines if _finished(line)}) == 1


def _finished(line: Timeline) -> bool:
    return line.current is not None and all(state != "not_assessed" for _, state in line.current.states)


def _read(lines: Iterable[Timeline]) -> Status:
    """How far a reader is with an image, from their timelines of its frames. Nobody states every frame of a film: it is
    read once a frame is, and none is begun. A frame of which every finding was left unassessed has been set aside."""
    said = [{state for _, state in line.current.states} for line in lines if line.current is not None]
    if not said:
        return "unread"
    return "begun" if any("not_assessed" in states and len(states) > 1 for states in said) else "read"


def _status(images: list[Status]) -> Status:
    if not images:
        return "not_asked"
    return images[0] if len(set(images)) == 1 else "begun"
