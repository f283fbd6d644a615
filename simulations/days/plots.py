"""The loops' plots: effort, label quality, the model and the budget against days."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..report.plots import style
from .course import Day
from .running import Days
from .table import by_day, lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"random": style.FEDERATED, "uncertainty": style.ALONE, "hybrid": style.POOLED}
_HOURS = 3600.0


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot: the name of its file, what it shows in words, and how it is drawn."""

    name: str
    alternative: str
    draw: Callable[[Days], Figure]


def draw_all(days: Days) -> dict[str, bytes]:
    """Every plot of PLOTS by name, as PNG bytes."""
    with style.applied():
        return {plot.name: style.to_png(plot.draw(days)) for plot in PLOTS}


def _line(
    axes: Axes, days: Days, order: str, value: Callable[[Day], float | None], label: str, look: str = "-"
) -> None:
    points = by_day(days.of(order), value)
    colour = COLOURS[order] if look == "-" else style.QUIET
    at = [day for day, _ in points]
    axes.fill_between(
        at, [one.low for _, one in points], [one.high for _, one in points], color=colour, alpha=0.12, lw=0
    )
    axes.plot(at, [one.value for _, one in points], color=colour, linewidth=1.8, linestyle=look, label=label)


def _draw_effort(days: Days) -> Figure:
    figure = style.blank(style.WIDTH, 4.4)
    left, right = figure.subplots(1, 2)
    left.set_title("Readers' hours so far")
    right.set_title("Wrong labels so far")
    orders = days.study.days.orders
    for order in orders:
        _line(left, days, order, lambda day: day.work.seconds / _HOURS, f"{order}, proposals shown")
        _line(right, days, order, lambda day: day.work.error, f"{order}, proposals shown")
    _line(left, days, orders[0], lambda day: day.by_hand.seconds / _HOURS, "by hand", "--")
    _line(left, days, orders[0], lambda day: day.commoner.seconds / _HOURS, "commoner class shown", ":")
    _line(right, days, orders[0], lambda day: day.by_hand.error, "by hand", "--")
    _line(right, days, orders[0], lambda day: day.commoner.error, "commoner class shown", ":")
    left.set_ylim(bottom=0.0)
    right.set_ylim(bottom=0.0)
    for axes in (left, right):
        axes.set_xlabel("day")
    style.legend_below(figure, left)
    return figure


def _draw_model(days: Days) -> Figure:
    figure = style.blank(style.WIDTH, 4.4)
    left, right = figure.subplots(1, 2)
    left.set_title("AUROC of the release, on patients who take no part")
    right.set_title("Patients read (lines) and in training (dashes)")
    for order in days.study.days.orders:
        _line(left, days, order, lambda day: day.auroc, order)
        _line(right, days, order, lambda day: float(day.studies), order)
        points = by_day(days.of(order), lambda day: float(day.trained_on))
        right.plot(
            [day for day, _ in points], [one.value for _, one in points], color=COLOURS[order], linewidth=1.4, ls="--"
        )
    left.set_xlim(1, max(2, days.study.days.days))
    for axes in (left, right):
        axes.set_xlabel("day")
    style.legend_below(figure, right)
    return figure


def _draw_saving(days: Days) -> Figure:
    """What labelling everything saves, beside how often its labels are wrong."""
    found = lines(days)
    figure = style.blank(style.WIDTH, 1.6 + 0.34 * len(found))
    left, right = figure.subplots(1, 2, sharey=True)
    left.set_title("Modelled time saved (%)")
    right.set_title("Wrong labels (%)")
    for at, line in enumerate(found):
        colour = COLOURS.get(line.order, style.BEFORE)
        for axes, mean in ((left, line.saved), (right, line.error)):
            axes.barh(at, 100 * mean.value, color=colour, height=0.7)
            if mean.low < mean.high:
                style.whisker(axes, at, 100 * mean.low, 100 * mean.high)
    left.set_yticks(range(len(found)), [_short(line.label) for line in found])
    left.set_ylim(len(found) - 0.5, -0.5)
    left.axvline(70.0, color=style.INK, linewidth=1.0, linestyle=":")
    left.axvline(0.0, color=style.QUIET, linewidth=1.0)
    right.axvline(100 * found[0].by_hand_error, color=style.INK, linewidth=1.0, linestyle=":")
    left.set_xlabel("dotted: the aim of 70 %")
    right.set_xlabel("dotted: by hand")
    return figure


def _short(label: str) -> str:
    short = label.replace("accepted unseen from", "unseen,").replace(" on, each hospital by its own hidden share", "")
    short = short.replace(" on, by all hospitals' hidden shares as one", ", as one")
    short = short.replace("the commoner class", "commoner")
    return short.replace(" for every image", "")


PLOTS = (
    Plot(
        "effort",
        "Readers' hours and wrong labels against days, for each order of the worklist and by hand",
        _draw_effort,
    ),
    Plot("model", "AUROC of the release and patients read and in training, against days", _draw_model),
    Plot("saving", "Bars of the time saved and of wrong labels, for each way of labelling everything", _draw_saving),
)
