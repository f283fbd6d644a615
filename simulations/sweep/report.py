"""The files of a sweep: sweep.json, sweep.csv, sweep.md and the plots as PNG."""

from __future__ import annotations

from pathlib import Path

from ..report.files import Named, keep_plots, keep_texts
from . import document, show
from .rows import Sweep


def write(sweep: Sweep, command: str, folder: Path) -> list[Named]:
    """Write every file into `folder`, replacing earlier ones, figures first should a plot fail: (what for, path)."""
    files = keep_texts(
        [
            ("All its figures, for your own plots", "sweep.json", document.dump(sweep, command)),
            ("A row for each cell, for a spreadsheet", "sweep.csv", document.table(sweep)),
            ("The summary for a page of text", "sweep.md", show.markdown(sweep)),
        ],
        folder,
    )
    # matplotlib takes a second to import, and only here.
    from . import plots

    drawn = keep_plots(plots.draw_all(sweep), folder)
    return [*files, (f"Its {len(drawn)} plots", folder / "plots")]
