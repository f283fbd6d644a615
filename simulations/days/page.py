"""days.html: the page of the loops over days, in the look of a study's report."""

from __future__ import annotations

from collections.abc import Mapping

from ..report import figures
from ..report.pages import beside, pictures, rendered
from . import show, table
from .plots import PLOTS
from .running import Days


def render(days: Days, command: str, plots: Mapping[str, bytes]) -> str:
    """The page's HTML; `plots` are the PNG bytes of `plots.draw_all`."""
    versions = days.manifest["versions"]
    assert isinstance(versions, dict)
    return rendered(
        beside(__name__, "days.html"),
        study=days.study.name,
        headline=table.headline(days),
        leads=[days.study.description],
        synthetic=days.study.synthetic,
        notices=table.notes(days),
        headers=["Labelled", *show.HEADERS],
        rows=[(line.label, *show.cells(line)) for line in table.lines(days)],
        day_headers=["Day", *show.day_headers(days)],
        day_rows=[(label, *cells) for label, cells in show.day_rows(days)],
        pictures=pictures(plots, {plot.name: plot.alternative for plot in PLOTS}),
        command=command,
        facts=[
            ("model", days.model),
            ("study", str(days.manifest["study_hash"])),
            ("data", str(days.manifest["data_hash"])),
            ("wall clock", figures.duration(days.seconds)),
            *((str(name), str(value)) for name, value in versions.items()),
        ],
    )
