"""What a sweep found: plain frozen data, enough to write its tables and plots again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..report.fields import Json
from ..results import Estimate
from ..resumable.outcomes import Figures, Outcome, Refusal
from .grid import Axis, Cell

SEED = "study.seed"
"""The key whose values are repetitions: plots and the summary take their mean."""


@dataclass(frozen=True, slots=True)
class Swept:
    """A finished cell."""

    cell: Cell
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Foretold:
    """What was said before it began: cells to run, memory of all jobs in bytes (at least), seconds (about)."""

    cells: int
    jobs: int
    memory: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """A whole sweep. epsilons, modes: of each cell's study, aligned with `cells` (None: refused before it was one, or
    without privacy). seconds: wall clock of this call alone."""

    study: str
    description: str
    synthetic: bool
    findings: tuple[str, ...]
    axes: tuple[Axis, ...]
    cells: tuple[Swept, ...]
    epsilons: tuple[float | None, ...]
    modes: tuple[str, ...]
    foretold: Foretold
    manifest: dict[str, object]
    seconds: float


@dataclass(frozen=True, slots=True)
class Series:
    """The cells that differ in their seed alone: `settings` are theirs without it. AUROCs are means over findings.

    auroc: mean over seeds, with the 2.5 and 97.5 percentiles of all seeds' bootstrap draws by patient; spread: its
    standard deviation over seeds. own: mean over hospitals and seeds on their own held-out patients; worst: the least
    of a seed's hospitals, mean over seeds, with the least and the greatest of any seed (an Estimate whose ends are no
    interval); epsilon: as planned.
    """

    label: str
    mode: str
    epsilon: float | None
    done: tuple[Figures, ...]
    refused: tuple[Refusal, ...]
    auroc: Estimate | None
    spread: float | None
    own: float | None
    worst: Estimate | None
    settings: tuple[tuple[str, Json], ...]


def series_of(sweep: Sweep, *without: str) -> list[Series]:
    """The sweep's cells by everything but the seed and the keys `without`, in their order."""
    grouped: dict[str, list[int]] = {}
    for number, swept in enumerate(sweep.cells):
        grouped.setdefault(_rest(swept.cell, without).label, []).append(number)
    return [_series(sweep, label, numbers, without) for label, numbers in grouped.items()]


def _rest(cell: Cell, without: tuple[str, ...]) -> Cell:
    return Cell(tuple(one for one in cell.settings if one[0] != SEED and one[0] not in without))


def _series(sweep: Sweep, label: str, numbers: list[int], without: tuple[str, ...]) -> Series:
    outcomes = [sweep.cells[number].outcome for number in numbers]
    done = tuple(one for one in outcomes if isinstance(one, Figures))
    measured = [one for one in done if one.auroc is not None]
    values = [one.auroc.value for one in measured if one.auroc is not None]
    auroc = None
    if values:
        draws = np.array([np.nan if draw is None else draw for one in measured for draw in one.draws])
        low, high = np.nanpercentile(draws, [2.5, 97.5])
        auroc = Estimate(float(np.mean(values)), float(low), float(high))
    own = [[site.auroc.value for site in one.own if site.auroc is not None] for one in done]
    least = [min(values) for values in own if values]
    return Series(
        label=label or sweep.study,
        mode=sweep.modes[numbers[0]],
        epsilon=sweep.epsilons[numbers[0]],
        done=done,
        refused=tuple(one for one in outcomes if isinstance(one, Refusal)),
        auroc=auroc,
        spread=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        own=float(np.mean([value for values in own for value in values])) if least else None,
        worst=Estimate(float(np.mean(least)), min(least), max(least)) if least else None,
        settings=_rest(sweep.cells[numbers[0]].cell, without).settings,
    )
