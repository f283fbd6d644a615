"""The files of a comparison: compare.json, compare.csv, compare.md, the plots as PNG, and compare.html."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import document, show
from .rows import Comparison


@dataclass(frozen=True, slots=True)
class Written:
    """A file and what it is good for."""

    what: str
    path: Path


def write(comparison: Comparison, command: str, folder: Path) -> list[Written]:
    """Write every file into `folder`, replacing earlier ones; figures first, should a plot fail."""
    files = [
        Written("All its figures, for your own plots", folder / "compare.json"),
        Written("The table for a spreadsheet", folder / "compare.csv"),
        Written("The table for a page of text", folder / "compare.md"),
    ]
    texts = (document.dump(comparison, command), document.table(comparison), show.markdown(comparison))
    for file, text in zip(files, texts, strict=True):
        file.path.write_text(text, encoding="utf-8")
    # matplotlib and jinja2 take a second to import, and only here.
    from . import page, plots

    drawn = plots.draw_all(comparison)
    place = folder / "plots"
    place.mkdir(exist_ok=True)
    for name, png in drawn.items():
        (place / f"{name}.png").write_bytes(png)
    html = folder / "compare.html"
    html.write_text(page.render(comparison, command, drawn), encoding="utf-8")
    return [Written("Read it in a browser", html), *files]
