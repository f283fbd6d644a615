"""The files of a comparison: compare.json, compare.csv, compare.md, the plots as PNG, and compare.html."""

from __future__ import annotations

from pathlib import Path

from ..report.files import Named, keep_plots, keep_texts
from . import document, show
from .rows import Comparison


def write(comparison: Comparison, command: str, folder: Path) -> list[Named]:
    """Write every file into `folder`, replacing earlier ones; figures first, should a plot fail."""
    files = keep_texts(
        [
            ("All its figures, for your own plots", "compare.json", document.dump(comparison, command)),
            ("The table for a spreadsheet", "compare.csv", document.table(comparison)),
            ("The table for a page of text", "compare.md", show.markdown(comparison)),
        ],
        folder,
    )
    # matplotlib and jinja2 take a second to import, and only here.
    from . import page, plots

    drawn = plots.draw_all(comparison)
    keep_plots(drawn, folder)
    return (
        keep_texts([("Read it in a browser", "compare.html", page.render(comparison, command, drawn))], folder) + files
    )
