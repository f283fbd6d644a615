"""Bars per hospital: what each had before, what it gets alone, and what it gets together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import Estimate, StudyResult
from .. import figures
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# AUROC bars grow from chance: their length is what a model adds to a coin.
_CHANCE = 0.5
_Row = tuple[str, Estimate | None, str]


def draw(result: StudyResult) -> Figure:
    """For each hospital, on its own held-out patients: before, alone, federated, with 95 % intervals."""
    figure = style.blank(style.WIDTH, 1.5 + 0.62 * max(len(result.sites), 2))
    axes = figure.subplots()
    axes.set_title("AUROC on each hospital's own held-out patients")
    series = (
        ("before (starting release)", style.BEFORE, [site.auroc_before for site in result.sites]),
        ("alone, same epsilon", style.ALONE, [site.auroc_alone for site in result.sites]),
        ("federated", style.FEDERATED, [site.auroc_after for site in result.sites]),
    )
    thickness = 0.26
    for place, (_, colour, estimates) in enumerate(series):
        offset = (place - 1) * thickness
        for row, estimate in enumerate(estimates):
            _bar(axes, row + offset, estimate, colour, thickness * 0.92)
    _axis(axes, [estimate for _, _, estimates in series for estimate in estimates])
    axes.set_yticks(
        range(len(result.sites)),
        [f"{style.shorten(site.name)}\n{figures.count(site.held_out_patients, 'patient')}" for site in result.sites],
    )
    axes.set_ylim(len(result.sites) - 0.45, -0.55)
    style.colour_legend(figure, [(label, colour) for label, colour, _ in series])
    return figure


def draw_everywhere(result: StudyResult) -> Figure:
    """One test for all: each hospital's own model, federated and pooled, on all hospitals' held-out patients."""
    alone = sorted(
        result.sites, key=lambda site: -(site.auroc_alone_everywhere.value if site.auroc_alone_everywhere else -1.0)
    )
    rows: list[_Row] = [
        ("before", result.auroc_before, style.BEFORE),
        *((f"{style.shorten(site.name)} alone", site.auroc_alone_everywhere, style.ALONE) for site in reversed(alone)),
        ("federated", result.federated, style.FEDERATED),
    ]
    if result.pooled is not None:
        rows.append(("pooled in one place", result.pooled, style.POOLED))
    figure = style.blank(style.WIDTH, 1.1 + 0.34 * len(rows))
    axes = figure.subplots()
    axes.set_title("AUROC on the held-out patients of all hospitals")
    for row, (_, estimate, colour) in enumerate(rows):
        _bar(axes, row, estimate, colour, 0.66)
    _axis(axes, [estimate for _, estimate, _ in rows])
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    return figure


def _bar(axes: Axes, row: float, estimate: Estimate | None, colour: str, thickness: float) -> None:
    if estimate is None:
        axes.annotate(
            "not measurable: one class only",
            (_CHANCE, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=style.QUIET,
        )
        return
    axes.barh(row, estimate.value - _CHANCE, left=_CHANCE, height=thickness, color=colour)
    # The bar's end, so that a model no better than chance is still seen.
    half = thickness / 2
    axes.plot([estimate.value] * 2, [row - half, row + half], color=colour, linewidth=2.5, solid_capstyle="butt")
    style.whisker(axes, row, estimate.low, estimate.high)
    axes.annotate(
        figures.auroc(estimate.value),
        (1.0, row),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        annotation_clip=False,
    )


def _axis(axes: Axes, estimates: list[Estimate | None]) -> None:
    lowest = min((estimate.low for estimate in estimates if estimate is not None), default=_CHANCE)
    axes.set_xlim(min(_CHANCE, max(0.0, lowest - 0.02)), 1.0)
    axes.axvline(_CHANCE, color=style.QUIET, linewidth=1.0)
    axes.set_xlabel("AUROC (0.5 is chance; line: 95 % interval, resampled by patient)")
    axes.grid(visible=False, axis="y")
