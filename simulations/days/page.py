"""days.html: one self-contained page (no script, nothing fetched), in the look of a study's report."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from ..report import figures, statements
from ..report.page import data_uri, shown_width
from . import show, table
from .plots import PLOTS
from .running import Days


def render(days: Days, command: str, plots: Mapping[str, bytes]) -> str:
    """The page's HTML; `plots` are the PNG bytes of `plots.draw_all`. Names are untrusted: every one is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    here = resources.files(__name__.rpartition(".")[0])
    look = resources.files(statements.__name__.rpartition(".")[0]).joinpath("templates", "report.css")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    versions = days.manifest["versions"]
    assert isinstance(versions, dict)
    return environment.from_string(here.joinpath("days.html").read_text(encoding="utf-8")).render(
        study=days.study,
        style=Markup(look.read_text(encoding="utf-8")),
        headline=table.headline(days),
        notes=table.notes(days),
        headers=show.HEADERS,
        rows=[(line.label, show.cells(line)) for line in table.lines(days)],
        day_headers=show.day_headers(days),
        day_rows=show.day_rows(days),
        pictures=[
            (data_uri(plots[plot.name]), plot.alternative, shown_width(plots[plot.name]))
            for plot in PLOTS
            if plot.name in plots
        ],
        facts=[
            ("model", days.model),
            ("study", str(days.manifest["study_hash"])),
            ("data", str(days.manifest["data_hash"])),
            ("wall clock", figures.duration(days.seconds)),
            *((str(name), str(value)) for name, value in versions.items()),
        ],
        command=command,
        research_use=statements.RESEARCH_USE,
    )
