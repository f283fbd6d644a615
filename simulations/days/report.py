"""The files of the loops over days: days.json, days.csv, days.md, the plots as PNG, and days.html."""

from __future__ import annotations

from pathlib import Path

from ..compare.report import Written
from . import document, show
from .running import Days


def write(days: Days, command: str, folder: Path) -> list[Written]:
    """Write every file into `folder`, replacing earlier ones; figures first, should a plot fail."""
    files = [
        Written("All their figures, for your own plots", folder / "days.json"),
        Written("Every day for a spreadsheet", folder / "days.csv"),
        Written("The tables for a page of text", folder / "days.md"),
    ]
    for file, text in zip(
        files, (document.dump(days, command), document.table(days), show.markdown(days)), strict=True
    ):
        file.path.write_text(text, encoding="utf-8")
    # matplotlib and jinja2 take a second to import, and only here.
    from . import page, plots

    drawn = plots.draw_all(days)
    place = folder / "plots"
    place.mkdir(exist_ok=True)
    for name, png in drawn.items():
        (place / f"{name}.png").write_bytes(png)
    html = folder / "days.html"
    html.write_text(page.render(days, command, drawn), encoding="utf-8")
    return [Written("Read it in a browser", html), *files]
