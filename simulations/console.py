"""What a study shows in a terminal: progress on standard error while it runs, then its table on standard output."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TextIO

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from .progress import Event, Progress, StageAdvanced, StageFinished, StageStarted, Told
from .report import figures, statements
from .results import Estimate, SiteResult, StudyResult

# Where nobody reads a terminal's width, tables are not cut.
_PLAIN_WIDTH = 120
# A long stage says something at least this often when there is no bar to watch.
_HEARTBEAT_SECONDS = 10.0


def console(stream: TextIO) -> Console:
    """A rich console on `stream`, as wide as the terminal, or 120 columns where there is none."""
    probe = Console(file=stream)
    return probe if probe.is_terminal else Console(file=stream, width=_PLAIN_WIDTH)


@contextmanager
def watching(stream: TextIO, *, bars: bool = True) -> Generator[Progress]:
    """A watcher for run_study that draws on `stream`: a bar for the stage that runs, a line for each that is over;
    plain lines where `stream` is no terminal, or without `bars`, so that a log on the same stream stays readable."""
    target = console(stream)
    if not (bars and target.is_terminal):
        yield _Lines(lambda line: target.print(line, markup=False, highlight=False, soft_wrap=True))
        return
    with Bars(
        TextColumn("  {task.description}", markup=False),
        BarColumn(bar_width=28),
        _Counted(),
        TimeElapsedColumn(),
        _Left(),
        console=target,
        transient=True,
    ) as live:
        yield _LiveBars(live)


class _Counted(ProgressColumn):
    """Steps done of all, "564/918"; those done alone where nobody knows how many there will be."""

    def render(self, task: Task) -> Text:
        """The column's text for `task`."""
        done = f"{task.completed:,.0f}"
        return Text(f"{done}/{task.total:,.0f}" if task.total is not None else done if task.completed else "")


class _Left(ProgressColumn):
    """The time left, where it can be foretold."""

    def render(self, task: Task) -> Text:
        """The column's text for `task`."""
        left = task.time_remaining
        return Text("" if left is None or task.finished else f"about {figures.duration(left)} left")


class _LiveBars:
    """One live bar for each running stage; a stage that ends leaves a line and takes its bar away."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case StageStarted(stage, total):
                self._tasks[stage] = self._bars.add_task(stage, total=total or None)
            case StageAdvanced(stage, done):
                self._bars.update(self._tasks[stage], completed=done)
            case StageFinished(stage, seconds):
                self._bars.remove_task(self._tasks.pop(stage))
                self._bars.console.print(
                    f"  [green]✓[/green] {escape(stage)} [dim]{figures.duration(seconds)}[/dim]", highlight=False
                )
            case Told(text):
                self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Lines:
    """A line when a stage starts, one when it is over, and one now and then in between."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._totals: dict[str, int] = {}
        self._started: dict[str, float] = {}
        self._spoken = 0.0

    def __call__(self, event: Event) -> None:
        now = self._clock()
        match event:
            case StageStarted(stage, total):
                self._totals[stage], self._started[stage], self._spoken = total, now, now
                self._say(f"{stage} ..." if total == 0 else f"{stage} (0 of {total:,}) ...")
            case StageAdvanced(stage, done):
                if now - self._spoken >= _HEARTBEAT_SECONDS:
                    self._spoken = now
                    self._say(self._heartbeat(stage, done, now))
            case StageFinished(stage, seconds):
                self._say(f"{stage}: done in {figures.duration(seconds)}")
            case Told(text):
                self._say(text)

    def _heartbeat(self, stage: str, done: int, now: float) -> str:
        total = self._totals[stage]
        if not total:
            return f"{stage}: {done:,}"
        total = max(total, done)  # a hospital may hold files that nobody expected, which end in quarantine
        left = (now - self._started[stage]) * (total - done) / done if done else float("nan")
        return f"{stage}: {done:,} of {total:,}, about {figures.duration(left)} left"


def summary(result: StudyResult, target: Console) -> None:
    """The study's headline, its table for each hospital, comparisons, warnings and notices, on `target`."""
    target.print()
    target.print(Text(_wrapped(target, statements.headline(result)), "bold"), soft_wrap=True)
    target.print()
    target.print(_table(result))
    target.print()
    for sentence in statements.comparisons(result):
        bullet(target, sentence, "cyan")
    for site in result.sites:
        for reason, count in statements.quarantine_counts(site):
            bullet(target, f"Quarantined at {site.name}: {figures.count(count, 'file')}, {reason}.", "yellow")
    for warning in result.warnings:
        bullet(target, f"Warning: {warning}", "yellow")
    for notice in (*statements.notices(result), statements.RESEARCH_USE):
        bullet(target, notice, "dim")


def next_steps(steps: list[tuple[str, str]], target: Console) -> None:
    """What to do next: pairs of what it gives and the command or path, each on a line that is never broken."""
    target.print()
    target.print("[bold]Next[/bold]")
    for what, how in steps:
        target.print(f"  {escape(what)}:", highlight=False)
        target.print(f"    [bold cyan]{escape(how)}[/bold cyan]", highlight=False, soft_wrap=True)


def bullet(target: Console, sentence: str, style: str) -> None:
    """A sentence with a bullet of that style, broken between words only."""
    text = Text(_wrapped(target, sentence, "• ", "  "))
    text.stylize(style, 0, 1)
    target.print(text, soft_wrap=True)


def _wrapped(target: Console, sentence: str, first: str = "", others: str = "") -> str:
    """Broken at spaces to the console's width; unlike rich's own breaking, never at a no-break space."""
    return textwrap.fill(sentence, target.width - 1, initial_indent=first, subsequent_indent=others)


def _table(result: StudyResult) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_edge=False,
        caption="Under an AUROC: its 95 % interval. Actions saved, vs: by the commoner answer for everything.",
        caption_justify="left",
    )
    table.add_column("Hospital", overflow="fold", min_width=10)
    for header in (
        "Patients\n(images)",
        "AUROC\nbefore → after",
        "Alone, same\nepsilon",
        "Actions\nsaved",
        "Epsilon\nof cap",
        "Sent",
    ):
        table.add_column(header, justify="right", no_wrap=True)
    for site in result.sites:
        table.add_row(*_cells(site))
    return table


def _cells(site: SiteResult) -> tuple[str, ...]:
    effort = statements.effort_sums([site.effort])
    return (
        escape(site.name),
        f"{site.patients:,}\n[dim]({site.images:,})[/dim]",
        f"{_value(site.auroc_before)} → [bold]{_value(site.auroc_after)}[/bold]\n"
        f"[dim]{figures.interval(site.auroc_after)}[/dim]",
        f"{_value(site.auroc_alone)}\n[dim]{figures.interval(site.auroc_alone)}[/dim]",
        f"{figures.percent(effort.saved)}\n[dim]vs {figures.percent(effort.accept_all_saved)}[/dim]",
        f"{figures.epsilon(site.epsilon)}\n[dim]of {figures.cap(site.epsilon_cap)}[/dim]",
        figures.size(site.bytes_sent),
    )


def _value(estimate: Estimate | None) -> str:
    return figures.auroc(estimate.value if estimate else None)
