"""What there is to export: for each frame, the reader's word, or the model's where no reader has spoken.

Pure data and the one function that reads it out of the store. A result names findings by their coded entries, so that
nothing after this needs to know a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ...models.card import ModelCard
from ...task import Finding
from ..annotations import Annotation, Proposal, Region, State
from ..releases import ReleaseError, Releases
from ..review import suggested
from ..store import InstanceRow, Store
from ..unseen import Accepted

# Of findings whose task is not known here any more: PS3.16 section 8.2 reserves names beginning with 99 for private
# use.
PRIVATE_SCHEME = "99MEDQUORUM"
_UNTRAINED = "untrained"


@dataclass(frozen=True, slots=True)
class Device:
    """A released model as an observer. release: its SHA-256 in hexadecimal; name: of the plan that trained it last."""

    release: str
    name: str


@dataclass(frozen=True, slots=True)
class Person:
    """A reader as an observer."""

    name: str


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of one finding; probability: the model's own, None where a person speaks. accepted: by what the
    model's word was accepted unseen, "" where it was not."""

    finding: Finding
    state: State
    probability: float | None = None
    accepted: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A region and the finding that it shows."""

    finding: Finding
    region: Region


@dataclass(frozen=True, slots=True)
class Result:
    """All that is said of one frame (counted from 0) by one observer at one time (UTC).

    id: of the annotation or proposal. shown: the model whose proposal a reader had before them. earlier: annotations
    and proposals that this one takes the place of, nearest first.
    """

    id: str
    instance: InstanceRow
    frame: int
    observer: Device | Person
    at: datetime
    said: tuple[Said, ...]
    places: tuple[Place, ...]
    shown: Device | None = None
    earlier: tuple[str, ...] = ()

    @property
    def reviewed(self) -> bool:
        """Whether a person stands behind it."""
        return isinstance(self.observer, Person)


@dataclass(frozen=True, slots=True)
class Silent:
    """A frame of which there is nothing to export, and why."""

    instance: InstanceRow
    frame: int
    reason: str


class Models:
    """The cards behind releases' names: what their findings are called, and what the models are called themselves."""

    def __init__(self, releases: Releases) -> None:
        self._releases = releases
        current = releases.current()
        self.current = None if current is None else current.hash.hex()
        self._cards: dict[str, ModelCard | None] = {}
        if current is not None:
            self._cards[current.hash.hex()] = current.card

    def card(self, release: str) -> ModelCard | None:
        """The release's card; None where the node does not hold the release any more."""
        if release not in self._cards:
            try:
                self._cards[release] = self._releases.get(bytes.fromhex(release)).card
            except ReleaseError:
                self._cards[release] = None
        return self._cards[release]

    def device(self, release: str) -> Device:
        """The model as an observer."""
        card = self.card(release)
        return Device(release, card.training[-1].plan if card is not None and card.training else _UNTRAINED)

    def finding(self, key: str, release: str | None) -> Finding:
        """The coded entry of a finding's key, by the release that it was stated under or by today's."""
        for name in (release, self.current):
            card = None if name is None else self.card(name)
            for finding in () if card is None else card.task.findings:
                if finding.key == key:
                    return finding
        return Finding(key, PRIVATE_SCHEME, key, key.replace("_", " "))


@dataclass(frozen=True, slots=True)
class Gathered:
    """What is said of images, by the store's ids: the word that counts, and today's model's own for its heatmaps."""

    results: Mapping[str, Sequence[Result]]
    models: Mapping[str, Result]
    silent: Sequence[Silent]


def gather(store: Store, models: Models, rows: Sequence[InstanceRow]) -> Gathered:
    """The results of the images given, and the frames that say nothing.

    A frame's current annotation is its result. Without one it is the newest proposal of the release that proposes
    today, be it accepted unseen or not: in either case nobody has read it.
    """
    annotations = store.current_annotations()
    proposals = {} if models.current is None else store.proposals(models.current)
    accepted = {} if models.current is None else store.acceptances().in_force(models.current)
    read: dict[str, dict[int, Annotation]] = {}
    for (instance, frame), annotation in annotations.items():
        read.setdefault(instance, {})[frame] = annotation
    results: dict[str, list[Result]] = {}
    modelled: dict[str, Result] = {}
    silent: list[Silent] = []
    for row in rows:
        spoken, proposal = read.get(row.id, {}), proposals.get(row.id)
        if proposal is not None and proposal.applicable:
            modelled[row.id] = _proposed(models, row, proposal, accepted.get(row.id))
        for frame, annotation in sorted(spoken.items()):
            if annotation.assessed:
                results.setdefault(row.id, []).append(_reviewed(store, models, row, annotation))
            else:
                silent.append(Silent(row, frame, "its reader stated nothing"))
        if 0 in spoken:
            continue
        if row.id in modelled:
            results.setdefault(row.id, []).append(modelled[row.id])
        else:
            reason = "no model has looked at it and no reader has read it" if proposal is None else proposal.reason
            silent.append(Silent(row, 0, reason))
    return Gathered(results, modelled, silent)


def _proposed(models: Models, row: InstanceRow, proposal: Proposal, accepted: Accepted | None) -> Result:
    states = suggested(proposal, {})
    unseen: dict[str, str] = {}
    if accepted is not None and accepted.proposal == proposal.id:
        unseen = {one.finding: one.words(accepted.release) for one in accepted.states}
    return Result(
        id=proposal.id,
        instance=row,
        frame=proposal.frame,
        observer=models.device(proposal.release),
        at=proposal.at,
        said=tuple(
            Said(models.finding(key, proposal.release), states[key], probability, unseen.get(key, ""))
            for key, probability in proposal.probabilities
        ),
        places=tuple(Place(models.finding(region.finding, proposal.release), region) for region in proposal.regions),
    )


def _reviewed(store: Store, models: Models, row: InstanceRow, annotation: Annotation) -> Result:
    return Result(
        id=annotation.id,
        instance=row,
        frame=annotation.frame,
        observer=Person(annotation.reader),
        at=annotation.at,
        said=tuple(Said(models.finding(key, annotation.release), state) for key, state in annotation.states),
        places=tuple(
            Place(models.finding(region.finding, annotation.release), region) for region in annotation.regions
        ),
        shown=None if annotation.release is None else models.device(annotation.release),
        earlier=_earlier(store, annotation),
    )


def _earlier(store: Store, annotation: Annotation) -> tuple[str, ...]:
    """What the annotation replaces, nearest first: those it supersedes, then the proposals for its frame."""
    history: Mapping[str, Annotation] = {one.id: one for one in store.history(annotation.instance)}
    found: list[str] = []
    step = annotation.supersedes
    while step is not None and step in history:
        found.append(step)
        step = history[step].supersedes
    proposals = [one.id for one in store.proposals_of(annotation.instance) if one.frame == annotation.frame]
    return (*found, *reversed(proposals))
