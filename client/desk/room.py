"""The reading room: what the pages ask and say, answered from the node's store and releases. No HTTP here."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...errors import RefusedError
from ..annotations import Annotation, Box, Proposal, Region, utc_now
from ..errors import NodeError
from ..intake.quarantined import advice
from ..propose import why_not_applicable
from ..releases import Releases
from ..store import Store
from ..store.desk import DeskRow
from .frames import message, payload, read_frame
from .index import DeskIndex
from .roles import Role
from .saying import Action, Circumstances, annotation_of, require_same
from .shared import Shared
from .timeline import replay
from .worklist import Query, matches, neighbours, selection

if TYPE_CHECKING:
    from ...models.checkpoint import Release

Plain = dict[str, Any]
MOST_QUARANTINED = 500


class UnknownError(NodeError):
    """A study, image or finding that is not there, or is not any more."""


class HiddenError(NodeError, RefusedError):
    """A proposal of a study that is read without it."""


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
        self._index.sync()
        return release

    def about(self) -> Plain:
        """Who reads where, what is asked for, and which release proposes."""
        release = self.sync()
        return {
            "reader": self.reader,
            "role": self.role,
            "site": self._store.setting("site"),
            "release": None if release is None else _described(release),
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
            "selection": selection(query),
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

    def study(self, study: str, query: Query, first: bool) -> Plain:
        """All that the page shows of a study. first: withhold proposals of images that this reader has not read yet."""
        release = self.sync()
        entry = self._index.entry(study)
        if entry is None:
            raise UnknownError("this study is not in the store, or not any more", where=study, fix="open the worklist")
        before, after = neighbours(self._index.entries(query.order), study, query)
        prior = self._log.prior(study)
        return {
            "study": study,
            "patient": entry.patient,
            "name": self._person(entry.images[0]),
            "release": None if release is None else _described(release),
            "images": [self._image(row, release, first) for row in self._log.rows(study)],
            "prior": {"acquired": prior[0].acquired, "images": [_plain_row(row) for row in prior]} if prior else None,
            "before": before,
            "after": after,
        }

    def study_of(self, image: str) -> str:
        """The study that an image lies in. Raises UnknownError."""
        self.sync()
        return self._row(image).study

    def _person(self, image: str) -> str:
        original = self._store.original(image)
        return "" if original is None else original.patient_name

    def _image(self, row: DeskRow, release: Release | None, first: bool) -> Plain:
        image, line = row.image, self._index.line(row.image.id)
        proposal = self._log.proposal(image.id)
        withheld = "held_out" if image.held_out else "first" if first and line.current is None else ""
        return {
            **_plain_row(row),
            "not_asked": "" if release is None else why_not_applicable(release.card.task, image),
            "withheld": withheld,
            "proposal": None if withheld or proposal is None else _plain_proposal(proposal, _name(release)),
            **self._timeline(image.id),
            "others": self._index.others(image.id),
        }

    def _timeline(self, image: str) -> Plain:
        line = self._index.line(image)
        return {
            "said": [_plain_annotation(one) for one in line.said],
            "at": line.at,
            "last": None if line.last is None else line.last.id,
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
                    meanwhile = _plain_annotation(line.last)
                proposals = [] if action.proposal is None else self._store.proposals_of(action.instance)
                findings = () if release is None else release.card.task.keys
                around = Circumstances(self.reader, utc_now(), findings, proposals, row.image.held_out)
                stored = annotation_of(action, line, around)
                self._store.annotate(stored)
            self.sync()
        return {
            "id": action.id,
            "instance": action.instance,
            "at_time": stored.at.isoformat(),
            **self._timeline(action.instance),
            "meanwhile": meanwhile,
            "release": _name(release),
        }

    def frame(self, image: str, frame: int) -> bytes:
        """A frame for the viewer; see frames.payload. Raises UnreadableError when it does not decode."""
        row = self._row(image).image
        if not 0 <= frame < row.frames:
            raise UnknownError(f"there is no frame {frame}", where=image)
        return payload(read_frame(self._store.content(image), row.encoding, frame), row.modality)

    def heatmap(self, image: str, finding: str) -> bytes:
        """A finding's heatmap by the release that proposes now, as a message with one array, `map`."""
        release, row = self.sync(), self._row(image).image
        if row.held_out:
            raise HiddenError("this study is read without the model's proposal", where=image)
        if release is None or finding not in release.card.task.keys:
            raise UnknownError(f"no release looks for {finding!r}", where=image)
        found = self._shared.heatmaps.heatmap(release, row, finding)
        return message({"rows": found.shape[0], "columns": found.shape[1], "release": _name(release)}, {"map": found})

    def _row(self, image: str) -> DeskRow:
        row = self._index.row(image)
        if row is None:
            raise UnknownError("this image is not in the store, or not any more", where=image, fix="open the worklist")
        return row


def _name(release: Release | None) -> str:
    return "" if release is None else release.hash.hex()


def _described(release: Release) -> Plain:
    card = release.card
    findings = [{"key": one.key, "meaning": one.meaning, "code": one.code} for one in card.task.findings]
    return {
        "hash": release.hash.hex(),
        "findings": findings,
        "temperatures": dict(zip(card.task.keys, card.temperatures, strict=True)),
        "plans": [record.plan for record in card.training],
    }


def _plain_row(row: DeskRow) -> Plain:
    image = row.image
    return {
        "id": image.id,
        "frames": image.frames,
        "rows": image.rows,
        "columns": image.columns,
        "modality": image.modality,
        "body_part": image.body_part,
        "view": image.view,
        "laterality": image.laterality,
        "source": image.source,
        "acquired": row.acquired,
    }


def _plain_proposal(proposal: Proposal, current: str) -> Plain:
    return {
        "id": proposal.id,
        "release": proposal.release,
        "earlier": proposal.release != current,
        "at": proposal.at.isoformat(),
        "applicable": proposal.applicable,
        "reason": proposal.reason,
        "probabilities": dict(proposal.probabilities),
        "regions": _plain_regions(proposal.id, proposal.regions),
    }


def _plain_annotation(annotation: Annotation) -> Plain:
    return {
        "id": annotation.id,
        "states": dict[str, str](annotation.states),
        "regions": _plain_regions(annotation.id, annotation.regions),
        "comment": annotation.comment,
        "proposal": annotation.proposal,
        "at_time": annotation.at.isoformat(),
    }


def _plain_regions(owner: str, regions: Sequence[Region]) -> list[Mapping[str, Any]]:
    return [
        {"ref": f"{owner}:{place}", "finding": region.finding, "origin": region.origin, **_shape(region)}
        for place, region in enumerate(regions)
    ]


def _shape(region: Region) -> Plain:
    shape = region.shape
    if isinstance(shape, Box):
        return {"box": [shape.x0, shape.y0, shape.x1, shape.y1]}
    return {"mask": {"rows": shape.rows, "columns": shape.columns, "bits": base64.b64encode(shape.bits).decode()}}
