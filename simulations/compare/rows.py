"""What a comparison found: plain frozen data, enough to write its table, plots and page again."""

from __future__ import annotations

from dataclasses import dataclass

from ..results import Estimate
from .cells import Kind


@dataclass(frozen=True, slots=True)
class SiteRow:
    """One hospital name over all seeds: mean AUROC on its own held-out patients, and the least of any seed."""

    name: str
    auroc: float | None
    least: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One way of learning, over all seeds. AUROCs are means over findings.

    auroc: on the held-out patients of all hospitals (of hospitals alone: the mean over their models), the mean over
    seeds, with the 2.5 and 97.5 percentiles of all seeds' bootstrap draws by patient. spread: standard deviation over
    seeds. gap: pooled minus this, from draws of the same patients. own: mean over hospitals on each one's own held-out
    patients; worst: the hospital with the least, mean over seeds; worst_ever: the least of any hospital and seed.
    cells, refused: how many have figures and how many have not, with the refusals' `reasons`. epsilon_charged: the
    most that any ledger was charged. steps: optimiser steps at each site.
    """

    kind: Kind
    mode: str
    epsilon: float | None
    cells: int
    refused: int
    reasons: tuple[str, ...]
    auroc: Estimate | None
    by_finding: tuple[float | None, ...]
    spread: float | None
    gap: Estimate | None
    own: float | None
    worst: float | None
    worst_ever: float | None
    calibration_error: float | None
    dice: Estimate | None
    pointing: Estimate | None
    epsilon_charged: float | None
    noise_multiplier: float | None
    steps: int
    seconds: float
    sites: tuple[SiteRow, ...]

    @property
    def label(self) -> str:
        """The row's name for people."""
        what = {"pooled": "Pooled in one place", "alone": "Each hospital alone", "federated": "Federated"}[self.kind]
        if self.kind == "pooled":
            return f"{what}, not private"
        if self.epsilon is None:
            return f"{what}, not private"
        how = "" if self.kind == "alone" else f" {self.mode}"
        return f"{what},{how} epsilon {self.epsilon:g}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A whole comparison. patients, images: usable ones; left_out: images that were not, by reason. partition: how
    hospitals came about. notes: what a reader of the figures should know."""

    study: str
    description: str
    synthetic: bool
    findings: tuple[str, ...]
    model: str
    partition: str
    hospitals: tuple[str, ...]
    seeds: tuple[int, ...]
    delta: float
    images: int
    train_patients: int
    test_patients: int
    left_out: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    manifest: dict[str, object]
    seconds: float
