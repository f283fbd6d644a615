"""Table E.1-1 of DICOM PS3.15 as data: which element may identify somebody, and what each option does to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Row:
    """One attribute of the table. vr: from PS3.6. basic: its code under the basic profile, such as "X/Z/D".

    options: for each option that treats it otherwise, "K" (keep) or "C" (clean); the options' names are those of
    e1_1.json: uids, device, institution, patient, full_dates, modified_dates, descriptors, structured, graphics.
    """

    tag: int
    vr: str
    basic: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """The table of one edition of the standard, by tag. Private groups, curves and overlays are not rows here: they
    are removed as groups, whatever their element numbers."""

    edition: str
    rows: Mapping[int, Row]


@cache
def table() -> Table:
    """The table that this version of medquorum comes with."""
    plain = json.loads(files(__name__.rpartition(".")[0]).joinpath("e1_1.json").read_text(encoding="ascii"))
    rows = {int(tag, 16): Row(int(tag, 16), vr, basic, options) for tag, vr, basic, options in plain["rows"]}
    return Table(plain["edition"], rows)
