"""Plots: nothing overlaps or leaves the paper, for few hospitals and for many, for long names and for odd figures."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from medquorum.simulations.report.plots import PLOTS, draw_all, overlay, style
from medquorum.simulations.results import CalibrationBin, Estimate

LONG = "The Royal and Ancient Infirmary of Saint Bartholomew-the-Less and Surroundings"


def cases(make_result):
    four, ten = make_result(4), make_result(10, tuple(f"finding_{letter}" for letter in "abcdefgh"))
    long = tuple(dataclasses.replace(site, name=f"{LONG} {place}") for place, site in enumerate(four.sites))
    yield "four", four
    yield "ten", ten
    yield "one finding", make_result(4, ("opacity",), rounds=1)
    yield "long names", dataclasses.replace(four, sites=long)
    yield "forty rounds", make_result(3, rounds=40)


@pytest.mark.parametrize("plot", [plot for plot in PLOTS if plot.name != "sheet"], ids=lambda plot: plot.name)
def test_no_text_overlaps_another_or_leaves_the_paper(make_result, plot):
    for case, result in cases(make_result):
        with style.applied():
            figure = plot.draw(result)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            boxes = [
                (text.get_text(), text.get_window_extent(canvas.get_renderer()))
                for axes in figure.axes
                for text in (
                    axes.title,
                    axes.get_xaxis().label,
                    axes.get_yaxis().label,
                    *axes.get_xticklabels(),
                    *axes.get_yticklabels(),
                    *axes.texts,
                )
                if text.get_visible() and text.get_text() and _is_shown(axes, text)
            ]
            titles = [(axes.get_title(loc="left"), axes._left_title.get_window_extent()) for axes in figure.axes]
        paper = figure.bbox
        for text, box in boxes + titles:
            assert box.x0 >= paper.x0 - 1 and box.x1 <= paper.x1 + 1, f"{case}: {text!r} leaves the paper"
            assert box.y0 >= paper.y0 - 1 and box.y1 <= paper.y1 + 1, f"{case}: {text!r} leaves the paper"
        for (one, box), (other, second) in itertools.combinations(boxes, 2):
            # A pixel of shared rim is not an overlap that anybody sees.
            overlap = (
                min(box.x1, second.x1) - max(box.x0, second.x0) > 2
                and min(box.y1, second.y1) - max(box.y0, second.y0) > 2
            )
            assert not overlap, f"{case}: {one!r} overlaps {other!r}"


def _is_shown(axes, text) -> bool:
    """Ticks outside the limits have labels that are not drawn."""
    if text in axes.get_xticklabels():
        return min(axes.get_xlim()) - 1e-9 <= text.get_position()[0] <= max(axes.get_xlim()) + 1e-9
    if text in axes.get_yticklabels():
        return min(axes.get_ylim()) - 1e-9 <= text.get_position()[1] <= max(axes.get_ylim()) + 1e-9
    return True


def test_odd_results_are_drawn(make_result):
    result = make_result(1, ("opacity",), rounds=1)
    bare = dataclasses.replace(
        result.sites[0],
        name="$\\frac{$ {x}\n\t",
        auroc_before=None,
        auroc_after=Estimate(0.2, 0.0, 0.4),
        auroc_alone=None,
        auroc_alone_everywhere=None,
        epsilon=math.inf,
        epsilon_cap=math.inf,
        effort=dataclasses.replace(result.sites[0].effort, studies=0, actions=0.0, by_hand_actions=0.0),
    )
    odd = dataclasses.replace(
        result,
        mode="none",
        sites=(bare,),
        rounds=(dataclasses.replace(result.rounds[0], auroc=(None,), epsilon=math.inf),),
        auroc_before=None,
        federated=None,
        pooled=None,
        calibration=(CalibrationBin(0.5, 0.5, 0), CalibrationBin(math.nan, 1.0, 2), CalibrationBin(1.0, 1.0, 1)),
        calibration_error=None,
        sheet=(),
    )
    for changed in (odd, dataclasses.replace(odd, rounds=(), calibration=())):
        assert all(png.startswith(b"\x89PNG") for png in draw_all(changed).values())


def test_the_overlay_shows_both_regions_and_leaves_the_cold_image_alone(make_result):
    image = make_result().sheet[1]
    grey, heat, regions = overlay.pictures(image)
    assert grey.shape == heat.shape == regions.shape == (256, 213, 3)
    for colour in (style.PROPOSED, style.TRUTH):
        paint = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        assert (regions == paint).all(axis=2).any()
    corner = np.s_[-20:, :20]
    assert np.abs(heat[corner].astype(int) - grey[corner]).max() <= 2
    assert np.abs(heat.astype(int) - grey).max() > 60
    without = overlay.pictures(dataclasses.replace(image, heatmap=b"", proposed=b"", truth=b""))
    assert all((picture == grey).all() for picture in without)
