"""The loops in a terminal, and as Markdown for the documentation."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..console import bullet, next_steps
from ..report import figures, statements
from .running import Days
from .table import Line, Mean, by_day, headline, lines, notes, saved_after

HEADERS = (
    "actions a study",
    "seconds a study",
    "time saved",
    "actions saved",
    "label errors",
    "no worse than by hand",
    "accepted unseen",
    "of them right",
    "hospitals able",
)


def cells(line: Line) -> list[str]:
    """A line's figures, one for each of HEADERS: means over seeds, with the least and the most."""
    return [
        f"{line.actions.value:.1f}",
        f"{line.seconds.value:.1f}",
        _range(line.saved),
        _range(line.saved_actions),
        _range(line.error, 1),
        f"{line.better} of {line.seeds}",
        figures.NONE if line.unseen is None else _range(line.unseen),
        figures.NONE if line.precision is None else _percent(line.precision, 1),
        f"{line.able} of {line.sites}" if line.sites else figures.NONE,
    ]


def day_headers(days: Days) -> list[str]:
    """Of the table by day: the orders' figures side by side."""
    names = ("studies", "trained on", "AUROC", "time saved", "errors")
    return [f"{order}: {name}" for order in days.study.days.orders for name in names] + ["errors by hand", "committed"]


def day_rows(days: Days) -> list[tuple[str, list[str]]]:
    """The days after which the federation meant to train, the first and the last."""
    terms = days.study.days
    wanted = [day for day in range(1, terms.days + 1) if day in (1, terms.days) or terms.trains(day)]
    found: list[tuple[str, list[str]]] = []
    for day in wanted:
        written: list[str] = []
        for order in terms.orders:
            courses = days.of(order)
            values = [
                dict(by_day(courses, value)).get(day)
                for value in (
                    lambda one: float(one.studies),
                    lambda one: float(one.trained_on),
                    lambda one: one.auroc,
                    saved_after,
                    lambda one: one.work.error,
                )
            ]
            written += [
                _count(values[0]), _count(values[1]), figures.NONE if values[2] is None else f"{values[2].value:.3f}",
                _plain(values[3]), _plain(values[4], 1),
            ]  # fmt: skip
        courses = days.of(terms.orders[0])
        by_hand = dict(by_day(courses, lambda one: one.by_hand.error)).get(day)
        committed = max(one.days[day - 1].committed for one in days.courses)
        found.append((str(day), [*written, _plain(by_hand, 1), f"{committed:g}"]))
    return found


def summary(days: Days, target: Console, files: list[tuple[str, str]]) -> None:
    """The headline, what labelling everything takes, what to keep in mind and where the files are, on `target`."""
    target.print()
    target.print(headline(days), style="bold", markup=False, highlight=False)
    target.print()
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    shown.add_column("Everything labelled", overflow="fold", min_width=24)
    for header in ("Actions\na study", "Seconds\na study", "Time\nsaved", "Label\nerrors", "Accepted\nunseen", "Right"):
        shown.add_column(header, justify="right", no_wrap=True)
    for line in lines(days):
        actions, seconds, saved, _, error, _, unseen, right, _ = (one.split(" (")[0] for one in cells(line))
        shown.add_row(escape(line.label), actions, seconds, saved, error, unseen, right)
    target.print(shown)
    target.print()
    for note in (*notes(days), statements.RESEARCH_USE):
        bullet(target, note, "dim")
    next_steps(files, target)


def markdown(days: Days) -> str:
    """The two tables and their notes as Markdown, for a page of the documentation."""
    said = [f"**{headline(days)}**. Model: {days.model}.", ""]
    said += _table(["everything labelled", *HEADERS], [(line.label, cells(line)) for line in lines(days)])
    said += ["", *_table(["day", *day_headers(days)], day_rows(days)), "", *(f"- {note}" for note in notes(days))]
    return "\n".join(said) + "\n"


def _table(headers: list[str], rows: list[tuple[str, list[str]]]) -> list[str]:
    return [
        "| " + " | ".join(headers) + " |",
        "|---" * len(headers) + "|",
        *("| " + " | ".join([label, *values]) + " |" for label, values in rows),
    ]


def _percent(share: float, places: int = 0) -> str:
    return f"{100 * share + 0.0:.{places}f} %"


def _plain(mean: Mean | None, places: int = 0) -> str:
    return figures.NONE if mean is None else _percent(mean.value, places)


def _count(mean: Mean | None) -> str:
    return figures.NONE if mean is None else f"{mean.value:,.0f}"


def _range(mean: Mean, places: int = 0) -> str:
    if mean.low == mean.high:
        return _percent(mean.value, places)
    joint = " to " if mean.low < 0.0 else "–"
    return f"{_percent(mean.value, places)} ({100 * mean.low:.{places}f}{joint}{100 * mean.high:.{places}f})"
