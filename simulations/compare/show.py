"""A comparison's table in a terminal, and as Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..console import bullet, next_steps
from ..report import figures, statements
from ..results import Estimate
from .rows import Comparison, Row

REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: its header and what it writes of a row that has figures."""

    header: str
    write: Callable[[Row], str]


def columns(comparison: Comparison) -> list[Column]:
    """The columns that have anything to say in this comparison."""
    found = [
        Column("AUROC", lambda row: digits(row.auroc.value if row.auroc else None)),
        Column("95 % interval", lambda row: interval(row.auroc)),
        Column("± seeds", lambda row: digits(row.spread)),
        Column("gap to pooled", lambda row: figures.NONE if row.kind == "pooled" else both(row.gap)),
        Column("own patients", lambda row: digits(row.own)),
        Column("worst hospital", lambda row: digits(row.worst)),
        Column("worst ever", lambda row: digits(row.worst_ever)),
    ]
    if len(comparison.findings) > 1:
        found += [
            Column(key, lambda row, at=at: digits(row.by_finding[at] if row.by_finding else None))
            for at, key in enumerate(comparison.findings)
        ]
    found.append(Column("calibration error", lambda row: digits(row.calibration_error)))
    if any(row.dice is not None for row in comparison.rows):
        found += [
            Column("Dice", lambda row: both(row.dice, 2)),
            Column("pointing", lambda row: both(row.pointing, 2)),
        ]
    found += [
        Column("noise", lambda row: figures.NONE if row.noise_multiplier is None else f"{row.noise_multiplier:.3g}"),
        Column("steps", lambda row: str(row.steps) if row.steps else figures.NONE),
    ]
    return found


def digits(value: float | None, places: int = 3) -> str:
    """A figure with so many digits after the point."""
    return figures.NONE if value is None else f"{value:.{places}f}"


def interval(estimate: Estimate | None, places: int = 3) -> str:
    """The 95 % interval, "0.812–0.921"."""
    return figures.NONE if estimate is None else f"{estimate.low:.{places}f}–{estimate.high:.{places}f}"


def both(estimate: Estimate | None, places: int = 3) -> str:
    """Value and interval, "0.871 (0.812–0.921)"; the interval of what may be negative with "to"."""
    if estimate is None:
        return figures.NONE
    joint = " to " if estimate.low < 0.0 else "–"
    return f"{estimate.value:.{places}f} ({estimate.low:.{places}f}{joint}{estimate.high:.{places}f})"


def cells(row: Row, wanted: Sequence[Column]) -> list[str]:
    """A row's figures; "refused" in the first of them where it has none."""
    if not row.cells:
        return [REFUSED] + [""] * (len(wanted) - 1)
    return [column.write(row) for column in wanted]


def headline(comparison: Comparison) -> str:
    """What was compared, in one sentence."""
    return (
        f"{comparison.study}: {figures.count(comparison.images, 'image')} of "
        f"{figures.count(comparison.train_patients + comparison.test_patients, 'patient')} in "
        f"{figures.count(len(comparison.hospitals), 'hospital')}, "
        f"{figures.count(comparison.test_patients, 'patient')} never trained on; "
        f"{figures.count(len(comparison.seeds), 'seed')}"
    )


def summary(comparison: Comparison, target: Console, files: list[tuple[str, str]]) -> None:
    """The headline, the table, what to keep in mind and where the files are, on `target`."""
    target.print()
    target.print(headline(comparison), style="bold", markup=False, highlight=False)
    target.print()
    target.print(_table(comparison))
    target.print()
    for note in (*comparison.notes, statements.RESEARCH_USE):
        bullet(target, note, "dim")
    next_steps(files, target)


def _table(comparison: Comparison) -> Table:
    """Narrow enough for 80 columns: an interval stands under its figure. The files have every column."""
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_edge=False,
        caption="AUROC on all hospitals' held-out patients; own: on each hospital's, its mean and worst.",
        caption_justify="left",
    )
    table.add_column("Trained", overflow="fold", min_width=12)
    regions = any(row.dice is not None for row in comparison.rows)
    headers = ["AUROC", "Gap to\npooled", "Own\n(worst)", "Calib.\nerror", *(["Dice", "Pointing"] if regions else [])]
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for row in comparison.rows:
        if not row.cells:
            table.add_row(escape(row.label), f"[yellow]{REFUSED}[/yellow]")
            continue
        figures_of = [
            _over(row.auroc),
            figures.NONE if row.kind == "pooled" else _over(row.gap),
            f"{digits(row.own)}\n[dim]({digits(row.worst)})[/dim]",
            digits(row.calibration_error),
            *([_over(row.dice, 2), _over(row.pointing, 2)] if regions else []),
        ]
        table.add_row(escape(row.label), *figures_of)
    return table


def _over(estimate: Estimate | None, places: int = 3) -> str:
    if estimate is None:
        return figures.NONE
    joint = " to " if estimate.low < 0.0 else "–"
    low, high = digits(estimate.low, places), digits(estimate.high, places)
    return f"{digits(estimate.value, places)}\n[dim]{low}{joint}{high}[/dim]"


def markdown(comparison: Comparison) -> str:
    """The table and its notes as Markdown, for a page of the documentation."""
    wanted = columns(comparison)
    lines = [
        f"**{headline(comparison)}** ({comparison.partition}). Seeds {_listed(comparison.seeds)}; "
        f"delta {comparison.delta:g}; model: {comparison.model}.",
        "",
        "| " + " | ".join(["trained", *(column.header for column in wanted)]) + " |",
        "|---" * (len(wanted) + 1) + "|",
    ]
    lines += ["| " + " | ".join(map(_plain, [row.label, *cells(row, wanted)])) + " |" for row in comparison.rows]
    lines += ["", *(f"- {_plain(note)}" for note in comparison.notes)]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _listed(seeds: Sequence[int]) -> str:
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
