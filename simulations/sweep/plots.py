"""A sweep's plots: utility against epsilon, hospitals and subgroups, calibration, learning curve, bytes and seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..report.plots import style
from ..resumable.outcomes import Figures
from .grid import Cell
from .rows import Series, Sweep, series_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EPSILON, SHARE = "plan.privacy.epsilon", "sites.train_share"
_CHANCE = 0.5
# Okabe and Ito's colours; beyond them lines are told apart by their markers too.
_COLOURS = (style.FEDERATED, style.ALONE, style.POOLED, style.PROPOSED, "#D55E00", "#CC79A7", style.INK, style.BEFORE)
_MARKERS = "os^Dv<>P"
_MOST_BARS = 12


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot: the name of its file, whether there is anything to draw, and how."""

    name: str
    wanted: Callable[[Sweep], bool]
    draw: Callable[[Sweep], Figure]


def draw_all(sweep: Sweep) -> dict[str, bytes]:
    """Every plot of PLOTS that has something to show, by name, as PNG bytes."""
    with style.applied():
        return {plot.name: style.to_png(plot.draw(sweep)) for plot in PLOTS if plot.wanted(sweep)}


def _look(place: int) -> tuple[str, str]:
    return _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]


def _done(sweep: Sweep, *without: str) -> list[Series]:
    return [one for one in series_of(sweep, *without) if one.done]


def _lines(axes: Axes, sweep: Sweep, key: str, at: Callable[[Series], float]) -> None:
    """A line of AUROC for every combination of the other keys, against what `at` reads of its points."""
    lines: dict[str, list[Series]] = {}
    for point in _done(sweep):
        rest = Cell(tuple((name, value) for name, value in point.settings if name != key))
        if point.auroc is not None:
            lines.setdefault(rest.label or sweep.study, []).append(point)
    for place, (label, points) in enumerate(lines.items()):
        colour, marker = _look(place)
        points = sorted(points, key=at)
        estimates = [one.auroc for one in points if one.auroc is not None]
        axes.errorbar(
            [at(one) for one in points],
            [one.value for one in estimates],
            yerr=[
                [max(0.0, one.value - one.low) for one in estimates],
                [max(0.0, one.high - one.value) for one in estimates],
            ],
            color=colour,
            marker=marker,
            markersize=6,
            linewidth=1.8,
            elinewidth=1.1,
            capsize=3,
            label=style.shorten(label, 60),
        )


def _draw_epsilon(sweep: Sweep) -> Figure:
    figure = style.blank(style.WIDTH, 5.0)
    axes = figure.subplots()
    axes.set_title("AUROC on the held-out patients of all hospitals")
    _lines(axes, sweep, EPSILON, lambda one: one.epsilon or 0.0)
    epsilons = sorted({one.epsilon for one in _done(sweep) if one.epsilon})
    axes.set_xscale("log")
    axes.set_xticks(epsilons, [f"{one:g}" for one in epsilons])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("epsilon of each hospital's patients")
    axes.set_ylabel("AUROC (0.5 is chance; bar: 95 % interval)")
    style.legend_below(figure, axes)
    return figure


def _draw_learning(sweep: Sweep) -> Figure:
    figure = style.blank(style.WIDTH, 5.0)
    axes = figure.subplots()
    axes.set_title("AUROC against the number of patients trained on")
    _lines(axes, sweep, SHARE, lambda one: float(np.mean([found.train_patients for found in one.done])))
    axes.set_xlabel("training patients of all hospitals (the held-out patients are the same)")
    axes.set_ylabel("AUROC (0.5 is chance; bar: 95 % interval)")
    style.legend_below(figure, axes)
    return figure


def _bars(sweep: Sweep, title: str, names: Sequence[str], value_of: Callable[[Figures, str], float | None]) -> Figure:
    """Bars of the mean over seeds, a group for each name and a bar for each line; the tick is the least of any seed."""
    shown = _done(sweep)[:_MOST_BARS]
    thickness = 0.84 / max(1, len(shown))
    figure = style.blank(style.WIDTH, 1.5 + 0.17 * len(shown) * len(names))
    axes = figure.subplots()
    more = len(_done(sweep)) - len(shown)
    axes.set_title(title + (f" (the first {_MOST_BARS} of {len(shown) + more})" if more else ""))
    lowest = _CHANCE
    for place, one in enumerate(shown):
        for at, name in enumerate(names):
            values = [value for found in one.done if (value := value_of(found, name)) is not None]
            if not values:
                continue
            y = at + (place - (len(shown) - 1) / 2) * thickness
            mean = float(np.mean(values))
            axes.barh(y, mean - _CHANCE, left=_CHANCE, height=thickness * 0.88, color=_look(place)[0])
            if len(values) > 1:
                half = thickness * 0.44
                axes.plot([min(values)] * 2, [y - half, y + half], color=style.INK, linewidth=1.4)
            lowest = min(lowest, *values)
    axes.set_yticks(range(len(names)), [style.shorten(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(max(0.0, lowest - 0.02), 1.0)
    axes.axvline(_CHANCE, color=style.QUIET, linewidth=1.0)
    axes.set_xlabel("AUROC (0.5 is chance; bar: mean over seeds, tick: the worst of them)")
    axes.grid(visible=False, axis="y")
    style.colour_legend(figure, [(style.shorten(one.label, 60), _look(place)[0]) for place, one in enumerate(shown)])
    return figure


def _draw_sites(sweep: Sweep) -> Figure:
    names = list(dict.fromkeys(site.name for one in _done(sweep) for found in one.done for site in found.own))

    def value(found: Figures, name: str) -> float | None:
        return next((one.auroc.value for one in found.own if one.name == name and one.auroc is not None), None)

    return _bars(sweep, "AUROC on each hospital's own held-out patients", names, value)


def _draw_subgroups(sweep: Sweep) -> Figure:
    groups = [f"{one.column} {one.value}" for one in _done(sweep)[0].done[0].subgroups]
    names = list(dict.fromkeys([*groups, *(name for name in _group_names(sweep) if name not in groups)]))

    def value(found: Figures, name: str) -> float | None:
        known = ((f"{one.column} {one.value}", one.auroc) for one in found.subgroups)
        return next((auroc.value for label, auroc in known if label == name and auroc is not None), None)

    return _bars(sweep, "AUROC by subgroup of the held-out patients", names, value)


def _group_names(sweep: Sweep) -> list[str]:
    return [f"{one.column} {one.value}" for series in _done(sweep) for found in series.done for one in found.subgroups]


def _draw_calibration(sweep: Sweep) -> Figure:
    figure = style.blank(6.4, 6.6)
    axes = figure.subplots()
    axes.set_title("Does a stated probability come true?")
    axes.plot([0, 1], [0, 1], color=style.QUIET, linestyle=(0, (4, 3)), linewidth=1.2)
    for place, one in enumerate(_done(sweep)[:_MOST_BARS]):
        bins: dict[int, list[tuple[float, float, int]]] = {}
        for found in one.done:
            for part in found.calibration:
                bins.setdefault(min(9, int(part.stated * 10)), []).append((part.stated, part.observed, part.count))
        points = [
            np.average([part[:2] for part in parts], axis=0, weights=[part[2] for part in parts])
            for _, parts in sorted(bins.items())
        ]
        errors = [found.calibration_error for found in one.done if found.calibration_error is not None]
        colour, marker = _look(place)
        label = style.shorten(one.label, 44) + (f" (error {np.mean(errors):.3f})" if errors else "")
        axes.plot(
            [point[0] for point in points],
            [point[1] for point in points],
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.6,
            label=label,
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("stated probability, after each hospital fitted its temperature")
    axes.set_ylabel("share that is present")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=1 if len(labels) < 7 else 2)
    return figure


def _draw_cost(sweep: Sweep) -> Figure:
    shown = _done(sweep)[: 2 * _MOST_BARS]
    figure = style.blank(style.WIDTH, 1.5 + 0.34 * len(shown))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, title, values in (
        (panels[0], "sent by all hospitals, MB", [np.mean([one.sent for one in line.done]) / 1e6 for line in shown]),
        (panels[1], "seconds a training", [np.mean([one.seconds for one in line.done]) for line in shown]),
    ):
        axes.set_title(title)
        axes.barh(range(len(shown)), values, color=style.FEDERATED, height=0.66)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(left=0)
    panels[0].set_yticks(range(len(shown)), [style.shorten(one.label, 44) for one in shown])
    panels[0].set_ylim(len(shown) - 0.45, -0.55)
    return figure


def _several(key: str) -> Callable[[Sweep], bool]:
    def wanted(sweep: Sweep) -> bool:
        epsilons = {one.epsilon for one in _done(sweep) if one.epsilon}
        return any(axis.key == key for axis in sweep.axes) and (key != EPSILON or bool(epsilons))

    return wanted


def _any(sweep: Sweep) -> bool:
    return bool(_done(sweep))


PLOTS = (
    Plot("epsilon", _several(EPSILON), _draw_epsilon),
    Plot("learning", _several(SHARE), _draw_learning),
    Plot("sites", _any, _draw_sites),
    Plot("subgroups", lambda sweep: bool(_group_names(sweep)), _draw_subgroups),
    Plot("calibration", _any, _draw_calibration),
    Plot("cost", _any, _draw_cost),
)
