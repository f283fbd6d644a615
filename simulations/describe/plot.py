"""The division's plot: patients, images and prevalence of each hospital, training beside held out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..report.plots import style
from .division import Division

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_THICKNESS = 0.36


def png(division: Division) -> bytes:
    """The plot as PNG bytes."""
    with style.applied():
        return style.to_png(_draw(division))


def _draw(division: Division) -> Figure:
    columns = 2 + len(division.findings) + (1 if division.look else 0)
    figure = style.blank(max(style.WIDTH, 2.6 * columns), 1.5 + 0.5 * max(len(division.sites), 2))
    panels = figure.subplots(1, columns, sharey=True)
    sides = (
        ("to train on", style.FEDERATED, [site.train for site in division.sites]),
        ("held out", style.ALONE, [site.held_out for site in division.sites]),
    )
    for axes, title in zip(panels, ("patients", "images", *division.findings), strict=False):
        axes.set_title(style.shorten(title, 22))
        axes.grid(visible=False, axis="y")
    for place, (_, colour, hospitals) in enumerate(sides):
        rows = [row + (place - 0.5) * _THICKNESS for row in range(len(hospitals))]
        panels[0].barh(rows, [side.patients for side in hospitals], height=_THICKNESS * 0.92, color=colour)
        panels[1].barh(rows, [side.images for side in hospitals], height=_THICKNESS * 0.92, color=colour)
        for finding in range(len(division.findings)):
            shares = [side.prevalence(finding) for side in hospitals]
            known = [(row, 100 * share) for row, share in zip(rows, shares, strict=True) if share is not None]
            axes = panels[2 + finding]
            axes.barh([row for row, _ in known], [share for _, share in known], height=_THICKNESS * 0.92, color=colour)
            axes.set_xlim(0, 100)
            axes.set_xlabel("% of images")
    if division.look:
        name, _, unit = division.look.partition(": ")
        panels[-1].set_title(name)
        panels[-1].set_xlabel(unit)
        panels[-1].grid(visible=False, axis="y")
        looks = [site.look or 0.0 for site in division.sites]
        panels[-1].barh(range(len(looks)), looks, height=2 * _THICKNESS * 0.92, color=style.POOLED)
    panels[0].set_yticks(range(len(division.sites)), [style.shorten(site.name, 24) for site in division.sites])
    panels[0].set_ylim(len(division.sites) - 0.45, -0.55)
    style.colour_legend(figure, [(label, colour) for label, colour, _ in sides])
    return figure
