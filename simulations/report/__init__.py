"""The report of a study: report.json (everything), report.html (for people) and the plots as PNG files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .document import Report, dump, from_document, load, to_document
from .files import keep_plots

__all__ = ["Report", "Written", "dump", "from_document", "load", "to_document", "write"]


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a report."""

    json: Path
    html: Path
    plots: tuple[Path, ...]


def write(report: Report, folder: Path) -> Written:
    """Write report.json, report.html and plots/*.png into `folder`, replacing an earlier report there.

    report.json comes first: should a plot fail, the figures of a long run are not lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    json, html = folder / "report.json", folder / "report.html"
    json.write_text(dump(report), encoding="utf-8")
    # matplotlib and jinja2 take a second to import, and only here.
    from . import page
    from .plots import draw_all

    plots = draw_all(report.result)
    paths = keep_plots(plots, folder)
    html.write_text(page.render(report, plots), encoding="utf-8")
    return Written(json, html, paths)
