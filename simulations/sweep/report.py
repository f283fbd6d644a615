"""The files of a sweep: sweep.json, sweep.csv, sweep.md and the plots as PNG."""

from __future__ import annotations

from pathlib import Path

from ..report.files import Named, keep_plots
from . import document, show
from .rows import Sweep


def write(sweep: Sweep, command: str, folder: Path) -> list[Named]:
    """Write every file into `folder`, replacing earlier ones, figures first should a plot fail: (what for, path)."""
    files = [
        ("All its figures, for your own plots", folder / "sweep.json"),
        ("A row for each cell, for a spreadsheet", folder / "sweep.csv"),
        ("The summary for a page of text", folder / "sweep.md"),
    ]
    texts = (document.dump(sweep, command), document.table(sweep), show.markdown(sweep))
    for (_, path), text in zip(files, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    # matplotlib takes a second to import, and only here.
    from . import plots

    drawn = keep_plots(plots.draw_all(sweep), folder)
    return [*files, (f"Its {len(drawn)} plots", folder / "plots")]
