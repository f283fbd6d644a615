"""The files of the loops over days: days.json, days.csv, days.md, the plots as PNG, and days.html."""

from __future__ import annotations

from pathlib import Path

from ..report.files import Named, keep_plots
from . import document, show
from .running import Days


def write(days: Days, command: str, folder: Path) -> list[Named]:
    """Write every file into `folder`, replacing earlier ones; figures first, should a plot fail."""
    files = [
        ("All their figures, for your own plots", folder / "days.json"),
        ("Every day for a spreadsheet", folder / "days.csv"),
        ("The tables for a page of text", folder / "days.md"),
    ]
    for (_, path), text in zip(
        files, (document.dump(days, command), document.table(days), show.markdown(days)), strict=True
    ):
        path.write_text(text, encoding="utf-8")
    # matplotlib and jinja2 take a second to import, and only here.
    from . import page, plots

    drawn = plots.draw_all(days)
    keep_plots(drawn, folder)
    html = folder / "days.html"
    html.write_text(page.render(days, command, drawn), encoding="utf-8")
    return [("Read it in a browser", html), *files]
