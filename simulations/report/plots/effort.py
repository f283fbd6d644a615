"""Readers' effort: with proposals, beside labelling by hand and beside accepting the commoner answer everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import StudyResult
from .. import figures
from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(result: StudyResult) -> Figure:
    """Actions a study and hospital, and beside them the share of labels that ended wrong."""
    figure = style.blank(style.WIDTH, 1.5 + 0.62 * max(len(result.sites), 2))
    left, right = figure.subplots(1, 2, width_ratios=[1.9, 1.0], sharey=True)
    studies = [max(site.effort.studies, 1) for site in result.sites]
    per_study = (
        ("by hand", style.BEFORE, [site.effort.by_hand_actions for site in result.sites]),
        ("commoner answer proposed for all", style.ALONE, [site.effort.accept_all_actions for site in result.sites]),
        ("federated proposals", style.FEDERATED, [site.effort.actions for site in result.sites]),
    )
    thickness = 0.26
    left.set_title("Readers' actions for each held-out study")
    for place, (_, colour, actions) in enumerate(per_study):
        rows = [row + (place - 1) * thickness for row in range(len(result.sites))]
        values = [total / count for total, count in zip(actions, studies, strict=True)]
        left.barh(rows, values, height=thickness * 0.92, color=colour)
        for row, value in zip(rows, values, strict=True):
            left.annotate(
                f"{value:.1f}", (value, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5
            )
    left.margins(x=0.12)
    left.set_xlabel("actions (clicks, region vertices)")
    left.grid(visible=False, axis="y")
    right.set_title("Labels that ended wrong")
    wrong = (
        (-thickness / 2, style.BEFORE, [site.effort.by_hand_errors for site in result.sites]),
        (thickness / 2, style.FEDERATED, [site.effort.label_errors for site in result.sites]),
    )
    for offset, colour, shares in wrong:
        rows = [row + offset for row in range(len(result.sites))]
        right.barh(rows, [100 * share for share in shares], height=thickness * 0.92, color=colour)
        for row, share in zip(rows, shares, strict=True):
            right.annotate(
                f"{100 * share:.1f}",
                (100 * share, row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
    right.margins(x=0.2)
    right.set_xlabel("% of finding labels")
    right.grid(visible=False, axis="y")
    left.set_yticks(
        range(len(result.sites)),
        [
            f"{style.shorten(site.name)}\n{figures.count(site.effort.studies, 'study', 'studies')}"
            for site in result.sites
        ],
    )
    left.set_ylim(len(result.sites) - 0.45, -0.55)
    style.colour_legend(figure, [(label, colour) for label, colour, _ in per_study])
    return figure
