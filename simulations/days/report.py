"""The files of the loops over days: days.json, days.csv, days.md, the plots as PNG, and days.html."""

from __future__ import annotations

from pathlib import Path

from ..report.files import Named, keep_plots, keep_texts
from . import document, show
from .running import Days


def write(days: Days, command: str, folder: Path) -> list[Named]:
    """Write every file into `folder`, replacing earlier ones; figures first, should a plot fail."""
    files = keep_texts(
        [
            ("All their figures, for your own plots", "days.json", document.dump(days, command)),
            ("Every day for a spreadsheet", "days.csv", document.table(days)),
            ("The tables for a page of text", "days.md", show.markdown(days)),
        ],
        folder,
    )
    # matplotlib and jinja2 take a second to import, and only here.
    from . import page, plots

    drawn = plots.draw_all(days)
    keep_plots(drawn, folder)
    html = page.render(days, command, drawn)
    return keep_texts([("Read it in a browser", "days.html", html)], folder) + files
