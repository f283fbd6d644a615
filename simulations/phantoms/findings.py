"""What is planted in a synthetic chest: consolidation, effusion and nodule, each with the mask of where it lies.

Each planter takes a batch of chests, a severity per image and a side, and gives the attenuation to add and the mask
(n, GRID, GRID) of the grid points that belong to the finding: those where it adds at least a third of its peak. Without
a side the lung is one of the two at random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...task import SIDES, Laterality
from .anatomy import GRID, Chests, Field, coordinates, smooth_noise, soft

Planted = tuple[Field, NDArray[np.bool_]]
Planter = Callable[[np.random.Generator, Chests, Field], Planted]


def _sides(generator: np.random.Generator, chests: Chests, side: Laterality) -> tuple[Field, Field]:
    """One lung of every chest (n, GRID, GRID), of that side or chosen by a fair coin, and -1 or 1 for it (n, 1, 1)."""
    count = chests.attenuation.shape[0]
    left = np.full(count, side == "L") if side else generator.random(count) < 0.5
    lung = np.where(left[:, None, None], chests.left, chests.right)
    return lung, np.where(left, 1.0, -1.0).astype(np.float32)[:, None, None]


def _points(generator: np.random.Generator, lungs: Field) -> tuple[Field, Field]:
    """A random point (x, y), each (n, 1, 1), well inside each lung."""
    axis = np.linspace(-1.0, 1.0, GRID, dtype=np.float32)
    places = np.zeros((lungs.shape[0], 2), dtype=np.float32)
    for index, lung in enumerate(lungs):
        inside = np.flatnonzero(lung > 0.9)
        chosen = int(generator.choice(inside)) if inside.size else GRID * GRID // 2
        places[index] = axis[chosen % GRID], axis[chosen // GRID]
    return places[:, 0, None, None], places[:, 1, None, None]


def _uniform(generator: np.random.Generator, count: int, low: float, high: float) -> Field:
    return generator.uniform(low, high, count).astype(np.float32)[:, None, None]


def _masked(added: Field) -> Planted:
    peak = added.max(axis=(1, 2), keepdims=True)
    return added, (added > peak / 3.0) & (peak > 0.0)


def consolidation(generator: np.random.Generator, chests: Chests, severity: Field, side: Laterality = "") -> Planted:
    """A hazy patch of ragged outline inside one lung."""
    count = severity.size
    x, y = coordinates()
    lung, _ = _sides(generator, chests, side)
    cx, cy = _points(generator, lung)
    rx, ry = _uniform(generator, count, 0.14, 0.26), _uniform(generator, count, 0.16, 0.30)
    distance = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + 0.30 * smooth_noise(generator, count, 5.0)
    patch = soft(1.0 - distance, 0.22) * lung
    texture = 1.0 + 0.22 * smooth_noise(generator, count, 1.6)
    return _masked((0.55 * severity[:, None, None] * patch * np.clip(texture, 0.4, 1.6)).astype(np.float32))


def effusion(generator: np.random.Generator, chests: Chests, severity: Field, side: Laterality = "") -> Planted:
    """Fluid at the base of one lung, its upper border rising towards the chest wall (the meniscus)."""
    count = severity.size
    x, y = coordinates()
    lung, outwards = _sides(generator, chests, side)
    level = _uniform(generator, count, 0.08, 0.32)
    lateral = np.clip(outwards * x - 0.15, 0.0, None)
    fluid = soft(y - (level + 0.10 - 0.85 * lateral**2), 0.02) * lung
    return _masked((0.60 * severity[:, None, None] * fluid).astype(np.float32))


def nodule(generator: np.random.Generator, chests: Chests, severity: Field, side: Laterality = "") -> Planted:
    """One round shadow of 3 to 6 % of the image's width inside a lung."""
    count = severity.size
    x, y = coordinates()
    lung, _ = _sides(generator, chests, side)
    cx, cy = _points(generator, lung)
    radius = _uniform(generator, count, 0.045, 0.085)
    disc = soft(1.0 - ((x - cx) ** 2 + (y - cy) ** 2) / radius**2, 0.15)
    return _masked((0.60 * severity[:, None, None] * disc).astype(np.float32))


_PLAIN = {"consolidation": consolidation, "effusion": effusion, "nodule": nodule}
PLANTERS: Mapping[str, Planter] = {
    **_PLAIN,
    **{f"{key}_{word}": partial(plant, side=side) for key, plant in _PLAIN.items() for side, word in SIDES.items()},
}
"""The findings that can be planted, by the task's key for them: anywhere, or in the lung of one side."""
