"""The audit's plots: canaries' scores, the membership attack's curve, the drawn steps, and the inverted images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..report.plots import style
from . import words
from .membership import RATES
from .running import Audit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALTERNATIVES = {
    "canaries": "Scores of canaries that took part and of those that did not, without and with privacy",
    "membership": "Hit rate against false alarm rate of the membership attack, both logarithmic",
    "mechanism": "Draws of one step without and with the crafted patient",
    "inversion": "The true image and what was made of a bare, a private and a masked update",
}


def draw_all(audit: Audit) -> dict[str, bytes]:
    """Every plot that has something to show, by its name in ALTERNATIVES, as PNG bytes."""
    with style.applied():
        drawn = {
            "canaries": style.to_png(_canaries(audit)),
            "membership": style.to_png(_membership(audit)),
            "inversion": style.to_png(_inversion(audit)),
        }
        if any(arm.mechanism is not None for arm in audit.arms):
            drawn["mechanism"] = style.to_png(_mechanism(audit))
    return drawn


def _titled(mode: str) -> str:
    return "without privacy" if mode == "none" else f"with privacy ({mode})"


def _canaries(audit: Audit) -> Figure:
    figure = style.blank(style.WIDTH, 3.2)
    for place, arm in zip(figure.subplots(1, len(audit.arms), squeeze=False)[0], audit.arms, strict=True):
        run = arm.canaries[0]
        bins = np.histogram_bin_edges(run.scores, 30).tolist()
        place.hist(run.scores[~run.included], bins, color=style.BEFORE, alpha=0.8, label="left out")
        place.hist(run.scores[run.included], bins, color=style.FEDERATED, alpha=0.65, label="took part")
        place.set_title(f"Canaries {_titled(arm.mode)}")
        place.set_xlabel("how much more the release believes the canary's labels")
        place.legend()
    return figure


def _membership(audit: Audit) -> Figure:
    figure = style.blank(style.WIDTH, 4.0)
    axes = figure.subplots()
    axes.set_title("Who was trained on? Likelihood ratios from shadow trainings")
    for arm in audit.arms:
        at, hits = zip(*arm.membership.curve, strict=True)
        colour = style.ALONE if arm.mode == "none" else style.FEDERATED
        axes.plot(at, np.maximum(hits, 1e-4), color=colour, linewidth=1.8, label=_titled(arm.mode))
    axes.plot([RATES[0], 1.0], [RATES[0], 1.0], color=style.QUIET, linewidth=1.0, linestyle=(0, (5, 2)), label="chance")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("share of others wrongly named (false alarms)")
    axes.set_ylabel("share of members found")
    axes.legend()
    return figure


def _mechanism(audit: Audit) -> Figure:
    figure = style.blank(style.WIDTH, 3.2)
    axes = figure.subplots()
    axes.set_title("One step, drawn on patients that differ by one")
    for arm in audit.arms:
        found = arm.mechanism
        if found is None:
            continue
        edges = np.histogram_bin_edges(np.concatenate([found.without, found.with_one]), 60)
        bins = edges.tolist()
        axes.hist(found.without, bins, density=True, color=style.BEFORE, alpha=0.8, label="without the patient")
        axes.hist(found.with_one, bins, density=True, color=style.FEDERATED, alpha=0.6, label="with the patient")
        middles = (edges[1:] + edges[:-1]) / 2.0
        away = (middles - found.without.mean()) / found.noise_multiplier
        density = np.exp(-np.square(away) / 2.0) / (found.noise_multiplier * np.sqrt(2.0 * np.pi))
        axes.plot(middles, density, color=style.INK, linewidth=1.4, label="noise as it was planned")
    axes.set_xlabel("along the patient's gradient, in clips")
    axes.legend()
    return figure


def _inversion(audit: Audit) -> Figure:
    found = audit.inversion
    figure = style.blank(style.WIDTH, 2.9)
    panels = figure.subplots(1, 1 + len(found.pictures))
    captions = [
        "the image (a phantom)",
        *(f"{words.named(one)}: {one.similarity:.2f}" for one in found.images),
    ]
    for axes, picture, caption in zip(panels, (found.truth, *found.pictures), captions, strict=True):
        axes.imshow(picture, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
        axes.set_title(caption, fontsize=9.5)
        axes.set_axis_off()
    return figure
