"""A sweep's summary in a terminal and as Markdown: one line for the cells that differ in their seed alone."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..console import bullet, next_steps
from ..report import figures, statements
from .rows import Series, Sweep, series_of

REFUSED = "refused"
_HEADERS = ("cells", "AUROC", "95 % interval", "± seeds", "own patients", "worst hospital", "worst ever", "noise")


def headline(sweep: Sweep) -> str:
    """What was swept, in one sentence."""
    axes = " × ".join(f"{axis.key.rpartition('.')[2]} ({len(axis.values)})" for axis in sweep.axes)
    return f"{sweep.study}: {figures.count(len(sweep.cells), 'cell')}, {axes}"


def lines(sweep: Sweep) -> list[tuple[str, list[str]]]:
    """(label, figures under _HEADERS) of each line."""
    return [(one.label, _figures(one)) for one in series_of(sweep)]


def _figures(one: Series) -> list[str]:
    if not one.done:
        return [f"{REFUSED} ({len(one.refused)})", *[""] * (len(_HEADERS) - 1)]
    count = str(len(one.done)) + (f" + {len(one.refused)} {REFUSED}" if one.refused else "")
    noise = [found.noise_multiplier for found in one.done if found.noise_multiplier is not None]
    worst = one.worst
    return [
        count,
        _digits(one.auroc.value if one.auroc else None),
        f"{one.auroc.low:.3f}–{one.auroc.high:.3f}" if one.auroc else figures.NONE,
        _digits(one.spread),
        _digits(one.own),
        _digits(worst.value if worst else None),
        _digits(worst.low if worst else None),
        f"{max(noise):.3g}" if noise else figures.NONE,
    ]


def _digits(value: float | None) -> str:
    return figures.NONE if value is None else f"{value:.3f}"


def reasons(sweep: Sweep) -> list[str]:
    """Why cells were refused, each reason once."""
    said: dict[str, int] = {}
    for one in series_of(sweep):
        for refusal in one.refused:
            text = f"{one.label}: refused: {refusal.reason}; {refusal.fix}"
            said[text] = said.get(text, 0) + 1
    return [f"{text}." + (f" ({count} cells)" if count > 1 else "") for text, count in said.items()]


def notes(sweep: Sweep) -> list[str]:
    """What a reader of the figures should know."""
    said = [
        "A cell is the federation that the study plans with these values, on the data set's own labels; nothing is "
        "measured between rounds.",
        "Intervals are percentiles of bootstrap draws by patient; the worst hospital is on its own held-out patients, "
        "as the mean over seeds, worst ever the least of any seed.",
        "Updates were summed in the clear and noise came from a seed: only a simulation may.",
    ]
    if sweep.synthetic:
        said.insert(0, "Every image is a synthetic phantom; the figures say nothing about patients.")
    return [*said, *reasons(sweep)]


def summary(sweep: Sweep, target: Console, files: list[tuple[str, str]]) -> None:
    """The headline, the table, what to keep in mind and where the files are, on `target`."""
    target.print()
    target.print(headline(sweep), style="bold", markup=False, highlight=False)
    target.print()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("Cell", overflow="fold", min_width=12)
    for header in ("Cells", "AUROC", "Own\n(worst)"):
        table.add_column(header, justify="right", no_wrap=True)
    for label, cells in lines(sweep):
        if not cells[1]:
            table.add_row(escape(label), f"[yellow]{cells[0]}[/yellow]")
        else:
            table.add_row(
                escape(label), cells[0], f"{cells[1]}\n[dim]{cells[2]}[/dim]", f"{cells[4]}\n[dim]({cells[5]})[/dim]"
            )
    target.print(table)
    target.print()
    for note in (*notes(sweep), statements.RESEARCH_USE):
        bullet(target, note, "dim")
    next_steps(files, target)


def markdown(sweep: Sweep) -> str:
    """The summary and its notes as Markdown, for a page of the documentation."""
    written = [f"**{headline(sweep)}**", "", "| " + " | ".join(["cell", *_HEADERS]) + " |"]
    written.append("|---" * (len(_HEADERS) + 1) + "|")
    written += ["| " + " | ".join(map(_plain, [label, *cells])) + " |" for label, cells in lines(sweep)]
    written += ["", *(f"- {_plain(note)}" for note in notes(sweep))]
    return "\n".join(written) + "\n"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
