"""What all readers' worklists rest on, kept in memory once and brought up to date from the store's event log."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from ...task import Task
from ..annotations import Annotation, Proposal
from ..applicability import why_not_applicable
from ..entering import Turn
from ..sendback import SendBack, answer
from ..store.desk import DeskRow, DeskView
from ..unseen import Accepted
from .hanging import hung
from .timeline import Timeline
from .worklist import Entry, uncertainty


class DeskLog:
    """What a store holds for its readers: images by study, proposals by release, every reader's timelines. A
    model proposes on the first frame of an image, readers speak of any. Safe to use from several threads, which may
    hold `turn` meanwhile.

    epoch: changes when every study must be looked at anew. touched: the studies that changed since then, in order.
    """

    def __init__(self, view: DeskView) -> None:
        self._view = view
        self.turn = threading.RLock()
        self.epoch = 0
        self.touched: list[str] = []
        self._task: Task | None = None
        self._release = ""
        self._due = Turn(1.0, None)
        self._clear()

    def _clear(self) -> None:
        self._event, self._number = 0, 0
        self._rows: dict[str, DeskRow] = {}
        self._names: dict[str, str] = {}
        self._studies: dict[str, list[str]] = {}
        self._proposals: dict[str, dict[str, Proposal]] = {}
        self._lines: dict[str, dict[int, dict[str, Timeline]]] = {}  # by image, frame and reader
        self._sent: dict[str, list[SendBack]] = {}
        self._accepted: dict[str, Accepted] = {}
        self._asked: dict[str, list[str]] = {}
        self._entries: dict[str, Entry] = {}

    def sync(self, task: Task | None, release: str, due: Turn) -> None:
        """Take in what happened since last time, for the task and the hash (hex) of the release that proposes now. due:
        whose turn to take part in plans has come today."""
        with self.turn:
            changes = self._view.changes(self._event)
            anew = (task, release, due) != (self._task, self._release, self._due)
            if changes.head == self._event and not anew:
                return
            cleared = changes.unsettled and self._event > 0
            if cleared:
                self._clear()
                changes = self._view.changes(0)
            self._task, self._release, self._due, self._event = task, release, due, changes.head
            rows = self._view.images(self._number)
            touched = {row.study for row in rows}
            self._add(rows)
            for proposal in changes.proposals:
                if proposal.frame == 0 and proposal.instance in self._rows:
                    known = self._proposals.setdefault(proposal.instance, {})
                    known.pop(proposal.release, None)  # the newest comes last
                    known[proposal.release] = proposal
                    touched.add(self._rows[proposal.instance].study)
            for annotation in changes.annotations:
                if annotation.instance in self._rows:
                    self._say(annotation)
                    touched.add(self._rows[annotation.instance].study)
            for sent in changes.sent:
                if sent.instance in self._rows:
                    self._sent.setdefault(sent.instance, []).append(sent)
                    touched.add(self._rows[sent.instance].study)
            if changes.withdrawn:
                touched |= {self._rows[image].study for image in self._accepted}
                self._accepted.clear()
            for accepted in changes.accepted:
                if accepted.instance in self._rows:
                    self._accepted[accepted.instance] = accepted
                    touched.add(self._rows[accepted.instance].study)
            if anew or cleared:
                self.epoch, self.touched = self.epoch + 1, []
            for study in self._studies if anew else touched:
                self._entries[study] = self._entry(study)
                self.touched.append(study)

    def _add(self, rows: Iterable[DeskRow]) -> None:
        fresh: set[str] = set()
        for row in rows:
            self._rows[row.image.id] = row
            self._studies.setdefault(row.study, []).append(row.image.id)
            self._number = max(self._number, row.number)
            fresh.add(row.image.patient)
        self._names.update(self._view.identities(sorted(fresh - self._names.keys())))

    def _say(self, annotation: Annotation) -> None:
        lines = self._lines.setdefault(annotation.instance, {}).setdefault(annotation.frame, {})
        # Whoever spoke last comes last, which is what settling goes by.
        lines[annotation.reader] = lines.pop(annotation.reader, Timeline()).after(annotation)

    def studies(self) -> list[str]:
        """Every study."""
        with self.turn:
            return list(self._studies)

    def entry(self, study: str) -> Entry | None:
        """A study as nobody in particular sees it: without anything that rests on readings."""
        with self.turn:
            return self._entries.get(study)

    def asked(self, study: str) -> list[str]:
        """The images of a study of which the release asks something."""
        with self.turn:
            return self._asked.get(study, [])

    def row(self, image: str) -> DeskRow | None:
        """One image."""
        with self.turn:
            return self._rows.get(image)

    def rows(self, study: str) -> list[DeskRow]:
        """A study's images, as they are hung as far as the numbers in their files do not matter."""
        with self.turn:
            return hung([self._rows[image] for image in self._studies.get(study, ())], {})

    def prior(self, study: str) -> list[DeskRow]:
        """The images of the study that the same patient had last before this one; none when there is no earlier one."""
        with self.turn:
            mine = self.rows(study)
            if not mine:
                return []
            patient, when = mine[0].image.patient, _when(mine)
            earlier = [
                (_when(rows), other)
                for other, images in self._studies.items()
                if other != study and self._rows[images[0]].image.patient == patient
                for rows in [self.rows(other)]
                if _when(rows) < when
            ]
            return self.rows(max(earlier)[1]) if earlier else []

    def proposal(self, image: str) -> Proposal | None:
        """The proposal of the release that proposes now, else the newest by an earlier one."""
        with self.turn:
            known = self._proposals.get(image, {})
            return known.get(self._release) or next(reversed(known.values()), None)

    def lines(self, image: str, frame: int = 0) -> Mapping[str, Timeline]:
        """Every reader's timeline of a frame."""
        with self.turn:
            return dict(self._lines.get(image, {}).get(frame, {}))

    def line(self, image: str, reader: str, frame: int = 0) -> Timeline:
        """A reader's timeline of a frame."""
        with self.turn:
            return self._lines.get(image, {}).get(frame, {}).get(reader, Timeline())

    def frames(self, image: str) -> list[int]:
        """The frames of an image of which some reader has said something, in order."""
        with self.turn:
            return sorted(self._lines.get(image, {}))

    def standing(self, image: str, frame: int) -> list[Annotation]:
        """Every reader's newest word of a frame, the oldest of them first."""
        return [line.last for line in self.lines(image, frame).values() if line.last is not None]

    def twice(self) -> list[tuple[str, int]]:
        """Images and frames of which several readers have spoken, in the order in which the first of them did."""
        with self.turn:
            frames = ((image, frame, lines) for image, own in self._lines.items() for frame, lines in own.items())
            return [(image, frame) for image, frame, lines in frames if len(lines) > 1]

    def quiet(self, study: str) -> bool:
        """Whether nobody has said anything of a study, and nobody sent it back: so stand most of a long list."""
        return not any(image in self._lines or image in self._sent for image in self._studies.get(study, ()))

    def waiting(self, image: str) -> list[SendBack]:
        """What was sent back of an image and nobody who was asked has answered."""
        with self.turn:
            sent = self._sent.get(image, ())
            return [one for one in sent if answer(one, self.standing(image, one.frame)) is None]

    def chances(self, image: str) -> dict[str, float]:
        """The probabilities that are proposed for an image; {} for none."""
        proposal = self.proposal(image)
        return {} if proposal is None else dict(proposal.probabilities)

    def keys(self) -> tuple[str, ...]:
        """The findings that are asked for."""
        return self._task.keys if self._task else ()

    def _is_accepted(self, image: str) -> bool:
        """Whether all of an image is accepted unseen, by the release that proposes now, and no reader spoke of it."""
        known = self._accepted.get(image)
        if known is None or known.release != self._release or image in self._lines:
            return False
        return known.whole(list(self.chances(image))) and not self._rows[image].image.held_out

    def _entry(self, study: str) -> Entry:
        rows = self.rows(study)
        first = rows[0].image
        asked = [row.image.id for row in rows if self._task and not why_not_applicable(self._task, row.image)]
        self._asked[study] = asked
        name = self._names.get(first.patient, "")
        searched = [name, *(text for row in rows for text in _texts(row))]
        chances = [self.chances(image) for image in asked]
        certain = [uncertainty(said.values()) for said in chances]
        return Entry(
            study=study,
            patient=name,
            images=tuple(row.image.id for row in rows),
            number=rows[0].number,
            acquired=rows[0].acquired,
            modality=first.modality,
            body_part=first.body_part,
            view=" ".join(dict.fromkeys(row.image.view for row in rows if row.image.view)),
            text=" ".join(searched).lower(),
            hidden=any(row.image.held_out for row in rows),
            accepted=bool(asked) and all(self._is_accepted(image) for image in asked),
            turn=any(row.image.id in asked and self._due.has_come(row.coin, row.arrived) for row in rows),
            status="unread" if asked else "not_asked",
            uncertainty=max((value for value in certain if value is not None), default=None),
            urgency=max((chance for said in chances for chance in said.values()), default=None),
        )


def _texts(row: DeskRow) -> tuple[str, ...]:
    image = row.image
    return image.source, image.modality, image.body_part, image.view, image.laterality, row.acquired


def _when(rows: list[DeskRow]) -> tuple[str, int]:
    return min(row.acquired for row in rows), min(row.number for row in rows)
