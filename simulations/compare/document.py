"""compare.json and compare.csv: a comparison for machines. docs/compare.md documents every key."""

from __future__ import annotations

import csv
import io
import json
from typing import cast

from ..report.fields import Json
from ..results import Estimate
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
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def table(comparison: Comparison) -> str:
    """The comparison's rows as the text of compare.csv; empty cells where there is no figure."""
    target = io.StringIO()
    rows = [_flat(row, comparison.findings) for row in comparison.rows]
    writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


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
        **_estimate("auroc", row.auroc),
        "auroc_spread": row.spread,
        **_estimate("gap", row.gap),
        "auroc_own_mean": row.own,
        "auroc_own_worst": row.worst,
        "auroc_own_worst_ever": row.worst_ever,
        **{f"auroc_{key}": row.by_finding[at] if row.by_finding else None for at, key in enumerate(findings)},
        "calibration_error": row.calibration_error,
        **_estimate("dice", row.dice),
        **_estimate("pointing", row.pointing),
        "epsilon_charged": row.epsilon_charged,
        "noise_multiplier": row.noise_multiplier,
        "steps": row.steps,
    }


def _estimate(name: str, estimate: Estimate | None) -> dict[str, Json]:
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
