"""Curves by round: how the model's AUROC and the epsilon spent grow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...results import Estimate, StudyResult
from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Beyond this many findings single curves are drawn in one colour: nobody tells more apart.
_TOLD_APART = 5
_DASHES = ("--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_TINTS = ("#D55E00", "#CC79A7", "#009E73", "#56B4E9", "#8C6D1F")


def draw(result: StudyResult) -> Figure:
    """AUROC by round (mean over findings, and each finding), and beside it the epsilon spent where one is."""
    spent = [done.epsilon for done in result.rounds]
    private = bool(spent) and all(map(math.isfinite, spent))
    figure = style.blank(style.WIDTH, 4.1)
    if private:
        left, right = figure.subplots(1, 2, width_ratios=[1.9, 1.0])
        _epsilon(right, result)
    else:
        left = figure.subplots()
    _auroc(left, result)
    style.legend_below(figure, left)
    return figure


def _auroc(axes: Axes, result: StudyResult) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title("AUROC after each round")
    axes.set_xlabel("round (0: the starting release)")
    axes.set_ylabel("AUROC, held-out patients of all hospitals")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    measured = [(done.round, [one for one in done.auroc if one is not None]) for done in result.rounds]
    measured = [(number, known) for number, known in measured if known]
    numbers = [number for number, _ in measured]
    means = [sum(one.value for one in known) / len(known) for _, known in measured]
    if result.auroc_before is not None:
        numbers, means = [0, *numbers], [result.auroc_before.value, *means]
    axes.axhline(0.5, color="#B6BEC6", linewidth=1.0)
    axes.plot(numbers, means, color=style.FEDERATED, linewidth=2.4, zorder=3, label="federated")
    if len(numbers) <= 30:
        axes.plot(numbers, means, color=style.FEDERATED, linestyle="", marker="o", markersize=4.5, zorder=3)
    last = max((done.round for done in result.rounds), default=1)
    if len(result.findings) == 1:
        _whiskers(axes, [(number, known[0]) for number, known in measured], style.FEDERATED)
    if result.federated is not None:
        estimate = result.federated
        axes.errorbar(
            [last],
            [estimate.value],
            yerr=[[estimate.value - estimate.low], [estimate.high - estimate.value]],
            color=style.FEDERATED,
            capsize=4,
            linewidth=1.6,
            linestyle="",
            label="at the end, against the truth",
            zorder=3,
        )
    if result.pooled is not None:
        axes.axhline(
            result.pooled.value, color=style.POOLED, linestyle=(0, (6, 3)), linewidth=1.6, label="pooled, at the end"
        )
    if len(result.findings) > 1:
        _single_findings(axes, result)
    axes.set_xlim(-0.02 * max(last, 1), last * 1.03 + 0.02)
    drawn = [one.value for _, known in measured for one in known]
    drawn += [estimate.low for estimate in (result.auroc_before, result.federated, result.pooled) if estimate]
    axes.set_ylim(max(0.0, min([0.5, *drawn]) - 0.04), 1.0)


def _single_findings(axes: Axes, result: StudyResult) -> None:
    told_apart = len(result.findings) <= _TOLD_APART
    for place, key in enumerate(result.findings):
        known = [(done.round, done.auroc[place]) for done in result.rounds if place < len(done.auroc)]
        points = [(number, one) for number, one in known if one is not None]
        axes.plot(
            [number for number, _ in points],
            [one.value for _, one in points],
            color=_TINTS[place] if told_apart else style.BEFORE,
            linestyle=_DASHES[place] if told_apart else "-",
            linewidth=1.2,
            alpha=0.9 if told_apart else 0.6,
            label=style.shorten(key) if told_apart else ("single findings" if place == 0 else None),
        )
        if told_apart:
            _whiskers(axes, points, _TINTS[place])


def _whiskers(axes: Axes, points: Sequence[tuple[int, Estimate]], colour: str) -> None:
    """The 95 % intervals of what was measured in the rounds."""
    axes.vlines(
        [number for number, _ in points],
        [one.low for _, one in points],
        [one.high for _, one in points],
        color=colour,
        linewidth=0.9,
        alpha=0.55,
    )


def _epsilon(axes: Axes, result: StudyResult) -> None:
    from matplotlib.ticker import MaxNLocator

    numbers = [0, *(done.round for done in result.rounds)]
    spent = [0.0, *(done.epsilon for done in result.rounds)]
    cap = max((site.epsilon_cap for site in result.sites), default=math.inf)
    axes.set_title("Epsilon spent")
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.plot(numbers, spent, color=style.FEDERATED, linewidth=2.0)
    axes.fill_between(numbers, spent, color=style.FEDERATED, alpha=0.12, linewidth=0)
    top = max(spent)
    if math.isfinite(cap):
        axes.axhline(cap, color=style.INK, linestyle=(0, (2, 2)), linewidth=1.2)
        axes.annotate(
            f"cap {cap:g}", (0.02, cap), xycoords=("axes fraction", "data"), xytext=(0, 4), textcoords="offset points"
        )
        top = max(top, cap)
    axes.set_ylim(0.0, top * 1.14)
    axes.set_xlim(0, max(numbers))
