"""The files of a comparison: compare.json, compare.csv, compare.md, the plots as PNG, and compare.html."""

from __future__ import annotations

from pathlib import Path

from ..report.files import Named, keep_plots
from . import document, show
from .rows import Comparison


def write(comparison: Comparison, command: str, folder: Path) -> list[Named]:
    """Write every file into `folder`, replacing earlier ones; figures first, should a plot fail."""
    files = [
        ("All its figures, for your own plots", folder / "compare.json"),
        ("The table for a spreadsheet", folder / "compare.csv"),
        ("The table for a page of text", folder / "compare.md"),
    ]
    texts = (document.dump(comparison, command), document.table(comparison), show.markdown(comparison))
    for (_, path), text in zip(files, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    # matplotlib and jinja2 take a second to import, and only here.
    from . import page, plots

    drawn = plots.draw_all(comparison)
    keep_plots(drawn, folder)
    html = folder / "compare.html"
    html.write_text(page.render(comparison, command, drawn), encoding="utf-8")
    return [("Read it in a browser", html), *files]
