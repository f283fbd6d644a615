"""From a node's store to what the figures are taken of: readings side by side, and the model's word beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ..annotations import Annotation, Proposal, State
from ..inputs import PREVIEW
from ..pixels.look import MEASURES
from ..pixels.preview import preview_image
from ..store import InstanceRow, Store
from .agreement import MISSING

CODES: dict[State, int] = {"absent": 0, "present": 1, "uncertain": 2, "not_assessed": MISSING}
"""A finding's state as a category; what was not assessed was not rated."""
# Measuring reads each image's preview; so many of the newest say enough of either side.
_LOOKED_AT = 2000


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame that somebody read. held_out: its patient measures the model. readings: by reader, the newest that
    stands and was made without sight of another's. effort: by reader, the actions and seconds of all that they said of
    it, of frames of held-out patients only. proposals: of which `said` is the model's last word before a given moment.
    """

    patient: str
    instance: str
    frame: int
    rows: int
    columns: int
    held_out: bool
    readings: Mapping[str, Annotation]
    effort: Mapping[str, tuple[int, float]]
    proposals: tuple[Proposal, ...]

    def said(self, finding: str, before: datetime) -> float | None:
        """The model's probability of the finding from before that moment: a release that was not yet trained on what
        was said then. None where there was none."""
        earlier = (one for one in reversed(self.proposals) if one.at <= before and one.applicable)
        return next((dict(one.probabilities).get(finding) for one in earlier), None)

    def says(self, release: str) -> dict[str, float]:
        """The probabilities of one release's newest proposal (release "": of any); {} where there is none."""
        known = (one for one in reversed(self.proposals) if release in ("", one.release) and one.applicable)
        return next((dict(one.probabilities) for one in known), {})


def frames(store: Store) -> tuple[Frame, ...]:
    """Every frame with a reading, in order of the first."""
    rows = {row.id: row for row in store.instances()}
    read: dict[tuple[str, int], dict[str, Annotation]] = {}
    for standing in store.labels().readings():
        one = _blind(store, standing) if standing.weighed else standing
        if one is not None:
            read.setdefault((one.instance, one.frame), {})[one.reader] = one
    said = {instance: store.proposals_of(instance) for instance in {instance for instance, _ in read}}
    return tuple(
        Frame(
            rows[instance].patient,
            instance,
            frame,
            rows[instance].rows,
            rows[instance].columns,
            rows[instance].held_out,
            by_reader,
            _effort(store, instance, frame) if rows[instance].held_out else {},
            tuple(one for one in said[instance] if one.frame == frame),
        )
        for (instance, frame), by_reader in read.items()
        if instance in rows
    )


def _blind(store: Store, standing: Annotation) -> Annotation | None:
    """What a lead said of a frame before weighing the readings of others against each other, if anything."""
    known = {one.id: one for one in store.history(standing.instance)}
    found: Annotation | None = standing
    while found is not None and found.weighed:
        found = known.get(found.supersedes or "")
    return found


def _effort(store: Store, instance: str, frame: int) -> dict[str, tuple[int, float]]:
    found: dict[str, tuple[int, float]] = {}
    for one in store.history(instance):
        if one.frame == frame and not one.weighed:
            actions, seconds = found.get(one.reader, (0, 0.0))
            found[one.reader] = actions + one.actions, seconds + one.seconds
    # Labels that came with a table cost nobody a key.
    return {reader: spent for reader, spent in found.items() if spent != (0, 0.0)}


def looks(store: Store) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """The measures of client.pixels.look over images that were read and may be trained on, and over those not yet
    read; of each the newest 2000. Patients held out are in neither."""
    read = {one.instance for one in store.labels().readings() if one.assessed}
    rows = [row for row in store.instances() if not row.held_out]
    known, new = ([row for row in rows if (row.id in read) is side] for side in (True, False))
    return _measured(store, known[-_LOOKED_AT:]), _measured(store, new[-_LOOKED_AT:])


def _measured(store: Store, rows: Iterable[InstanceRow]) -> dict[str, NDArray[np.float64]]:
    images = [preview_image(kept) for row in rows if (kept := store.cache_get(row.id, PREVIEW)) is not None]
    return {name: np.array([measure(image) for image in images]) for name, measure in MEASURES.items()}
