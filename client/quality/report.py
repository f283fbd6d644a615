"""Everything that is known of how good a node's labels are, at one moment: for the terminal and for the page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..annotations import utc_now
from ..settling import Settled
from ..store import Store
from .drift import Drift, drift
from .gathered import Frame, frames, looks
from .hidden import HiddenShare, hidden_share
from .measured import (
    FindingQuality,
    ReaderQuality,
    SuspectLabel,
    finding_quality,
    reader_quality,
    suspect_labels,
)

Lack = Literal["readings", "second_reader", "proposals", "hidden_readings", "hidden_proposals", "images_for_drift"]


@dataclass(frozen=True, slots=True)
class QualityReport:
    """at: UTC. frames: that somebody read. suspects: of all findings, the likeliest error first. lacks: what there is
    too little of for some figure."""

    at: datetime
    frames: int
    findings: tuple[FindingQuality, ...]
    readers: tuple[ReaderQuality, ...]
    suspects: tuple[SuspectLabel, ...]
    drift: tuple[Drift, ...]
    hidden: HiddenShare
    lacks: tuple[Lack, ...]


def quality_report(store: Store, release: str = "") -> QualityReport:
    """Measure a store. release: the hash (hex) of the release whose hidden share is looked at ("": of each frame the
    one that proposed last). Takes seconds for thousands of images; safe beside other work with the store."""
    at = utc_now()
    read = frames(store)
    standings = store.labels().standings()
    settled = {frame: one.annotation for frame, one in standings.items() if isinstance(one, Settled)}
    stated = sorted({finding for frame in read for one in frame.readings.values() for finding, _ in one.states})
    suspected = [one for finding in stated for one in suspect_labels(read, finding)]
    hidden = hidden_share(read, settled, release)
    drifted = drift(*looks(store))
    return QualityReport(
        at,
        len(read),
        tuple(finding_quality(read, finding) for finding in stated),
        reader_quality(read),
        tuple(sorted(suspected, key=lambda one: -one.margin)),
        drifted,
        hidden,
        _lacks(read, hidden, drifted),
    )


def _lacks(read: tuple[Frame, ...], hidden: HiddenShare, drifted: tuple[Drift, ...]) -> tuple[Lack, ...]:
    open_to_all = [frame for frame in read if not frame.held_out]
    before = (
        frame.said(finding, one.at)
        for frame in open_to_all
        for one in frame.readings.values()
        for finding, _ in one.states
    )
    found: list[tuple[Lack, bool]] = [
        ("readings", not read),
        ("second_reader", not any(len(frame.readings) > 1 for frame in read)),
        ("proposals", all(probability is None for probability in before)),
        ("hidden_readings", hidden.read == 0),
        ("hidden_proposals", hidden.read > 0 and hidden.proposed == 0),
        ("images_for_drift", not drifted),
    ]
    return tuple(lack for lack, missing in found if missing)
