"""compare.json and compare.csv: a comparison for machines. docs/compare.md documents every key."""

from __future__ import annotations

from typing import cast

from ..report.fields import Json
from ..report.machine import columns, to_csv, to_json
from .rows import Comparison, Row

SCHEMA = "medquorum.compare/1"


def dump(comparison: Comparison, command: str) -> str:
    """The comparison as the text of compare.json, ending with a newline."""
    document: dict[str, Json] = {
        "schema": SCHEMA,
        "study": comparison.study,
        "description": comparison.description,
        "synthetic": comparison.synthetic,
        "findings": list(comparison.findings),
        "model": comparison.model,
        "partition": comparison.partition,
        "hospitals": list(comparison.hospitals),
        "seeds": list(comparison.seeds),
        "delta": comparison.delta,
        "images": comparison.images,
        "left_out": comparison.left_out,
        "train_patients": comparison.train_patients,
        "test_patients": comparison.test_patients,
        "rows": [_row(row, comparison.findings) for row in comparison.rows],
        "notes": list(comparison.notes),
        "manifest": cast(Json, comparison.manifest),
        "command": command,
        "timing": {"seconds": comparison.seconds, "rows": [row.seconds for row in comparison.rows]},
    }
    return to_json(document)


def table(comparison: Comparison) -> str:
    """The comparison's rows as the text of compare.csv; empty cells where there is no figure."""
    return to_csv([_flat(row, comparison.findings) for row in comparison.rows])


def _row(row: Row, findings: tuple[str, ...]) -> Json:
    flat: dict[str, Json] = {"label": row.label, **_flat(row, findings)}
    sites: Json = [{"site": one.name, "auroc": one.auroc, "least": one.least} for one in row.sites]
    return {**flat, "reasons": list(row.reasons), "sites": sites}


def _flat(row: Row, findings: tuple[str, ...]) -> dict[str, Json]:
    return {
        "kind": row.kind,
        "mode": row.mode,
        "epsilon": row.epsilon,
        "trainings": row.cells,
        "refused": row.refused,
        **columns("auroc", row.auroc),
        "auroc_spread": row.spread,
        **columns("gap", row.gap),
        "auroc_own_mean": row.own,
        "auroc_own_worst": row.worst,
        "auroc_own_worst_ever": row.worst_ever,
        **{f"auroc_{key}": row.by_finding[at] if row.by_finding else None for at, key in enumerate(findings)},
        "calibration_error": row.calibration_error,
        **columns("dice", row.dice),
        **columns("pointing", row.pointing),
        "epsilon_charged": row.epsilon_charged,
        "noise_multiplier": row.noise_multiplier,
        "steps": row.steps,
    }
