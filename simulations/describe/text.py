"""A division in words: a table of plain text for terminals and logs, and its form for machines."""

from __future__ import annotations

from collections.abc import Sequence

from ..report import figures
from ..report.fields import Json
from ..report.machine import to_csv, to_json
from .division import Division, Side, SiteDivision

SCHEMA = "medquorum.partition/1"


def headline(division: Division) -> str:
    """The division in one sentence."""
    return (
        f"{division.study}, seed {division.seed}: {figures.count(division.images, 'image')} of "
        f"{figures.count(division.patients, 'patient')} in {figures.count(len(division.sites), 'hospital')} "
        f"({division.how})"
    )


def table(division: Division) -> str:
    """The headline and a line for each hospital: patients and images to train on + held out, and prevalence."""
    header = ["hospital", "patients", "images", *(f"{key}, %" for key in division.findings)]
    look = division.look.partition(":")[0]
    header += [look] if look else []
    rows = [_cells(division, site) for site in division.sites]
    widths = [max(len(row[at]) for row in (header, *rows)) for at in range(len(header))]
    lines = [headline(division), "  training + held out"]
    lines += ["  " + _line(row, widths) for row in (header, *rows)]
    return "\n".join(lines)


def _cells(division: Division, site: SiteDivision) -> list[str]:
    def both(train: str, held_out: str) -> str:
        return f"{train} + {held_out}"

    def share(side: Side, finding: int) -> str:
        value = side.prevalence(finding)
        return figures.NONE if value is None else f"{100 * value:.0f}"

    train, held = site.train, site.held_out
    cells = [
        " ".join(site.name.split()),
        both(f"{train.patients:,}", f"{held.patients:,}"),
        both(f"{train.images:,}", f"{held.images:,}"),
        *(both(share(train, finding), share(held, finding)) for finding in range(len(division.findings))),
    ]
    return [*cells, f"{site.look:.3g}"] if site.look is not None else cells


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = cells
    return "  ".join(
        [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
    )


def dump(division: Division) -> str:
    """The text of partition.json; docs/researchers.md documents the keys."""
    document: dict[str, Json] = {
        "schema": SCHEMA,
        "study": division.study,
        "seed": division.seed,
        "how": division.how,
        "look": division.look,
        "patients": division.patients,
        "images": division.images,
        "sites": [_record(division, site) for site in division.sites],
    }
    return to_json(document)


def rows(division: Division) -> str:
    """The text of partition.csv: one row for each hospital."""
    return to_csv([_record(division, site) for site in division.sites])


def _record(division: Division, site: SiteDivision) -> dict[str, Json]:
    record: dict[str, Json] = {"site": site.name}
    for name, side in (("train", site.train), ("held_out", site.held_out)):
        record |= {f"{name}_patients": side.patients, f"{name}_images": side.images}
        record |= {f"{name}_prevalence_{key}": side.prevalence(at) for at, key in enumerate(division.findings)}
    return {**record, "aside_patients": site.aside, "look": site.look}
