"""The reading room: what the pages ask and say, answered from the node's store and releases. No HTTP here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..accounts.roles import Role, at_least
from ..annotations import Annotation, utc_now
from ..applicability import why_not_applicable
from ..errors import AnnotationError
from ..intake.quarantined import advice
from ..releases import Releases
from ..store import Store
from ..store.desk import DeskRow
from .faults import HiddenError, UnknownError
from .frames import message, payload
from .hanging import hung, stacks
from .index import DeskIndex
from .lead import LeadDesk
from .plain import Plain, described, hash_of, plain_annotation, plain_line, plain_proposal, plain_row
from .saying import Action, Circumstances, annotation_of, require_same
from .shared import Shared
from .timeline import replay
from .worklist import Query, matches, neighbours, unfinished

if TYPE_CHECKING:
    from ...models.checkpoint import Release

MOST_QUARANTINED = 500
HOW_TO_LEAD = "whoever runs this node makes you a lead: with the role lead, or with medquorum node label-rule --lead"


class ReadingRoom:
    """One reader's desk over an open store. Safe to use from several threads."""

    def __init__(
        self, store: Store, releases: Releases, reader: str, role: Role = "reader", shared: Shared | None = None
    ) -> None:
        self._store = store
        self._shared = shared or Shared(store, releases)
        self.reader = reader
        self.role: Role = role
        self._view, self._log = self._shared.view, self._shared.log
        self._index = DeskIndex(self._log, reader)

    def sync(self) -> Release | None:
        """Take in what happened in the store and to the release, which is returned."""
        release = self._shared.sync()
        self._index.sync(self._store.labels().rule().kind == "two")
        return release

    @property
    def leads(self) -> bool:
        """Whether this reader is a lead: by role, or because the site's label rule names them."""
        return at_least(self.role, "lead") or self.reader in self._store.labels().rule().leads

    def lead(self) -> LeadDesk:
        """What only a lead sees and does. Raises HiddenError for everybody else."""
        if not self.leads:
            raise HiddenError("this is for lead readers", where=self.reader, fix=HOW_TO_LEAD)
        return LeadDesk(self, self._store, self._shared)

    def about(self) -> Plain:
        """Who reads where, what is asked for, and which release proposes."""
        release = self.sync()
        return {
            "reader": self.reader,
            "role": self.role,
            "lead": self.leads,
            "rule": self._store.labels().rule().kind,
            "site": self._store.setting("site"),
            "release": None if release is None else described(release),
        }

    def worklist(self, query: Query, offset: int, limit: int) -> Plain:
        """A stretch of the list: how many studies there are, how many the query shows, and `limit` of these."""
        self.sync()
        everything = self._index.entries(query.order)
        shown = [entry for entry in everything if matches(entry, query)]
        rows: list[Plain] = []
        for entry in shown[offset : offset + limit]:
            plain = asdict(entry)
            del plain["text"]
            if entry.hidden:  # its score would tell what the page withholds
                plain.update(uncertainty=None, disagreement=None, urgency=None)
            rows.append(plain)
        return {
            "all": len(everything),
            "shown": len(shown),
            "offset": offset,
            "selection": "everybody" if self._store.entering().rule().everybody else "coin",
            "waiting": sum(entry.turn and unfinished(entry) for entry in everything),
            "rows": rows,
        }

    def quarantine(self) -> Plain:
        """What was not taken in, the newest first, each with its reason and what helps."""
        held = self._store.quarantined()
        rows = [
            {
                "id": row.id[:12],
                "source": row.source,
                "code": row.code,
                "reason": row.reason,
                "advice": advice(row.code),
            }
            for row in reversed(held[-MOST_QUARANTINED:])
        ]
        return {"all": len(held), "rows": rows}

    def study(self, study: str, query: Query, first: bool, revealed: bool = False) -> Plain:
        """All that the page shows of a study. first: withhold proposals of images that this reader has not read yet.
        revealed: show what is withheld only until the reader asks for it."""
        release = self.sync()
        before, after = neighbours(self._index.entries(query.order), study, query)
        return self.opened(study, release, "first" if first else "", revealed, (before, after))

    def opened(
        self, study: str, release: Release | None, hide: str, revealed: bool, around: tuple[str | None, str | None]
    ) -> Plain:
        """A study with its images and its prior, between two others. hide: for which reason proposals are withheld."""
        entry = self._index.entry(study)
        if entry is None:
            raise UnknownError("this study is not in the store, or not any more", where=study, fix="open the worklist")
        rows, prior = self._log.rows(study), self._log.prior(study)
        return {
            "study": study,
            "patient": entry.patient,
            "name": self._person(entry.images[0]),
            "release": None if release is None else described(release),
            "images": [{**plain, **self._image(plain["id"], release, hide, revealed)} for plain in self._hung(rows)],
            "prior": {"acquired": prior[0].acquired, "images": self._hung(prior)} if prior else None,
            "before": around[0],
            "after": around[1],
        }

    def study_of(self, image: str) -> str:
        """The study that an image lies in. Raises UnknownError."""
        self.sync()
        return self._row(image).study

    def _person(self, image: str) -> str:
        original = self._store.original(image)
        return "" if original is None else original.patient_name

    def _hung(self, rows: Sequence[DeskRow]) -> list[Plain]:
        """Images in the order in which they are hung, each with the number of its stack."""
        in_order = hung(rows, self._view.numbers([row.image.id for row in rows]))
        return [{**plain_row(row), "stack": stack} for row, stack in zip(in_order, stacks(in_order), strict=True)]

    def _image(self, name: str, release: Release | None, hide: str, revealed: bool) -> Plain:
        image, line = self._row(name).image, self._index.line(name)
        proposal, again = self._log.proposal(image.id), self._index.again(name)
        withheld = "" if hide == "first" and line.current is not None else hide
        # Who looks again is not to be told by the proposal why.
        withheld = "held_out" if image.held_out else "" if revealed else withheld or ("again" if again else "")
        return {
            "asked": () if release is None else release.card.task.asked(image.laterality),
            "not_asked": "" if release is None else why_not_applicable(release.card.task, image),
            "withheld": withheld,
            "proposal": None if withheld or proposal is None else plain_proposal(proposal, hash_of(release)),
            "lines": {str(frame): plain_line(line) for frame, line in self._index.frames(image.id).items()},
            "others": self._index.others(image.id),
            "again": again,
        }

    def say(self, action: Action) -> Plain:
        """Store what a reader did, durably, and tell how the image stands now.

        An action that is stored already changes nothing. `meanwhile`: what another window of the same reader said since
        the annotation that the action was based on; both are kept, the later one counts.
        """
        with self._shared.saying:
            release = self.sync()
            row = self._row(action.instance)
            stored = self._view.annotation(action.id)
            meanwhile: Plain | None = None
            if stored is not None:
                require_same(stored, action, self.reader)
            else:
                history = self._store.history(action.instance)
                line = replay(one for one in history if one.reader == self.reader and one.frame == action.frame)
                if line.last is not None and action.base != line.last.id:
                    meanwhile = plain_annotation(line.last)
                proposals = [] if action.proposal is None else self._store.proposals_of(action.instance)
                findings = () if release is None else release.card.task.asked(row.image.laterality)
                weighed = self._weighed(action, history)
                by_role = at_least(self.role, "lead")
                around = Circumstances(
                    self.reader, utc_now(), findings, proposals, row.image.held_out, by_role, weighed
                )
                stored = annotation_of(action, line, around)
                self._store.annotate(stored)
            self.sync()
        return {
            "id": action.id,
            "instance": action.instance,
            "at_time": stored.at.isoformat(),
            "frame": action.frame,
            **plain_line(self._index.line(action.instance, action.frame)),
            "meanwhile": meanwhile,
            "unweighed": bool(stored.weighed) and self._unweighed(stored),
            "release": hash_of(release),
        }

    def _weighed(self, action: Action, history: Sequence[Annotation]) -> tuple[Annotation, ...]:
        """The readings that lay before a lead who settles a disagreement."""
        if not action.weighs:
            return ()
        self.lead()
        known = {one.id: one for one in history if one.frame == action.frame}
        if not known.keys() >= set(action.weighs):
            raise AnnotationError(
                "a reading that was weighed is not one of this image", where=action.instance, fix="load the page again"
            )
        return tuple(known[one] for one in dict.fromkeys(action.weighs))

    def _unweighed(self, settling: Annotation) -> bool:
        """Whether somebody stands by a word that did not lie before the lead who settled."""
        standing = self._log.standing(settling.instance, settling.frame)
        return any(
            one.assessed and one.reader != settling.reader and one.id not in settling.weighed and not one.weighed
            for one in standing
        )

    def frame(self, image: str, frame: int) -> bytes:
        """A frame for the viewer; see frames.payload. Raises UnreadableError when it does not decode."""
        row = self._row(image).image
        if not 0 <= frame < row.frames:
            raise UnknownError(f"there is no frame {frame}", where=image)
        return payload(self._shared.films.frame(row, frame), row.modality)

    def heatmap(self, image: str, finding: str) -> bytes:
        """A finding's heatmap by the release that proposes now, as a message with one array, `map`."""
        release, row = self.sync(), self._row(image).image
        if row.held_out:
            raise HiddenError("this study is read without the model's proposal", where=image)
        if release is None or finding not in release.card.task.asked(row.laterality):
            raise UnknownError(f"no release looks for {finding!r} here", where=image)
        found = self._shared.heatmaps.heatmap(release, row, finding)
        return message({"rows": found.shape[0], "columns": found.shape[1], "release": hash_of(release)}, {"map": found})

    def _row(self, image: str) -> DeskRow:
        row = self._index.row(image)
        if row is None:
            raise UnknownError("this image is not in the store, or not any more", where=image, fix="open the worklist")
        return row
