"""A training's outcome, its figures or its refusal, as one JSON file that is written once and whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ...errors import RefusedError
from ...models.errors import CardError
from ...privacy.errors import PlanError
from ...server.atomic import replace_file
from ..errors import StudyError
from ..report.fields import Fields, Json
from ..results import CalibrationBin, Estimate

SCHEMA = "medquorum.training/1"


@dataclass(frozen=True, slots=True)
class OwnTest:
    """A hospital's held-out patients: how many, and the AUROC there (mean over findings, None with one class)."""

    name: str
    patients: int
    auroc: Estimate | None


@dataclass(frozen=True, slots=True)
class Subgroup:
    """The held-out patients of all hospitals who share a value of a subgroup column: how many, and the AUROC there."""

    column: str
    value: str
    patients: int
    auroc: Estimate | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What a training found on the held-out patients of all hospitals, unless said otherwise.

    auroc: mean over findings; by_finding: each finding's; draws: the mean's bootstrap draws, in an order that is the
    same for every training of the seed, so that differences between them can be drawn too (None: one class only).
    own: each hospital's own held-out patients (only its own of one that trained alone). calibration_error: expected
    calibration error after each hospital fitted its temperatures on its own training patients; calibration: its bins.
    dice, pointing: over present findings whose mask is known. epsilon: what the ledger was charged, the largest of the
    sites'; None without privacy, as noise_multiplier. steps: optimiser steps of each site (0: pooled). plan: its hash
    in hex. sent: bytes of our messages from all sites (0: pooled).
    """

    auroc: Estimate | None
    by_finding: tuple[Estimate | None, ...]
    draws: tuple[float | None, ...]
    own: tuple[OwnTest, ...]
    subgroups: tuple[Subgroup, ...]
    calibration_error: float | None
    calibration: tuple[CalibrationBin, ...]
    dice: Estimate | None
    pointing: Estimate | None
    train_patients: int
    test_patients: int
    epsilon: float | None
    noise_multiplier: float | None
    steps: int
    plan: str
    sent: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a training cannot be had, and the figures that would work."""

    reason: str
    fix: str


Outcome = Figures | Refusal


def attempt(train: Callable[[], Figures]) -> Outcome:
    """What `train` finds, or its refusal: a plan that cannot be, a rule that says no, a quorum that was not reached.
    Anything else (data that cannot be read, a full disk, a fault of ours) is raised."""
    try:
        return train()
    except (RefusedError, PlanError, CardError) as refusal:
        return Refusal(refusal.what, refusal.fix)


def save(path: Path, identity: Mapping[str, Json], outcome: Outcome) -> None:
    """Write a training's file in one step. identity: what the training is, told apart from every other by it."""
    refused = isinstance(outcome, Refusal)
    document: dict[str, Json] = {
        "schema": SCHEMA,
        "training": dict(identity),
        "refused": {"reason": outcome.reason, "fix": outcome.fix} if refused else None,
        "figures": None if refused else _figures(outcome),
    }
    replace_file(path, json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1).encode())


def load(path: Path, identity: Mapping[str, Json]) -> Outcome | None:
    """A training's outcome where it is finished; StudyError when the file is not what `save` wrote for it."""
    try:
        fields = Fields(cast(Json, json.loads(path.read_bytes())), "")
        if fields.text("schema") != SCHEMA or fields.raw("training") != dict(identity):
            raise StudyError("it holds another training", where=path.name)
        if fields.raw("refused") is not None:
            refused = fields.object("refused")
            return Refusal(refused.text("reason"), refused.text("fix"))
        return _read_figures(fields.object("figures"))
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
        "subgroups": [
            {"column": one.column, "value": one.value, "patients": one.patients, "auroc": written(one.auroc)}
            for one in figures.subgroups
        ],
        "calibration_error": figures.calibration_error,
        "calibration": [
            {"stated": one.stated, "observed": one.observed, "count": one.count} for one in figures.calibration
        ],
        "dice": written(figures.dice),
        "pointing": written(figures.pointing),
        "train_patients": figures.train_patients,
        "test_patients": figures.test_patients,
        "epsilon": figures.epsilon,
        "noise_multiplier": figures.noise_multiplier,
        "steps": figures.steps,
        "plan": figures.plan,
        "sent": figures.sent,
        "seconds": figures.seconds,
        "draws": list(figures.draws),
    }


def _read_figures(fields: Fields) -> Figures:
    return Figures(
        auroc=_estimate(fields),
        by_finding=tuple(_estimate(one) for one in fields.objects("by_finding")),
        draws=fields.numbers("draws"),
        own=tuple(OwnTest(one.text("site"), one.count("patients"), _estimate(one)) for one in fields.objects("own")),
        subgroups=tuple(
            Subgroup(one.text("column"), one.text("value"), one.count("patients"), _estimate(one))
            for one in fields.objects("subgroups")
        ),
        calibration_error=fields.optional_number("calibration_error"),
        calibration=tuple(
            CalibrationBin(one.number("stated", absent=0.0), one.number("observed", absent=0.0), one.count("count"))
            for one in fields.objects("calibration")
        ),
        dice=_estimate(fields, "dice"),
        pointing=_estimate(fields, "pointing"),
        train_patients=fields.count("train_patients"),
        test_patients=fields.count("test_patients"),
        epsilon=fields.optional_number("epsilon"),
        noise_multiplier=fields.optional_number("noise_multiplier"),
        steps=fields.count("steps"),
        plan=fields.text("plan"),
        sent=fields.count("sent"),
        seconds=fields.number("seconds", absent=0.0),
    )


def _estimate(fields: Fields, key: str = "auroc") -> Estimate | None:
    values = fields.numbers(key)
    if not values:
        return None
    value, low, high = (0.0 if one is None else one for one in values)
    return Estimate(value, low, high)
