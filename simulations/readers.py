"""Scripted readers: what a radiologist with known habits would state, draw and spend, from the truth.

A reader looks at a frame either with the proposal hidden, and states every finding by hand, or with it shown, and
changes what they think is wrong. How often they err, how often they follow a wrong proposal, and what each action
costs are the study's terms. What comes out are the node's own annotations, made by client.review.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..client.annotations import Annotation, Box, Mask, Proposal, Region, State, utc_now
from ..client.review import Correct, Reading, Target, decide, suggested
from ..client.store import InstanceRow
from .data import BitMask, Truth
from .terms import Cost, ReaderTerms

FREE = Cost(0.0, 0.0)


def _plus(one: Cost, other: Cost, times: float = 1.0) -> Cost:
    return Cost(one.actions + times * other.actions, one.seconds + times * other.seconds)


@dataclass(frozen=True, slots=True)
class Read:
    """One frame read: the annotation, what it cost, and how many of its findings ended wrong, of how many."""

    annotation: Annotation
    cost: Cost
    wrong: int
    findings: int


def outline(mask: BitMask) -> float:
    """Length of a mask's outline in pixels, by counting its border pixels (at least 1 for a non-empty mask)."""
    from scipy.ndimage import binary_erosion

    inner: NDArray[np.bool_] = np.asarray(binary_erosion(mask), dtype=np.bool_)
    return float(int(mask.sum()) - int(inner.sum()))


def overlap(first: BitMask, second: BitMask) -> float:
    """Intersection over union of two masks; 0 when both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 0.0


def region_mask(regions: Sequence[Region], rows: int, columns: int) -> BitMask:
    """The stored pixels (rows, columns) that any of the regions covers."""
    union = np.zeros((rows, columns), dtype=np.bool_)
    for region in regions:
        union |= region.shape.mask(rows, columns) if isinstance(region.shape, Box) else region.shape.array()
    return union


class ScriptedReader:
    """A reader at one hospital; the same generator gives the same readings."""

    def __init__(
        self, name: str, findings: tuple[str, ...], terms: ReaderTerms, generator: np.random.Generator
    ) -> None:
        self._name = name
        self._findings = findings
        self._terms = terms
        self._generator = generator

    def by_hand(self, row: InstanceRow, truth: Truth, supersedes: Annotation | None = None) -> Read:
        """Read a frame with the proposal hidden."""
        cost = self._terms.open
        states: dict[str, State] = {}
        regions: dict[str, tuple[Region, ...]] = {}
        for index, finding in enumerate(self._findings):
            opinion = self._opinion(truth.present[index])
            if opinion is None:
                continue
            states[finding] = _state(opinion)
            cost = _plus(cost, self._terms.state)
            if opinion:
                drawn, spent = self._draw(finding, truth.mask_of(index), row)
                cost = _plus(cost, spent)
                if drawn:
                    regions[finding] = drawn
        return self._read(row, truth, None, Correct(states, regions), cost, supersedes)

    def with_proposal(
        self, row: InstanceRow, truth: Truth, proposal: Proposal, supersedes: Annotation | None = None
    ) -> Read:
        """Read a frame with the proposal shown; one that is not applicable is read by hand."""
        if not proposal.applicable:
            return self.by_hand(row, truth, supersedes)
        cost = _plus(self._terms.open, self._terms.accept)
        proposed = suggested(proposal, {})
        states: dict[str, State] = {}
        regions: dict[str, tuple[Region, ...]] = {}
        for index, finding in enumerate(self._findings):
            real = truth.present[index]
            opinion = self._opinion(real)
            if opinion is None:
                states[finding] = "not_assessed"
                continue
            shown = proposed.get(finding) == "present"
            if shown != opinion and shown != real and self._generator.random() < self._terms.automation_bias:
                opinion = shown
            if shown != opinion:
                states[finding] = _state(opinion)
                cost = _plus(cost, self._terms.change)
            if opinion:
                own = tuple(region for region in proposal.regions if region.finding == finding)
                redrawn, spent = self._judge(finding, own, truth.mask_of(index), row)
                cost = _plus(cost, spent)
                if redrawn is not None:
                    regions[finding] = redrawn
        return self._read(row, truth, proposal, Correct(states, regions), cost, supersedes)

    def accept_all(self, row: InstanceRow, truth: Truth, commoner: Sequence[bool]) -> Cost:
        """What a frame would cost if the commoner class of each finding were proposed for everything, correctly
        judged: the saving that needs no model."""
        cost = _plus(self._terms.open, self._terms.accept)
        for index, finding in enumerate(self._findings):
            real = truth.present[index]
            if real is None:
                continue
            if real != commoner[index]:
                cost = _plus(cost, self._terms.change)
            if real:
                cost = _plus(cost, self._draw(finding, truth.mask_of(index), row)[1])
        return cost

    def _opinion(self, real: bool | None) -> bool | None:
        if real is None:
            return None
        return real != (self._generator.random() < self._terms.error_rate)

    def _draw(self, finding: str, mask: BitMask | None, row: InstanceRow) -> tuple[tuple[Region, ...], Cost]:
        """Draw the true region by hand; nothing to draw where none is known, or on an image of another size."""
        if self._terms.regions == "none" or mask is None or mask.shape != (row.rows, row.columns) or not mask.any():
            return (), FREE
        if self._terms.regions == "mask":
            vertices = max(4, math.ceil(outline(mask) / self._terms.vertex_spacing))
            return (Region(finding, Mask.of(mask), "drawn"),), _plus(FREE, self._terms.vertex, vertices)
        down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = Box(float(across[0]), float(down[0]), float(across[-1] + 1), float(down[-1] + 1))
        return (Region(finding, box, "drawn"),), self._terms.box

    def _judge(
        self, finding: str, proposed: tuple[Region, ...], mask: BitMask | None, row: InstanceRow
    ) -> tuple[tuple[Region, ...] | None, Cost]:
        """Keep the proposed regions (None), or remove them and draw: the regions now, and the cost."""
        drawn, spent = self._draw(finding, mask, row)
        if not drawn or self._terms.regions == "none":
            return None, FREE
        if proposed:
            target = region_mask(drawn, row.rows, row.columns)
            close = overlap(region_mask(proposed, row.rows, row.columns), target) >= self._terms.accept_overlap
            if close or self._generator.random() < self._terms.automation_bias:
                return None, FREE
        return drawn, _plus(spent, self._terms.remove, len(proposed))

    def _read(
        self,
        row: InstanceRow,
        truth: Truth,
        shown: Proposal | None,
        decision: Correct,
        cost: Cost,
        supersedes: Annotation | None,
    ) -> Read:
        reading = Reading(self._name, utc_now(), round(cost.actions), cost.seconds)
        annotation = decide(Target(row.id, 0, self._findings), shown, decision, reading, supersedes=supersedes)
        wrong, known = _errors(dict(annotation.states), truth, self._findings)
        return Read(annotation, cost, wrong, known)


def _state(present: bool) -> State:
    return "present" if present else "absent"


def _errors(states: Mapping[str, State], truth: Truth, findings: Sequence[str]) -> tuple[int, int]:
    known = [(states[finding], real) for finding, real in zip(findings, truth.present, strict=True) if real is not None]
    return sum(state != _state(real) for state, real in known), len(known)
