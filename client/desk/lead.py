"""What a lead reader sees and does: disagreements laid side by side and settled, and images sent back to be read again.

`ReadingRoom.lead` hands this out to leads alone. Who said what is hidden until a lead asks for the names: A and B are
drawn anew for each image, so that a letter does not follow a reader through the list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import Field, model_validator

from ..annotations import Annotation
from ..sendback import SendBack, Why
from ..settling import Settled, settle
from ..store import Store
from .bodies import Said
from .faults import UnknownError
from .plain import Plain, hash_of, plain_annotation
from .shared import Shared
from .timeline import Timeline

if TYPE_CHECKING:
    from .room import ReadingRoom

Dispute = Literal["disputed", "adjudicated"]
DISPUTES: tuple[Dispute, ...] = get_args(Dispute)
_Frames = dict[tuple[str, int], Dispute]
_MOST_LISTED = 500


class Doubt(Said):
    """What is to be read again: an image's frame, or every image of a study; by a reader, or "" for anybody."""

    instance: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    study: Annotated[str, Field(max_length=40)] | None = None
    frame: int = Field(default=0, ge=0, le=1_000_000)
    whom: str = Field(default="", max_length=200)
    why: Why = "other"

    @model_validator(mode="after")
    def _of_one(self) -> Doubt:
        if (self.instance is None) == (self.study is None):
            raise ValueError("name an image or a study")
        return self


class LeadDesk:
    """A lead's desk over the same store as the room that hands it out."""

    def __init__(self, room: ReadingRoom, store: Store, shared: Shared) -> None:
        self._room, self._store, self._log, self._measuring = room, store, shared.log, shared.measuring

    def disputes(self, show: Dispute) -> Plain:
        """The studies with a frame on which readers differ and nobody has settled it, or on which somebody has."""
        self._room.sync()
        frames = self._frames()
        by_study: dict[str, list[tuple[str, int]]] = {study: [] for study in self._studies(frames, show)}
        for frame, how in frames.items():
            if how == show:
                by_study[self._study(frame[0])].append(frame)
        rows: list[Plain] = []
        for study, own in by_study.items():
            entry = self._log.entry(study)
            assert entry is not None  # its frames are in the log
            rows.append(
                {
                    "study": study,
                    "patient": entry.patient,
                    "acquired": entry.acquired,
                    "modality": entry.modality,
                    "body_part": entry.body_part,
                    "view": entry.view,
                    "frames": len(own),
                    "readers": max(len(self._readings(*frame)) for frame in own),
                    "differ": sorted({finding for frame in own for finding in differing(self._readings(*frame))}),
                }
            )
        counts = {kind: sum(one == kind for one in frames.values()) for kind in DISPUTES}
        return {"rule": self._store.labels().rule().kind, "counts": counts, "rows": rows}

    def adjudication(self, study: str, show: Dispute, names: bool, revealed: bool) -> Plain:
        """A study with the readings of those who differ beside each other, by frame. What is proposed stays hidden
        until it is asked for, since it would lean on the scales, and for ever where the study measures the model."""
        release = self._room.sync()
        frames = self._frames()
        listed = self._studies(frames, show)
        found = self._room.opened(study, release, "adjudication", revealed, _around(listed, study))
        for image in found["images"]:
            image["disputes"] = {
                str(frame): {"how": how, **self._side_by_side(name, frame, names)}
                for (name, frame), how in frames.items()
                if name == image["id"]
            }
        return found

    def send_back(self, doubt: Doubt) -> Plain:
        """Ask for images to be looked at again; nothing is dropped or changed by it."""
        release = self._room.sync()
        if doubt.instance is not None:
            frames = [(doubt.instance, doubt.frame)]
        else:
            asked = self._log.asked(doubt.study or "") if release is not None else []
            frames = [(image, frame) for image in asked for frame in (self._log.frames(image) or [0])]
        if not frames or self._log.row(frames[0][0]) is None:
            raise UnknownError("there is nothing in the store that could be read again", fix="load the page again")
        labels = self._store.labels()
        sent = [labels.send_back(*frame, self._room.reader, doubt.whom, doubt.why) for frame in frames]
        self._room.sync()
        return {"sent": [self._plain_sent(one, "open") for one in sent]}

    def sent_back(self) -> Plain:
        """What was sent back, the newest first, and what became of it."""
        self._room.sync()
        found = self._store.labels().sent_back()
        rows = [self._plain_sent(one, how) for one, how in reversed(found)]
        return {"all": len(rows), "open": sum(row["outcome"] == "open" for row in rows), "rows": rows[:_MOST_LISTED]}

    def quality(self, anew: bool = False) -> Plain:
        """The figures of quality as they were computed last, and whether they are being computed. anew: begin to, as
        the first to ask does."""
        release = self._room.sync()
        now = self._measuring.now()
        if anew or (now.report is None and not now.running and not now.fault):
            now = self._measuring.start(hash_of(release))
        plain: Plain = {"running": now.running, "fault": now.fault, "report": None}
        if now.report is not None:
            waiting = {(sent.instance, sent.frame) for sent, how in self._store.labels().sent_back() if how == "open"}
            plain["report"] = {
                **asdict(now.report),
                "at": now.report.at.isoformat(),
                "suspected": len(now.report.suspects),
                "suspects": [
                    {**asdict(one), **self.place(one.instance), "sent": (one.instance, one.frame) in waiting}
                    for one in now.report.suspects[:_MOST_LISTED]
                ],
            }
        return plain

    def place(self, image: str) -> Plain:
        """Which study an image lies in, and how the hospital calls its patient; {} when it is gone."""
        row = self._log.row(image)
        entry = None if row is None else self._log.entry(row.study)
        return {} if entry is None else {"study": entry.study, "patient": entry.patient}

    def _plain_sent(self, sent: SendBack, how: str) -> Plain:
        return {
            "instance": sent.instance,
            "frame": sent.frame,
            "by": sent.by,
            "whom": sent.whom,
            "why": sent.why,
            "at": sent.at.isoformat(),
            "outcome": how,
            **self.place(sent.instance),
        }

    def _frames(self) -> _Frames:
        """How each frame stands of which several readers have spoken and which is, or was, disputed."""
        rule = self._store.labels().rule()
        found: _Frames = {}
        for image, frame in self._log.twice():
            standing = settle(self._log.standing(image, frame), rule)
            if isinstance(standing, Settled):
                if standing.how == "adjudicated":
                    found[image, frame] = "adjudicated"
            elif standing.why == "disputed":
                found[image, frame] = "disputed"
        return found

    def _studies(self, frames: _Frames, show: Dispute) -> list[str]:
        """The studies of the frames that stand so, in order of arrival."""
        numbered = {
            row.study: row.number for (image, _), how in frames.items() if how == show and (row := self._log.row(image))
        }
        return sorted(numbered, key=numbered.__getitem__)

    def _study(self, image: str) -> str:
        row = self._log.row(image)
        return "" if row is None else row.study

    def _readings(self, image: str, frame: int) -> dict[str, Annotation]:
        """What each reader said of a frame without sight of the others, in an order that tells nothing."""
        lines: Mapping[str, Timeline] = self._log.lines(image, frame)
        drawn = sorted(lines, key=lambda reader: hashlib.sha256(f"{image} {frame} {reader}".encode()).digest())
        return {reader: blind for reader in drawn if (blind := lines[reader].blind) is not None}

    def _side_by_side(self, image: str, frame: int, names: bool) -> Plain:
        readings = self._readings(image, frame)
        return {
            "differ": differing(readings),
            "readings": [
                {**plain_annotation(said), "name": reader if names else "", "proposal": None}
                for reader, said in readings.items()
            ],
        }


def differing(readings: Mapping[str, Annotation]) -> list[str]:
    """The findings on which the readers differ; one that a reader says nothing of is not assessed."""
    states = [dict(one.states) for one in readings.values()]
    findings = dict.fromkeys(finding for one in states for finding in one)
    return [finding for finding in findings if len({one.get(finding, "not_assessed") for one in states}) > 1]


def _around(listed: list[str], study: str) -> tuple[str | None, str | None]:
    """The studies before and after one; after the last comes the first, and nothing comes after itself."""
    if study not in listed:
        return None, (listed[0] if listed else None)
    at = listed.index(study)
    later = [*listed[at + 1 :], *listed[:at]]
    return (listed[at - 1] if at else None), (later[0] if later else None)
