"""The reliability plot: does a stated probability come true as often as it says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...results import StudyResult
from .. import figures
from . import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(result: StudyResult) -> Figure:
    """Observed against stated share by bin, and below it how many proposals each bin holds."""
    from matplotlib.ticker import MaxNLocator

    figure = style.blank(6.0, 6.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4.4, 1.0])
    upper.set_title("Does a stated probability come true?")
    if result.calibration_error is not None:
        upper.annotate(
            f"expected calibration\nerror {result.calibration_error:.3f}",
            (0.97, 0.04),
            xycoords="axes fraction",
            ha="right",
            color=style.QUIET,
        )
    bins = [
        part
        for part in result.calibration
        if part.count > 0 and math.isfinite(part.stated) and math.isfinite(part.observed)
    ]
    upper.plot([0, 1], [0, 1], color=style.QUIET, linestyle=(0, (4, 3)), linewidth=1.2, label="perfectly calibrated")
    if bins:
        stated, observed = [part.stated for part in bins], [part.observed for part in bins]
        half = [_wilson(part.observed, part.count) for part in bins]
        upper.errorbar(
            stated,
            observed,
            yerr=[
                [max(0.0, value - low) for value, (low, _) in zip(observed, half, strict=True)],
                [max(0.0, high - value) for value, (_, high) in zip(observed, half, strict=True)],
            ],
            color=style.FEDERATED,
            linewidth=1.2,
            linestyle="-",
            marker="o",
            markersize=6,
            elinewidth=1.2,
            capsize=3,
            label="federated model (95 % intervals)",
        )
        lower.bar(stated, [part.count for part in bins], width=_width(stated), color=style.FEDERATED, alpha=0.55)
    upper.set_xlim(0.0, 1.0)
    upper.set_ylim(0.0, 1.0)
    upper.set_ylabel("share that is present")
    lower.set_ylabel("proposals")
    # Two zeros would meet in the corner.
    lower.yaxis.set_major_locator(MaxNLocator(nbins=3, prune="lower", integer=True))
    lower.set_xlabel(f"stated probability ({figures.count(sum(part.count for part in bins), 'proposal')})")
    lower.grid(visible=False, axis="x")
    style.legend_below(figure, upper)
    return figure


def _width(stated: list[float]) -> float:
    gaps = [after - before for before, after in zip(sorted(stated), sorted(stated)[1:], strict=False)]
    return max(0.01, min([0.07, *gaps]) * 0.8)


def _wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share (Wilson 1927), which stays inside [0, 1] for few and for extreme."""
    z = 1.959964
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return centre - reach, centre + reach
