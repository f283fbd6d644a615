"""Accepting unseen at a node: what a look finds in its store, and what is accepted by it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .annotations import Proposal, new_id, utc_now
from .applicability import why_not_applicable
from .errors import StoreError
from .settling import Settled
from .store import Store
from .unseen import (
    Accepted,
    Case,
    Line,
    Look,
    due_at,
    level_of,
    lines_of,
    outlook,
    require_precision,
    side_of,
    taken,
)

if TYPE_CHECKING:
    from ..models.checkpoint import Release

_SETTING = "accept_unseen"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the store holds for a release: images of hidden patients with a label that counts, read without a proposal
    and never trained on; and the proposals for images that nobody has read and nobody need read."""

    cases: tuple[Case, ...]
    waiting: tuple[Proposal, ...]
    unread: int

    @property
    def patients(self) -> int:
        """How many hidden patients there are."""
        return len({case.patient for case in self.cases})


@dataclass(frozen=True, slots=True)
class Standing:
    """How accepting stands. look: the one in force, None: none was due yet. lines: its own, or what each would need.
    reach: of each line, how many waiting images reach it. waiting: these; unread: all images that nobody has read,
    those of patients who take part in plans among them. next_at: hidden patients from which the next look is due."""

    look: Look | None
    lines: tuple[Line, ...]
    reach: tuple[int, ...]
    waiting: int
    unread: int
    patients: int
    next_at: int


def precision_kept(store: Store) -> float | None:
    """The precision from which the site lets proposals be accepted unseen; None: it does not."""
    try:
        kept = store.setting(_SETTING)
    except StoreError:
        return None
    return float(kept) if kept else None


def keep_precision(store: Store, precision: float | None) -> None:
    """Accept from now on, whenever the node has proposed, or never."""
    if precision is not None:
        require_precision(precision)
    store.set_setting(_SETTING, "" if precision is None else repr(precision))


def gather(store: Store, release: Release) -> Evidence:
    """The evidence for a release."""
    said = {name: one for name, one in store.proposals(release.hash.hex()).items() if one.applicable}
    standings, trained = store.labels().standings(), store.acceptances().trained_on()
    spoken = {instance for instance, _ in standings}
    entering = store.entering()
    share = entering.rule().share
    cases: list[Case] = []
    waiting: list[Proposal] = []
    unread = 0
    for row in store.instances():
        proposal, standing = said.get(row.id), standings.get((row.id, 0))
        if proposal is None or why_not_applicable(release.card.task, row):
            continue
        if row.held_out:
            blind = isinstance(standing, Settled) and all(one.proposal is None for one in standing.basis)
            if isinstance(standing, Settled) and blind and row.patient not in trained:
                states = dict(standing.annotation.states)
                cases.append(Case(row.patient, dict(proposal.probabilities), states))
        elif row.id not in spoken:
            unread += 1
            if entering.coin(row.patient) >= share:  # whoever ever takes part in a plan is to be read
                waiting.append(proposal)
    return Evidence(tuple(cases), tuple(waiting), unread)


def look(store: Store, release: Release, precision: float, found: Evidence | None = None) -> Standing:
    """How accepting at a precision stands, after a look if one is due, which is kept."""
    require_precision(precision)
    found = found or gather(store, release)
    name, findings = release.hash.hex(), release.card.task.keys
    earlier = store.acceptances().looks(name)
    last = next((one for one in reversed(earlier) if one.precision == precision), None)
    next_at, number = due_at(earlier, precision), len(earlier) + 1
    lines = last.lines if last is not None else outlook(found.cases, findings, precision, number)
    chances = [dict(one.probabilities) for one in found.waiting]
    ready = outlook(found.cases, findings, precision, number)
    if found.patients >= next_at and chances and any(one.patients >= one.needed for one in ready):
        lines = lines_of(found.cases, chances, findings, precision, number, name)
        last = Look(new_id(), name, number, precision, level_of(number), found.patients, lines, utc_now())
        store.acceptances().keep(last)
        next_at = due_at([last], precision)
    reach = tuple(_reach(line, found.waiting) for line in lines)
    return Standing(last, lines, reach, len(chances), found.unread, found.patients, next_at)


def accept(store: Store, release: Release, precision: float) -> tuple[Standing, int]:
    """Accept what reaches the lines of the look in force; what other looks accepted is withdrawn. Returns how things
    stand, and how many images are accepted now."""
    found = gather(store, release)
    standing = look(store, release, precision, found)
    view = store.acceptances()
    kept = view.in_force(release.hash.hex())
    if standing.look is None:
        return standing, 0
    others = any(one.look != standing.look.id for one in kept.values())
    known = set[str]() if others else set(kept)
    fresh = [
        Accepted(new_id(), one.instance, one.frame, one.release, one.id, standing.look.id, states, utc_now())
        for one in found.waiting
        if one.instance not in known and (states := taken(one, standing.lines))
    ]
    if others and not fresh:
        view.withdraw("tested anew", utc_now())
    view.accept(fresh, instead=others)
    return standing, len(known) + len(fresh)


class Accepting:
    """Keeps to the site's setting while a node runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next = 0.0
        self._seen: tuple[int, bytes] | None = None

    def step(self, release: Release) -> int | None:
        """Accept what may be, if the site wants it, something happened, and no more than a two hundredth of the time is
        taken; how many images are accepted then, None where nothing was done."""
        began = time.monotonic()
        if began < self._next or (precision := precision_kept(self._store)) is None:
            return None
        seen = (self._store.head().events, release.hash)
        if seen == self._seen:
            return None
        _, count = accept(self._store, release, precision)
        self._seen = (self._store.head().events, release.hash)
        self._next = began + 200.0 * (time.monotonic() - began)
        return count


def _reach(line: Line, waiting: Sequence[Proposal]) -> int:
    if line.threshold is None:
        return 0
    chances = (dict(one.probabilities).get(line.finding) for one in waiting)
    scores = [side_of(chance) for chance in chances if chance is not None]
    return sum(side == line.side and score >= line.threshold for side, score in scores)
