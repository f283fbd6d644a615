"""A cell of the comparison: one training on one seed. Its figures are one JSON file, written once and whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from ...server.atomic import replace_file
from ..errors import StudyError
from ..report.fields import Fields, Json
from ..results import Estimate

SCHEMA = "medquorum.compare.cell/1"
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
class OwnTest:
    """A hospital's held-out patients: how many, and the AUROC there (mean over findings, None with one class)."""

    name: str
    patients: int
    auroc: Estimate | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What a cell found on the held-out patients of all hospitals, unless said otherwise.

    auroc: mean over findings; by_finding: each finding's; draws: the mean's bootstrap draws, in an order that is the
    same for every cell of the seed, so that differences between cells can be drawn too (None: one class only).
    own: each hospital's own held-out patients (only its own of one that trained alone). calibration_error: expected
    calibration error after each hospital fitted its temperatures on its own training patients. dice, pointing: over
    present findings whose mask is known. epsilon: what the ledger was charged, the largest of the sites'; None
    without privacy, as noise_multiplier. steps: optimiser steps of each site (0: pooled). plan: its hash in hex.
    """

    auroc: Estimate | None
    by_finding: tuple[Estimate | None, ...]
    draws: tuple[float | None, ...]
    own: tuple[OwnTest, ...]
    calibration_error: float | None
    dice: Estimate | None
    pointing: Estimate | None
    train_patients: int
    test_patients: int
    epsilon: float | None
    noise_multiplier: float | None
    steps: int
    plan: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a cell cannot be had, and the figures that would work."""

    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class CellResult:
    """A finished cell: its figures or its refusal."""

    cell: Cell
    outcome: Figures | Refusal


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
    cell = result.cell
    document: dict[str, Json] = {
        "schema": SCHEMA,
        "seed": cell.seed,
        "kind": cell.kind,
        "mode": cell.mode,
        "epsilon": cell.epsilon,
        "site": cell.site,
        "number": cell.number,
        "refused": None,
        "figures": None,
    }
    if isinstance(result.outcome, Refusal):
        document["refused"] = {"reason": result.outcome.reason, "fix": result.outcome.fix}
    else:
        document["figures"] = _figures(result.outcome)
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)
    replace_file(folder / f"{cell.name}.json", text.encode())


def load(cell: Cell, folder: Path) -> CellResult | None:
    """A cell's result where it is finished; StudyError when its file is not what `save` wrote for it."""
    path = folder / f"{cell.name}.json"
    try:
        fields = Fields(cast(Json, json.loads(path.read_bytes())), "")
        told = Cell(
            fields.count("seed"),
            cast(Kind, fields.text("kind")),
            fields.text("mode"),
            fields.optional_number("epsilon"),
            fields.text("site"),
            fields.count("number"),
        )
        if fields.text("schema") != SCHEMA or told != cell:
            raise StudyError("it holds another cell", where=path.name)
        if fields.raw("refused") is not None:
            refused = fields.object("refused")
            return CellResult(cell, Refusal(refused.text("reason"), refused.text("fix")))
        return CellResult(cell, _read_figures(fields.object("figures")))
    except FileNotFoundError:
        return None
    except (ValueError, OSError, StudyError) as error:
        what = error.what if isinstance(error, StudyError) else str(error)
        raise StudyError(
            f"a finished cell cannot be read back: {what}", where=str(path), fix="delete the file; it is run again"
        ) from None


def written(estimate: Estimate | None) -> Json:
    """[value, low, high], or [] for none."""
    return [] if estimate is None else [estimate.value, estimate.low, estimate.high]


def _figures(figures: Figures) -> Json:
    return {
        "auroc": written(figures.auroc),
        "by_finding": [{"auroc": written(one)} for one in figures.by_finding],
        "own": [{"site": one.name, "patients": one.patients, "auroc": written(one.auroc)} for one in figures.own],
        "calibration_error": figures.calibration_error,
        "dice": written(figures.dice),
        "pointing": written(figures.pointing),
        "train_patients": figures.train_patients,
        "test_patients": figures.test_patients,
        "epsilon": figures.epsilon,
        "noise_multiplier": figures.noise_multiplier,
        "steps": figures.steps,
        "plan": figures.plan,
        "seconds": figures.seconds,
        "draws": list(figures.draws),
    }


def _read_figures(fields: Fields) -> Figures:
    return Figures(
        auroc=_estimate(fields, "auroc"),
        by_finding=tuple(_estimate(one, "auroc") for one in fields.objects("by_finding")),
        draws=fields.numbers("draws"),
        own=tuple(
            OwnTest(one.text("site"), one.count("patients"), _estimate(one, "auroc")) for one in fields.objects("own")
        ),
        calibration_error=fields.optional_number("calibration_error"),
        dice=_estimate(fields, "dice"),
        pointing=_estimate(fields, "pointing"),
        train_patients=fields.count("train_patients"),
        test_patients=fields.count("test_patients"),
        epsilon=fields.optional_number("epsilon"),
        noise_multiplier=fields.optional_number("noise_multiplier"),
        steps=fields.count("steps"),
        plan=fields.text("plan"),
        seconds=fields.number("seconds", absent=0.0),
    )


def _estimate(fields: Fields, key: str) -> Estimate | None:
    values = fields.numbers(key)
    if not values:
        return None
    value, low, high = (0.0 if one is None else one for one in values)
    return Estimate(value, low, high)
