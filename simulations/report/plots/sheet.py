"""The sheet of images as one plot: what the model saw, where it looked, and what is true."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...results import SheetImage, StudyResult
from .. import figures
from . import overlay, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ACROSS = 2


def draw(result: StudyResult) -> Figure:
    """Two images a row, each as grey picture, heatmap over it, and regions over it."""
    rows = max(1, math.ceil(len(result.sheet) / _ACROSS))
    figure = style.blank(style.WIDTH, 0.75 + 1.95 * rows)
    grid = figure.subplots(rows, 3 * _ACROSS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
        axes.set_anchor("NW")
    for place, image in enumerate(result.sheet):
        row, first = divmod(place, _ACROSS)
        for column, picture in enumerate(overlay.pictures(image)):
            grid[row, first * 3 + column].imshow(picture, interpolation="nearest")
        grid[row, first * 3].set_title(caption(image), fontsize=8.5, fontweight="normal", pad=4)
    style.colour_legend(figure, [("proposed region", style.PROPOSED), ("true region", style.TRUTH)], filled=False)
    figure.suptitle(
        "Held-out images, where the model looked, and the regions", x=0.01, ha="left", fontweight="bold", fontsize=11.5
    )
    return figure


def caption(image: SheetImage) -> str:
    """Hospital, finding, what the model states and what is true, in two lines."""
    stated = figures.NONE if math.isnan(image.probability) else figures.percent(image.probability)
    truth = "present" if image.present else "absent"
    return f"{style.shorten(image.site)} · {style.shorten(image.finding)}\nstated {stated}, truly {truth}"
