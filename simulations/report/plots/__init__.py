"""The report's plots: each drawn from a StudyResult alone, as PNG bytes, the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...results import StudyResult
from . import calibration, effort, rounds, sheet, sites, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot: the name of its file, what it shows in words for those who do not see it, and how it is drawn."""

    name: str
    alternative: str
    draw: Callable[[StudyResult], Figure]


PLOTS = (
    Plot("rounds", "Curves of AUROC after each round, beside the epsilon spent by then", rounds.draw),
    Plot("sites", "Bars for each hospital: AUROC before, trained alone, and federated, with intervals", sites.draw),
    Plot(
        "everywhere",
        "Bars on the held-out patients of all hospitals: each hospital's own model, federated, and pooled",
        sites.draw_everywhere,
    ),
    Plot("calibration", "Observed share against stated probability, and the count in each bin", calibration.draw),
    Plot(
        "effort", "Bars for each hospital: readers' actions by hand and with proposals, and labels wrong", effort.draw
    ),
    Plot("sheet", "Sheet of held-out images with heatmap, proposed region and true region", sheet.draw),
)


def draw_all(result: StudyResult) -> dict[str, bytes]:
    """Every plot of PLOTS by name, as PNG bytes."""
    with style.applied():
        return {plot.name: style.to_png(plot.draw(result)) for plot in PLOTS}
