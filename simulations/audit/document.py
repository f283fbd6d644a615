"""audit.json: every figure of an audit."""

from __future__ import annotations

from dataclasses import asdict

from ..outcome import versions
from ..report.fields import Json
from ..report.machine import to_json
from ..results import Estimate
from . import words
from .mechanism import Mechanism
from .membership import RATES, Membership
from .running import Arm, Audit

SCHEMA = "medquorum.audit/1"


def dump(audit: Audit, command: str) -> str:
    """The document's text."""
    document: dict[str, Json] = {
        "schema": SCHEMA,
        "study": audit.study,
        "synthetic": audit.synthetic,
        "hospitals": list(audit.hospitals),
        "command": command,
        "options": asdict(audit.options),
        "confidence": audit.confidence,
        "refuted": audit.refuted,
        "verdicts": [{"good": one.good, "text": one.text} for one in words.verdicts(audit)],
        "arms": [_arm(arm) for arm in audit.arms],
        "inversion": {
            "features": [asdict(one) for one in audit.inversion.features],
            "images": [asdict(one) for one in audit.inversion.images],
        },
        "versions": dict(versions()),
        "seconds": audit.seconds,
    }
    return to_json(document)


def _arm(arm: Arm) -> Json:
    return {
        "mode": arm.mode,
        "refuted": arm.refuted,
        "canaries": [
            {
                "seed": run.seed,
                "ledger": run.ledger,
                "canaries": int(run.included.size),
                "included": int(run.included.sum()),
                "bounds": [asdict(bound) for bound in run.bounds],
            }
            for run in arm.canaries
        ],
        "membership": _membership(arm.membership),
        "mechanism": None if arm.mechanism is None else _mechanism(arm.mechanism),
    }


def _membership(found: Membership) -> Json:
    return {
        "patients": found.patients,
        "trainings": found.trainings,
        "auc": _estimate(found.auc),
        "hit_rates": [
            {"false_alarms": rate, "hits": _estimate(one)} for rate, one in zip(RATES, found.hit_rates, strict=True)
        ],
    }


def _mechanism(found: Mechanism) -> Json:
    names = ("draws", "delta", "noise_multiplier", "claim", "shift", "deviation", "deviation_most", "reach", "apart")
    figures: dict[str, Json] = {name: getattr(found, name) for name in names}
    # Without any noise no epsilon would do; JSON has no word for that.
    bound = None if found.epsilon == float("inf") else found.epsilon
    return {**figures, "epsilon": bound, "epsilon_free": found.epsilon_free, "refuted": found.refuted}


def _estimate(one: Estimate) -> Json:
    return [one.value, one.low, one.high]
