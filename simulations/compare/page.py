"""compare.html: the page of a comparison, in the look of a study's report."""

from __future__ import annotations

from collections.abc import Mapping

from ..report import figures
from ..report.pages import beside, pictures, rendered
from . import show
from .plots import PLOTS
from .rows import Comparison


def render(comparison: Comparison, command: str, plots: Mapping[str, bytes]) -> str:
    """The page's HTML; `plots` are the PNG bytes of `plots.draw_all`."""
    columns = show.columns(comparison)
    versions = comparison.manifest["versions"]
    assert isinstance(versions, dict)
    return rendered(
        beside(__name__, "compare.html"),
        study=comparison.study,
        headline=show.headline(comparison),
        leads=[comparison.description],
        synthetic=comparison.synthetic,
        notices=comparison.notes,
        findings=comparison.findings,
        headers=["Trained", *(column.header for column in columns)],
        rows=[(row.label, *show.cells(row, columns)) for row in comparison.rows],
        pictures=pictures(plots, {plot.name: plot.alternative for plot in PLOTS}),
        command=command,
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
    )
