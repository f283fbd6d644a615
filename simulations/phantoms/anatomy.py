"""What a synthetic chest attenuates: a batch of attenuation maps and the lung cavities in which findings can lie.

The grid is square, x to the image's right and y downwards, both from -1 to 1; the patient's left side lies at the
image's right, as in a frontal radiograph. Shapes are sigmoids of implicit functions, so that a whole batch is a few
array expressions. This is a picture that poses the difficulties of a radiograph (overlapping ribs, heart, vessels,
people of different size), not a physical model of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Field = NDArray[np.float32]

GRID = 128
"""Points along each side of the grid on which anatomy and findings are drawn before a device renders them."""


def coordinates() -> tuple[Field, Field]:
    """x (1, 1, GRID) and y (1, GRID, 1) of the grid's points."""
    axis = np.linspace(-1.0, 1.0, GRID, dtype=np.float32)
    return axis[None, None, :], axis[None, :, None]


def soft(value: NDArray[np.floating], edge: float) -> Field:
    """A sigmoid that goes from 0 to 1 over about `edge` around 0: the soft border of a shape."""
    return (1.0 / (1.0 + np.exp(np.clip(-value / np.float32(edge), -30.0, 30.0)))).astype(np.float32)


def smooth_noise(generator: np.random.Generator, count: int, sigma: float) -> Field:
    """Gaussian random fields (count, GRID, GRID) of unit variance, correlated over `sigma` grid points."""
    white = generator.standard_normal((count, GRID, GRID), dtype=np.float32)
    field = gaussian_filter(white, sigma=(0.0, sigma, sigma), mode="wrap")
    return (field / (field.std(axis=(1, 2), keepdims=True) + 1e-6)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Bodies:
    """Bodies of n patients, each array (n,), in grid units: what stays the same between a patient's images."""

    width: Field
    lung_height: Field
    lung_width: Field
    heart: Field
    rib_spacing: Field
    rib_phase: Field
    rib_contrast: Field
    breast: Field

    def take(self, patients: NDArray[np.int64]) -> Bodies:
        """The bodies of the named patients, in that order, repeated where named twice."""
        return Bodies(*(getattr(self, name)[patients] for name in self.__slots__))


def draw_bodies(generator: np.random.Generator, count: int) -> Bodies:
    """Draw `count` patients' bodies."""

    def normal(mean: float, deviation: float, low: float, high: float) -> Field:
        return np.clip(generator.normal(mean, deviation, count), low, high).astype(np.float32)

    return Bodies(
        width=normal(0.86, 0.06, 0.70, 1.02),
        lung_height=normal(0.66, 0.06, 0.50, 0.80),
        lung_width=normal(0.31, 0.025, 0.25, 0.38),
        heart=normal(0.25, 0.03, 0.18, 0.36),
        rib_spacing=normal(0.165, 0.012, 0.13, 0.20),
        rib_phase=generator.uniform(0.0, 1.0, count).astype(np.float32),
        rib_contrast=normal(0.13, 0.03, 0.05, 0.22),
        breast=np.clip(generator.normal(0.06, 0.08, count), 0.0, 0.25).astype(np.float32),
    )


@dataclass(frozen=True, slots=True)
class Chests:
    """Attenuation (n, GRID, GRID) in arbitrary units from 0 (air) to about 2, and the two lung cavities
    (n, GRID, GRID) in [0, 1], the patient's right one (at the image's left) first."""

    attenuation: Field
    right: Field
    left: Field


def draw_chests(generator: np.random.Generator, bodies: Bodies) -> Chests:
    """One image of every body: position, rotation and inspiration differ from image to image."""
    count = bodies.width.size
    x0, y0 = coordinates()

    def each(values: NDArray[np.floating]) -> Field:
        return np.asarray(values, dtype=np.float32)[:, None, None]

    tilt = each(generator.normal(0.0, 0.03, count))
    x = x0 - each(generator.normal(0.0, 0.04, count)) + tilt * y0
    y = y0 - each(generator.normal(0.0, 0.04, count)) - tilt * x0
    inspiration = each(generator.normal(0.0, 0.04, count))
    width, heart = each(bodies.width), each(bodies.heart)

    outline = 1.0 - np.abs(x / width) ** 3 - np.abs((y - 0.25) / 1.35) ** 4
    body = soft(outline, 0.03)
    thickness = body * (0.62 + 0.38 * np.sqrt(np.clip(outline, 0.0, 1.0)))

    def lung(side: float, dome: float) -> Field:
        height = each(bodies.lung_height) + inspiration
        half = each(bodies.lung_width) * (1.0 + 0.18 * y)
        centre = side * (0.40 * width / 0.86)
        shape = 1.0 - ((x - centre) / half) ** 2 - np.abs((y + 0.08) / height) ** 2.6
        floor = dome + inspiration - 0.9 * (x - centre * 1.05) ** 2 * -1.0
        return soft(shape, 0.06) * soft(floor - y, 0.015)

    right, left = lung(-1.0, 0.44), lung(1.0, 0.48)
    heart_shape = 1.0 - ((x - 0.12) / (heart * 1.25)) ** 2 - ((y - 0.25 - 0.2 * (x - 0.1)) / (heart * 1.05)) ** 2
    heart_shadow = soft(heart_shape, 0.12)
    mediastinum = soft(0.13 + 0.03 * np.cos(6.0 * y) - np.abs(x), 0.02)
    spine = soft(0.07 - np.abs(x + 0.01), 0.012)
    lungs = np.clip(right + left, 0.0, 1.0) * (1.0 - 0.85 * heart_shadow) * (1.0 - mediastinum)

    # Ribs: arcs that fall away from the spine, drawn as one periodic function of a sloping coordinate.
    slope = y - 0.42 * np.abs(x) ** 1.4 + 0.10 * np.abs(x)
    phase = slope / each(bodies.rib_spacing) + each(bodies.rib_phase)
    ribs = soft(np.cos(2.0 * np.pi * phase) - 0.35, 0.12)
    cage = soft(width * 0.93 - np.abs(x), 0.03) * soft(0.62 - y, 0.05) * soft(y + 0.80, 0.03)
    clavicle = soft(0.030 - np.abs(y + 0.60 + 0.22 * (np.abs(x) - 0.35)), 0.008) * soft(np.abs(x) - 0.10, 0.02)
    breast = soft(1.0 - ((np.abs(x) - 0.42) / 0.33) ** 2 - ((y - 0.34) / 0.30) ** 2, 0.20)

    # Vessels: fine texture that is densest at the hila.
    hilum = np.exp(-(((np.abs(x) - 0.20) / 0.22) ** 2) - ((y - 0.02) / 0.35) ** 2)
    vessels = np.abs(smooth_noise(generator, count, 1.3)) * (0.25 + hilum)

    attenuation = (
        thickness * 1.15
        - 0.62 * lungs
        + 0.30 * heart_shadow * body
        + 0.22 * mediastinum * body
        + 0.16 * spine * body
        + each(bodies.rib_contrast) * ribs * cage * (1.0 - 0.5 * mediastinum)
        + 0.10 * clavicle * soft(0.75 * width - np.abs(x), 0.03)
        + each(bodies.breast) * breast
        + 0.075 * vessels * lungs
        + 0.03 * smooth_noise(generator, count, 10.0) * body
    )
    free = 1.0 - 0.85 * heart_shadow
    return Chests(attenuation.astype(np.float32), (right * free).astype(np.float32), (left * free).astype(np.float32))
