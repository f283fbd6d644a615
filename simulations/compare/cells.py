"""A cell of the comparison: one training on one seed. Its figures are one JSON file, written once and whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..report.fields import Json
from ..resumable import outcomes
from ..resumable.outcomes import Outcome

Kind = Literal["pooled", "alone", "federated"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One training. mode: "none" or a private mode, with its epsilon (None in mode none). site: the hospital that
    trains alone, with its number among the seed's; "" and 0 otherwise."""

    seed: int
    kind: Kind
    mode: str = "none"
    epsilon: float | None = None
    site: str = ""
    number: int = 0

    @property
    def name(self) -> str:
        """The cell's file, without its ending: made of our own words and numbers, never of a hospital's name."""
        parts = [f"seed{self.seed}", self.kind]
        if self.kind == "alone":
            parts.append(f"site{self.number + 1}")
        if self.kind != "pooled":
            parts.append(self.mode)
        if self.epsilon is not None:
            parts.append(f"eps{self.epsilon:g}")
        return "-".join(parts)


@dataclass(frozen=True, slots=True)
class CellResult:
    """A finished cell: its figures or its refusal."""

    cell: Cell
    outcome: Outcome


def cells_of(seed: int, sites: Sequence[str], modes: Sequence[str], epsilons: Sequence[float]) -> Iterator[Cell]:
    """Every cell of a seed, the cheap and the telling first.

    A hospital alone is private in mode "local" at each epsilon: it has nobody to share noise with.
    """
    yield Cell(seed, "pooled")
    yield Cell(seed, "federated")
    for mode in modes:
        for epsilon in epsilons:
            yield Cell(seed, "federated", mode, epsilon)
    for number, site in enumerate(sites):
        yield Cell(seed, "alone", site=site, number=number)
        for epsilon in epsilons if modes else ():
            yield Cell(seed, "alone", "local", epsilon, site, number)


def save(result: CellResult, folder: Path) -> None:
    """Write a cell's file in one step."""
    outcomes.save(folder / f"{result.cell.name}.json", identity(result.cell), result.outcome)


def load(cell: Cell, folder: Path) -> CellResult | None:
    """A cell's result where it is finished; StudyError when its file is not what `save` wrote for it."""
    outcome = outcomes.load(folder / f"{cell.name}.json", identity(cell))
    return None if outcome is None else CellResult(cell, outcome)


def identity(cell: Cell) -> dict[str, Json]:
    """What a cell's file says that it is."""
    return {
        "seed": cell.seed,
        "kind": cell.kind,
        "mode": cell.mode,
        "epsilon": cell.epsilon,
        "site": cell.site,
        "number": cell.number,
    }
