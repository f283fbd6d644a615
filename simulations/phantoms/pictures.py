"""Phantom radiographs as bare images, for whoever needs no files: each of another patient and device, half with each
finding."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from .anatomy import draw_bodies, draw_chests
from .findings import PLANTERS
from .vendor import VENDORS, render

_BATCH = 48


def draw_pictures(
    findings: Sequence[str], count: int, seed: int
) -> Generator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """`count` grey images (rows, columns) float32 in [0, 1] as a viewer shows them, and which of `findings` (keys of
    PLANTERS) each has. The same seed gives the same images."""
    generator = np.random.default_rng([seed, 0x91C7])
    devices = list(VENDORS.values())
    for number, start in enumerate(range(0, count, _BATCH)):
        images = min(_BATCH, count - start)
        vendor = devices[number % len(devices)]
        chests = draw_chests(generator, draw_bodies(generator, images))
        attenuation = chests.attenuation
        present = generator.random((images, len(findings))) < 0.5
        for finding, key in enumerate(findings):
            severity = generator.lognormal(0.0, 0.25, images) * present[:, finding]
            attenuation = attenuation + PLANTERS[key](generator, chests, severity.astype(np.float32))[0]
        stored, ends = render(generator, vendor, attenuation)
        values = stored * vendor.slope + vendor.intercept
        low, high = ends[:, 0, None, None], ends[:, 1, None, None]
        grey = np.clip((values - low) / (high - low), 0.0, 1.0).astype(np.float32)
        yield from zip(1.0 - grey if vendor.inverted else grey, present, strict=True)
