"""compare.html: one self-contained page (no script, nothing fetched), in the look of a study's report."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from ..report import figures, statements
from ..report.page import data_uri, shown_width
from . import show
from .plots import PLOTS
from .rows import Comparison


def render(comparison: Comparison, command: str, plots: Mapping[str, bytes]) -> str:
    """The page's HTML; `plots` are the PNG bytes of `plots.draw_all`. Names are untrusted: every one is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    here = resources.files(__name__.rpartition(".")[0])
    look = resources.files(statements.__name__.rpartition(".")[0]).joinpath("templates", "report.css")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    columns = show.columns(comparison)
    versions = comparison.manifest["versions"]
    assert isinstance(versions, dict)
    return environment.from_string(here.joinpath("compare.html").read_text(encoding="utf-8")).render(
        comparison=comparison,
        style=Markup(look.read_text(encoding="utf-8")),
        headline=show.headline(comparison),
        headers=[column.header for column in columns],
        rows=[(row.label, show.cells(row, columns)) for row in comparison.rows],
        pictures=[
            (data_uri(plots[plot.name]), plot.alternative, shown_width(plots[plot.name]))
            for plot in PLOTS
            if plot.name in plots
        ],
        facts=[
            ("hospitals", f"{', '.join(comparison.hospitals)}: {comparison.partition}"),
            ("seeds", ", ".join(map(str, comparison.seeds))),
            ("delta", f"{comparison.delta:g}"),
            ("model", comparison.model),
            ("study", str(comparison.manifest["study_hash"])),
            ("data", str(comparison.manifest["data_hash"])),
            ("wall clock", figures.duration(comparison.seconds)),
            *((str(name), str(value)) for name, value in versions.items()),
        ],
        command=command,
        research_use=statements.RESEARCH_USE,
    )
