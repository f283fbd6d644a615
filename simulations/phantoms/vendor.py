"""How a device renders a chest: resolution, contrast, noise, blur, collimation, and the pixel format it stores.

The devices are invented, as are their makers' names. They differ in what differs between real hospitals and misleads
a model trained at one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .anatomy import GRID, Field


@dataclass(frozen=True, slots=True)
class Vendor:
    """One device's look.

    rows, columns: of the stored image. gamma: of the curve from attenuation to brightness (1 is linear).
    noise: standard deviation, in the grey scale [0, 1], where the beam is least attenuated; it grows with
    attenuation. blur: of the detector, in stored pixels. detail: weight of unsharp masking. collimation: share of
    each border that the shutters blacken, at most. inverted: stored as MONOCHROME1. bits: stored. slope, intercept:
    of the stored rescale. windows: how many window settings the header offers.
    """

    manufacturer: str
    model: str
    rows: int
    columns: int
    gamma: float
    noise: float
    blur: float
    detail: float
    collimation: float
    inverted: bool
    bits: int
    slope: float
    intercept: float
    windows: int


VENDORS: Mapping[str, Vendor] = {
    "aurora": Vendor(
        "Aurora Imaging (invented)", "A-100", 224, 224, 1.0, 0.016, 0.4, 0.3, 0.02, False, 12, 1.0, 0.0, 1
    ),
    "borealis": Vendor(
        "Borealis Roentgen (invented)", "Plate 7", 240, 200, 1.35, 0.035, 1.0, 0.0, 0.07, True, 12, 1.0, 0.0, 1
    ),
    "cirrus": Vendor(
        "Cirrus Radiographic (invented)", "C2", 208, 208, 0.75, 0.024, 0.6, 0.9, 0.00, True, 14, 2.0, -512.0, 2
    ),
    "dunelight": Vendor(
        "Dunelight Mobile (invented)", "Cart", 192, 216, 1.1, 0.045, 1.3, 0.5, 0.10, False, 16, 0.25, -1.0, 1
    ),
}
"""The devices that a phantom hospital can own."""


def _interpolation(target: int) -> Field:
    """Matrix (target, GRID) that resamples GRID points linearly to `target` points over the same extent."""
    place = np.clip((np.arange(target) + 0.5) * GRID / target - 0.5, 0.0, GRID - 1.0)
    low = np.minimum(place.astype(np.int64), GRID - 2)
    share = (place - low).astype(np.float32)
    matrix = np.zeros((target, GRID), dtype=np.float32)
    matrix[np.arange(target), low] = 1.0 - share
    matrix[np.arange(target), low + 1] = share
    return matrix


def resample(fields: Field, rows: int, columns: int) -> Field:
    """Fields (n, GRID, GRID) resampled to square pixels on a `rows` x `columns` detector, cropped where it is
    narrower than it is long (and the other way round), so that bodies keep their shape: (n, rows, columns)."""
    side = max(rows, columns)
    matrix = _interpolation(side)
    top, left = (side - rows) // 2, (side - columns) // 2
    return np.matmul(np.matmul(matrix[top : top + rows], fields), matrix[left : left + columns].T)


def render(
    generator: np.random.Generator, vendor: Vendor, attenuation: Field
) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """Render attenuation maps (n, GRID, GRID).

    Returns the stored pixels (n, rows, columns), before any inversion is undone, and the grey scale's ends for the
    window in modality units, (n, 2): low and high.
    """
    brightness = np.clip(resample(attenuation, vendor.rows, vendor.columns) / 1.75, 0.0, 1.0)
    beam = (0.35 + brightness) * np.float32(vendor.noise)
    grey = brightness ** np.float32(vendor.gamma)
    grey = grey + beam * generator.standard_normal(grey.shape, dtype=np.float32)
    if vendor.blur > 0.0:
        grey = gaussian_filter(grey, sigma=(0.0, vendor.blur, vendor.blur))
    if vendor.detail > 0.0:
        coarse = gaussian_filter(grey, sigma=(0.0, 3.0, 3.0))
        grey = grey + np.float32(vendor.detail) * (grey - coarse)
    count = grey.shape[0]
    exposure = generator.normal(0.0, 0.03, (count, 1, 1)).astype(np.float32)
    grey = np.clip(grey * (1.0 + exposure) + exposure, 0.0, 1.0)
    if vendor.collimation > 0.0:
        margins = generator.uniform(0.0, vendor.collimation, (count, 4))
        for image, (top, bottom, left, right) in zip(grey, margins, strict=True):
            image[: round(top * vendor.rows)] = 0.0
            image[vendor.rows - round(bottom * vendor.rows) :] = 0.0
            image[:, : round(left * vendor.columns)] = 0.0
            image[:, vendor.columns - round(right * vendor.columns) :] = 0.0
    top_value = 2**vendor.bits - 1
    # Devices use a part of their range, which differs between exposures: the window tells where the grey scale is.
    low = generator.uniform(0.02, 0.10, count)
    high = generator.uniform(0.80, 0.97, count)
    shown = 1.0 - grey if vendor.inverted else grey
    stored = (low[:, None, None] + shown * (high - low)[:, None, None]) * top_value
    ends = np.stack([low, high], axis=1) * top_value * vendor.slope + vendor.intercept
    return np.rint(stored).astype(np.uint16), ends
