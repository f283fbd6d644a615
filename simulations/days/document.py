"""days.json and days.csv: the loops for machines. docs/days.md documents every key."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

from ..report.fields import Json
from ..report.machine import to_csv, to_json
from .course import Work
from .running import Days
from .table import headline, lines, notes

SCHEMA = "medquorum.days/1"


def dump(days: Days, command: str) -> str:
    """The text of days.json, ending with a newline."""
    document: dict[str, object] = {
        "schema": SCHEMA,
        "study": days.study.name,
        "synthetic": days.study.synthetic,
        "headline": headline(days),
        "model": days.model,
        "terms": asdict(days.study.days),
        "lines": [asdict(line) for line in lines(days)],
        "courses": [asdict(course) for course in days.courses],
        "notes": notes(days),
        "manifest": days.manifest,
        "command": command,
        "timing": {"seconds": days.seconds},
    }
    return to_json(cast("dict[str, Json]", document))


def table(days: Days) -> str:
    """The text of days.csv: one row for each seed, order and day; empty cells where there is no figure."""
    rows: list[dict[str, object]] = [
        {
            "seed": course.seed,
            "order": course.order,
            "day": day.day,
            "studies": day.studies,
            "trained_on": day.trained_on,
            "most_read": day.most_read,
            "images": day.work.images,
            **_work("", day.work),
            **_work("by_hand_", day.by_hand),
            **_work("commoner_", day.commoner),
            "auroc": day.auroc,
            "night": day.night,
            "committed": day.committed,
            "renyi": day.renyi,
        }
        for course in days.courses
        for day in course.days
    ]
    return to_csv(rows)


def _work(prefix: str, work: Work) -> dict[str, object]:
    return {f"{prefix}actions": work.actions, f"{prefix}seconds": work.seconds, f"{prefix}error": work.error}
