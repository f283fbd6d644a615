"""report.json: a StudyResult as one JSON object, and back. docs/report.md documents every key.

Two equal runs differ only under `timing` (wall clock), so `figures` (a SHA-256 over everything that a seed decides)
is equal exactly when all figures are. JSON has neither NaN nor infinity: such a value is written as null, and where
null is read back it means NaN, except for epsilon, where it means infinity (no guarantee).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ..errors import StudyError
from ..results import CalibrationBin, Effort, Estimate, RoundResult, SheetImage, SiteResult, StudyResult
from .fields import Fields, Json
from .machine import to_json

SCHEMA = "medquorum.report/1"
# What a seed does not decide: how long it took, on what, and how it was asked for.
_BESIDE_FIGURES = frozenset({"figures", "timing", "versions", "command"})


@dataclass(frozen=True, slots=True)
class Report:
    """A study's result and the command that gives it again."""

    result: StudyResult
    command: str


def to_document(report: Report) -> dict[str, Json]:
    """The report as a JSON object with a fixed order of keys, images last."""
    result = report.result
    document: dict[str, Json] = {
        "schema": SCHEMA,
        "study": result.study,
        "seed": result.seed,
        "synthetic": result.synthetic,
        "engine": result.engine,
        "aggregation": result.aggregation,
        "mode": result.mode,
        "colluding": result.colluding,
        "collusions": [_number(cost) for cost in result.collusions],
        "model": result.model,
        "parameters": result.parameters,
        "release": result.release,
        "findings": list(result.findings),
        "before": _estimate(result.auroc_before),
        "federated": _estimate(result.federated),
        "pooled": _estimate(result.pooled),
        "sites": [_site(site, result.findings) for site in result.sites],
        "rounds": [_round(done, result.findings) for done in result.rounds],
        "bytes_sent": result.bytes_sent,
        "calibration_error": _number(result.calibration_error),
        "calibration": [
            {"stated": _number(part.stated), "observed": _number(part.observed), "count": part.count}
            for part in result.calibration
        ],
        "warnings": list(result.warnings),
        "versions": dict(result.versions),
        "command": report.command,
        "timing": {"seconds": _number(result.seconds), "rounds": [_number(done.seconds) for done in result.rounds]},
        "sheet": [_sheet_image(image) for image in result.sheet],
    }
    return {"schema": SCHEMA, "figures": figures_digest(document)} | document


def figures_digest(document: dict[str, Json]) -> str:
    """SHA-256 (hex) over all that the seed decides in `document`, independent of the order of its keys."""
    decided = {key: value for key, value in document.items() if key not in _BESIDE_FIGURES}
    canonical = json.dumps(decided, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def from_document(value: Json) -> Report:
    """The report that `to_document` wrote; derived keys (such as `actions_saved`) are computed anew, not read.

    Raises StudyError naming the key when it is missing or of the wrong kind.
    """
    fields = Fields(value, "")
    if fields.text("schema") != SCHEMA:
        raise StudyError(
            f"the report's schema is {fields.text('schema')!r} and this version reads {SCHEMA!r}",
            where="schema",
            fix="read it with the version of medquorum that wrote it (see its key `versions`)",
        )
    findings = fields.texts("findings")
    timing = fields.object("timing")
    seconds, rounds = timing.numbers("rounds"), fields.objects("rounds")
    if len(seconds) != len(rounds):
        raise StudyError(
            f"{len(rounds)} rounds have {len(seconds)} times",
            where="timing.rounds",
            fix="give one time for each round",
        )
    result = StudyResult(
        study=fields.text("study"),
        seed=fields.integer("seed"),
        synthetic=fields.flag("synthetic"),
        engine=fields.text("engine"),
        aggregation=fields.text("aggregation"),
        mode=fields.text("mode"),
        findings=findings,
        model=fields.text("model"),
        parameters=fields.count("parameters"),
        sites=tuple(_read_site(site, findings) for site in fields.objects("sites")),
        rounds=tuple(_read_round(done, findings, time) for done, time in zip(rounds, seconds, strict=True)),
        auroc_before=_read_estimate(fields, "before"),
        federated=_read_estimate(fields, "federated"),
        pooled=_read_estimate(fields, "pooled"),
        calibration=tuple(_read_bin(part) for part in fields.objects("calibration")),
        calibration_error=fields.optional_number("calibration_error"),
        sheet=tuple(_read_sheet_image(image) for image in fields.objects("sheet")),
        bytes_sent=fields.count("bytes_sent"),
        seconds=timing.number("seconds", absent=math.nan),
        release=fields.text("release"),
        versions=fields.text_pairs("versions"),
        warnings=fields.texts("warnings"),
        colluding=fields.count("colluding"),
        collusions=tuple(math.inf if cost is None else cost for cost in fields.numbers("collusions")),
    )
    return Report(result, fields.text("command"))


def dump(report: Report) -> str:
    """The report as the text of report.json, ending with a newline."""
    return to_json(to_document(report))


def load(path: Path) -> Report:
    """Read a report.json. Raises StudyError when it cannot be read or is not one."""
    try:
        value = cast("Json", json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not JSON"
        raise StudyError(
            f"the report cannot be read: {reason}", where=str(path), fix="give the path of a report.json"
        ) from error
    return from_document(value)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _finite(estimate: Estimate | None) -> Estimate | None:
    if estimate is None or not all(map(math.isfinite, (estimate.value, estimate.low, estimate.high))):
        return None
    return estimate


def _estimate(estimate: Estimate | None) -> Json:
    kept = _finite(estimate)
    return None if kept is None else {"auroc": kept.value, "auroc_interval": [kept.low, kept.high]}


def _flat_estimate(name: str, estimate: Estimate | None) -> dict[str, Json]:
    kept = _finite(estimate)
    return {
        name: None if kept is None else kept.value,
        f"{name}_interval": None if kept is None else [kept.low, kept.high],
    }


def _read_estimate(fields: Fields, key: str) -> Estimate | None:
    return None if fields.raw(key) is None else _read_flat_estimate(fields.object(key), "auroc")


def _read_flat_estimate(fields: Fields, name: str) -> Estimate | None:
    value = fields.optional_number(name)
    if value is None:
        return None
    low, high = fields.interval(f"{name}_interval")
    return Estimate(value, low, high)


def _site(site: SiteResult, findings: tuple[str, ...]) -> Json:
    effort = site.effort
    return {
        "name": site.name,
        "patients": site.patients,
        "images": site.images,
        "train_patients": site.train_patients,
        "held_out_patients": site.held_out_patients,
        "prevalence": {key: _number(share) for key, share in zip(findings, site.prevalence, strict=True)},
        "epsilon": _number(site.epsilon),
        "epsilon_cap": _number(site.epsilon_cap),
        "delta": _number(site.delta),
        "noise_multiplier": _number(site.noise_multiplier),
        **_flat_estimate("auroc_before", site.auroc_before),
        **_flat_estimate("auroc_after", site.auroc_after),
        **_flat_estimate("auroc_alone", site.auroc_alone),
        **_flat_estimate("auroc_alone_everywhere", site.auroc_alone_everywhere),
        "calibration_error": _number(site.calibration_error),
        "dice": _number(site.dice),
        "pointing": _number(site.pointing),
        "bytes_sent": site.bytes_sent,
        "actions_saved": _number(effort.actions_saved),
        "effort": {
            "studies": effort.studies,
            "actions": _number(effort.actions),
            "seconds": _number(effort.seconds),
            "by_hand_actions": _number(effort.by_hand_actions),
            "by_hand_seconds": _number(effort.by_hand_seconds),
            "accept_all_actions": _number(effort.accept_all_actions),
            "accept_all_seconds": _number(effort.accept_all_seconds),
            "label_errors": _number(effort.label_errors),
            "by_hand_errors": _number(effort.by_hand_errors),
        },
        "quarantined": [{"source": source, "reason": reason} for source, reason in site.quarantined],
    }


def _read_site(fields: Fields, findings: tuple[str, ...]) -> SiteResult:
    effort = fields.object("effort")
    prevalence = fields.by_name("prevalence", findings)
    return SiteResult(
        name=fields.text("name"),
        patients=fields.count("patients"),
        images=fields.count("images"),
        train_patients=fields.count("train_patients"),
        held_out_patients=fields.count("held_out_patients"),
        prevalence=tuple(math.nan if share is None else share for share in prevalence),
        quarantined=tuple((item.text("source"), item.text("reason")) for item in fields.objects("quarantined")),
        epsilon=fields.number("epsilon", absent=math.inf),
        epsilon_cap=fields.number("epsilon_cap", absent=math.inf),
        delta=fields.number("delta", absent=math.nan),
        noise_multiplier=fields.number("noise_multiplier", absent=math.nan),
        auroc_before=_read_flat_estimate(fields, "auroc_before"),
        auroc_after=_read_flat_estimate(fields, "auroc_after"),
        auroc_alone=_read_flat_estimate(fields, "auroc_alone"),
        auroc_alone_everywhere=_read_flat_estimate(fields, "auroc_alone_everywhere"),
        calibration_error=fields.optional_number("calibration_error"),
        dice=fields.optional_number("dice"),
        pointing=fields.optional_number("pointing"),
        bytes_sent=fields.count("bytes_sent"),
        effort=Effort(
            studies=effort.count("studies"),
            actions=effort.number("actions", absent=math.nan),
            seconds=effort.number("seconds", absent=math.nan),
            by_hand_actions=effort.number("by_hand_actions", absent=math.nan),
            by_hand_seconds=effort.number("by_hand_seconds", absent=math.nan),
            accept_all_actions=effort.number("accept_all_actions", absent=math.nan),
            accept_all_seconds=effort.number("accept_all_seconds", absent=math.nan),
            label_errors=effort.number("label_errors", absent=math.nan),
            by_hand_errors=effort.number("by_hand_errors", absent=math.nan),
        ),
    )


def _round(done: RoundResult, findings: tuple[str, ...]) -> Json:
    return {
        "round": done.round,
        "survivors": list(done.survivors),
        "missing": list(done.missing),
        # A round that nobody measured leaves these empty.
        "auroc": {
            key: None if kept is None else kept.value
            for key, kept in zip(findings, map(_finite, done.auroc), strict=bool(done.auroc))
        },
        "auroc_interval": {
            key: None if kept is None else [kept.low, kept.high]
            for key, kept in zip(findings, map(_finite, done.auroc), strict=bool(done.auroc))
        },
        "update_norm": _number(done.update_norm),
        "epsilon": _number(done.epsilon),
        "bytes_sent": done.bytes_sent,
    }


def _read_round(fields: Fields, findings: tuple[str, ...], seconds: float | None) -> RoundResult:
    return RoundResult(
        round=fields.count("round"),
        survivors=fields.texts("survivors"),
        missing=fields.texts("missing"),
        auroc=_read_by_finding(fields, findings),
        update_norm=fields.number("update_norm", absent=math.nan),
        epsilon=fields.number("epsilon", absent=math.inf),
        bytes_sent=fields.count("bytes_sent"),
        seconds=math.nan if seconds is None else seconds,
    )


def _read_by_finding(fields: Fields, findings: tuple[str, ...]) -> tuple[Estimate | None, ...]:
    values, intervals = fields.by_name("auroc", findings), fields.object("auroc_interval")
    return tuple(
        None if value is None else Estimate(value, *intervals.interval(key))
        for key, value in zip(findings, values, strict=True)
    )


def _read_bin(fields: Fields) -> CalibrationBin:
    return CalibrationBin(
        stated=fields.number("stated", absent=math.nan),
        observed=fields.number("observed", absent=math.nan),
        count=fields.count("count"),
    )


def _sheet_image(image: SheetImage) -> Json:
    return {
        "site": image.site,
        "source": image.source,
        "finding": image.finding,
        "probability": _number(image.probability),
        "present": image.present,
        "image": _png(image.image),
        "heatmap": _png(image.heatmap),
        "proposed": _png(image.proposed),
        "truth": _png(image.truth),
    }


def _read_sheet_image(fields: Fields) -> SheetImage:
    return SheetImage(
        site=fields.text("site"),
        source=fields.text("source"),
        finding=fields.text("finding"),
        probability=fields.number("probability", absent=math.nan),
        present=fields.flag("present"),
        image=fields.decoded("image", _unpng, "base64"),
        heatmap=fields.decoded("heatmap", _unpng, "base64"),
        proposed=fields.decoded("proposed", _unpng, "base64"),
        truth=fields.decoded("truth", _unpng, "base64"),
    )


def _png(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unpng(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
