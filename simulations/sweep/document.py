"""sweep.json and sweep.csv: a sweep for machines, a row for each cell. docs/researchers.md documents the keys."""

from __future__ import annotations

from typing import cast

from ..report.fields import Json
from ..report.machine import columns, to_csv, to_json
from ..resumable.outcomes import Figures, Refusal
from .rows import Sweep, Swept

SCHEMA = "medquorum.sweep/1"
DONE, REFUSED = "done", "refused"


def dump(sweep: Sweep, command: str) -> str:
    """The sweep as the text of sweep.json, ending with a newline."""
    document: dict[str, Json] = {
        "schema": SCHEMA,
        "study": sweep.study,
        "description": sweep.description,
        "synthetic": sweep.synthetic,
        "findings": list(sweep.findings),
        "axes": {axis.key: list(axis.values) for axis in sweep.axes},
        "cells": [_cell(sweep, number) for number in range(len(sweep.cells))],
        "manifest": cast(Json, sweep.manifest),
        "command": command,
        "timing": {
            "seconds": sweep.seconds,
            "foretold_seconds": sweep.foretold.seconds,
            "foretold_memory": sweep.foretold.memory,
            "cells_run": sweep.foretold.cells,
            "jobs": sweep.foretold.jobs,
        },
    }
    return to_json(document)


def table(sweep: Sweep) -> str:
    """The cells as the text of sweep.csv; empty cells where there is no figure."""
    return to_csv([row_of(sweep, number) for number in range(len(sweep.cells))])


def row_of(sweep: Sweep, number: int) -> dict[str, Json]:
    """One cell as a flat row: its settings, whether it is done, and its figures."""
    swept = sweep.cells[number]
    outcome = swept.outcome
    return {
        **swept.cell.identity,
        "status": REFUSED if isinstance(outcome, Refusal) else DONE,
        "reason": f"{outcome.reason}; {outcome.fix}" if isinstance(outcome, Refusal) else "",
        **figures_row(None if isinstance(outcome, Refusal) else outcome, sweep.findings),
    }


def figures_row(found: Figures | None, findings: tuple[str, ...]) -> dict[str, Json]:
    """A training's figures as the flat columns that sweeps and frames share; None for a refusal: every one empty."""
    own = [] if found is None else [(site.auroc.value, site.name) for site in found.own if site.auroc is not None]
    least = min(own, default=None)
    by_finding = found.by_finding if found is not None else (None,) * len(findings)
    return {
        **columns("auroc", None if found is None else found.auroc),
        **{f"auroc_{key}": None if one is None else one.value for key, one in zip(findings, by_finding, strict=True)},
        "auroc_own_mean": sum(value for value, _ in own) / len(own) if own else None,
        "auroc_own_worst": None if least is None else least[0],
        "worst_site": None if least is None else least[1],
        "calibration_error": None if found is None else found.calibration_error,
        **columns("dice", None if found is None else found.dice),
        **columns("pointing", None if found is None else found.pointing),
        "train_patients": None if found is None else found.train_patients,
        "test_patients": None if found is None else found.test_patients,
        "epsilon_charged": None if found is None else found.epsilon,
        "noise_multiplier": None if found is None else found.noise_multiplier,
        "steps": None if found is None else found.steps,
        "bytes_sent": None if found is None else found.sent,
        "seconds": None if found is None else found.seconds,
        "plan": None if found is None else found.plan,
    }


def _cell(sweep: Sweep, number: int) -> Json:
    swept: Swept = sweep.cells[number]
    outcome = swept.outcome
    more: dict[str, Json] = {}
    if not isinstance(outcome, Refusal):
        more = {
            "sites": [
                {"site": one.name, "patients": one.patients, **columns("auroc", one.auroc)} for one in outcome.own
            ],
            "subgroups": [
                {"column": one.column, "value": one.value, "patients": one.patients, **columns("auroc", one.auroc)}
                for one in outcome.subgroups
            ],
            "calibration": [
                {"stated": one.stated, "observed": one.observed, "count": one.count} for one in outcome.calibration
            ],
        }
    return {"file": f"cells/{swept.cell.name}.json", **row_of(sweep, number), **more}
