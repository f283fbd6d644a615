"""How figures are written for machines: one place, so that the documents of every command are alike."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence

from ..results import Estimate
from .fields import Json


def to_json(document: Mapping[str, Json]) -> str:
    """The text of a JSON file, ending with a newline. JSON has no infinity and no NaN: ValueError for either."""
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """The text of a CSV file with the first row's keys as its head; None becomes an empty cell."""
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def columns(name: str, estimate: Estimate | None) -> dict[str, Json]:
    """An estimate as three columns: NAME, NAME_low and NAME_high; all None where there is none."""
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
