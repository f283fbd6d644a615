"""The comparison's plots: figures against epsilon between what pooling and being alone give, and bars by hospital."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..report import figures
from ..report.plots import style
from ..results import Estimate
from .rows import Comparison, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CHANCE = 0.5
_MODE_COLOURS = {"distributed": style.FEDERATED, "local": style.PROPOSED}
_MARKERS = {"distributed": "o", "local": "s"}


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot: the name of its file, what it shows in words, whether there is anything to draw, and how."""

    name: str
    alternative: str
    wanted: Callable[[Comparison], bool]
    draw: Callable[[Comparison], Figure]


def draw_all(comparison: Comparison) -> dict[str, bytes]:
    """Every plot of PLOTS that has something to show, by name, as PNG bytes."""
    with style.applied():
        return {plot.name: style.to_png(plot.draw(comparison)) for plot in PLOTS if plot.wanted(comparison)}


def _private(comparison: Comparison) -> bool:
    return any(row.epsilon is not None and row.cells for row in comparison.rows)


def _has_regions(comparison: Comparison) -> bool:
    return _private(comparison) and any(row.dice is not None for row in comparison.rows)


def _draw_epsilon(comparison: Comparison) -> Figure:
    figure = style.blank(style.WIDTH, 5.0)
    axes = figure.subplots()
    axes.set_title("AUROC on the held-out patients of all hospitals")
    _against_epsilon(axes, comparison, lambda row: row.auroc)
    axes.set_ylabel("AUROC (0.5 is chance)")
    style.legend_below(figure, axes)
    return figure


def _draw_regions(comparison: Comparison) -> Figure:
    figure = style.blank(style.WIDTH, 4.6)
    left, right = figure.subplots(1, 2)
    left.set_title("Dice of proposed regions")
    right.set_title("Maps that peak inside the lesion")
    _against_epsilon(left, comparison, lambda row: row.dice)
    _against_epsilon(right, comparison, lambda row: row.pointing)
    style.legend_below(figure, left)
    return figure


def _against_epsilon(axes: Axes, comparison: Comparison, value_of: Callable[[Row], Estimate | None]) -> None:
    """Lines with intervals for what is private; bands across for what is not, whatever epsilon would be."""
    for row in comparison.rows:
        estimate = value_of(row)
        if row.epsilon is not None or estimate is None:
            continue
        colour, label, line = {
            "pooled": (style.POOLED, "pooled, not private", "-"),
            "federated": (style.INK, "federated, not private", (0, (5, 2))),
            "alone": (style.ALONE, "alone, not private", (0, (5, 2))),
        }[row.kind]
        axes.axhspan(estimate.low, estimate.high, color=colour, alpha=0.08, linewidth=0)
        axes.axhline(estimate.value, color=colour, linewidth=1.6, linestyle=line, label=label)
    series: dict[tuple[str, str], list[tuple[float, Estimate]]] = {}
    for row in comparison.rows:
        estimate = value_of(row)
        if row.epsilon is not None and estimate is not None:
            series.setdefault((row.kind, row.mode), []).append((row.epsilon, estimate))
    for place, ((kind, mode), points) in enumerate(series.items()):
        colour = style.ALONE if kind == "alone" else _MODE_COLOURS.get(mode, style.INK)
        # Intervals of one epsilon stand beside each other, not upon each other.
        shift = 1.0 + 0.03 * (place - (len(series) - 1) / 2)
        ordered = sorted(points)
        at = [epsilon * shift for epsilon, _ in ordered]
        values = [estimate.value for _, estimate in ordered]
        below = [estimate.value - estimate.low for _, estimate in ordered]
        above = [estimate.high - estimate.value for _, estimate in ordered]
        axes.errorbar(
            at,
            values,
            yerr=[[max(0.0, one) for one in below], [max(0.0, one) for one in above]],
            color=colour,
            marker="^" if kind == "alone" else _MARKERS.get(mode, "D"),
            markersize=6,
            linewidth=1.8,
            elinewidth=1.2,
            capsize=3,
            label="alone, private" if kind == "alone" else f"federated, {mode}",
        )
    epsilons = sorted({row.epsilon for row in comparison.rows if row.epsilon is not None})
    axes.set_xscale("log")
    axes.set_xticks(epsilons, [f"{one:g}" for one in epsilons])
    axes.set_xticks([], minor=True)
    axes.set_xlim(epsilons[0] * 0.8, epsilons[-1] * 1.25)
    axes.set_xlabel("epsilon of each hospital's patients")


def _draw_hospitals(comparison: Comparison) -> Figure:
    """Each hospital's own held-out patients, at the epsilon in the middle; the tick is the worst seed."""
    epsilons = sorted({row.epsilon for row in comparison.rows if row.epsilon is not None})
    middle = epsilons[(len(epsilons) - 1) // 2] if epsilons else None
    wanted: list[tuple[str, str, Row]] = []
    for row in comparison.rows:
        if row.epsilon not in (None, middle) or not row.cells:
            continue
        private = "" if row.epsilon is None else f", epsilon {row.epsilon:g}"
        if row.kind == "alone":
            wanted.append((f"alone{private}", style.BEFORE if row.epsilon else style.ALONE, row))
        elif row.kind == "pooled":
            wanted.append(("pooled", style.POOLED, row))
        elif row.epsilon is None:
            wanted.append(("federated", style.INK, row))
        else:
            wanted.append((f"federated, {row.mode}{private}", _MODE_COLOURS.get(row.mode, style.QUIET), row))
    thickness = 0.84 / max(1, len(wanted))
    figure = style.blank(style.WIDTH, 1.4 + 0.17 * len(wanted) * len(comparison.hospitals))
    axes = figure.subplots()
    axes.set_title("AUROC on each hospital's own held-out patients")
    lowest = _CHANCE
    for place, (_, colour, row) in enumerate(wanted):
        known = {site.name: site for site in row.sites}
        for at, name in enumerate(comparison.hospitals):
            site = known.get(name)
            if site is None or site.auroc is None:
                continue
            y = at + (place - (len(wanted) - 1) / 2) * thickness
            axes.barh(y, site.auroc - _CHANCE, left=_CHANCE, height=thickness * 0.88, color=colour)
            if site.least is not None and len(comparison.seeds) > 1:
                half = thickness * 0.44
                axes.plot([site.least] * 2, [y - half, y + half], color=style.INK, linewidth=1.4)
            lowest = min(lowest, site.auroc, site.least if site.least is not None else 1.0)
    axes.set_yticks(range(len(comparison.hospitals)), [style.shorten(name) for name in comparison.hospitals])
    axes.set_ylim(len(comparison.hospitals) - 0.5, -0.5)
    axes.set_xlim(max(0.0, lowest - 0.02), 1.0)
    axes.axvline(_CHANCE, color=style.QUIET, linewidth=1.0)
    seeds = figures.count(len(comparison.seeds), "seed")
    axes.set_xlabel(f"AUROC (0.5 is chance; bar: mean of {seeds}, tick: the worst of them)")
    axes.grid(visible=False, axis="y")
    style.colour_legend(figure, [(label, colour) for label, colour, _ in wanted])
    return figure


PLOTS = (
    Plot(
        "epsilon",
        "AUROC against epsilon, federated and alone, between bands for what needs no privacy",
        _private,
        _draw_epsilon,
    ),
    Plot("regions", "Dice and pointing against epsilon", _has_regions, _draw_regions),
    Plot("hospitals", "Bars for each hospital: alone, federated and pooled", lambda _: True, _draw_hospitals),
)
