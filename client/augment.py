"""Random mirror and shift of training images together with their regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..models.card import InputTransform
from ..models.loss import Targets
from ..privacy.randomness import Randomness

_PARTS = 16


def augment(
    images: Tensor,
    targets: Targets,
    transform: InputTransform,
    source: Randomness,
    mirrored: Sequence[int] | None,
) -> tuple[Tensor, Targets]:
    """Mirror each image (B,1,S,S) left to right with probability 1/2 and shift it by -1, 0 or 1 cells of its region
    grid each way; regions (B,F,h,w) move along exactly, since shifts are whole cells. What enters is black.

    mirrored: for each finding, the place of the one that it is in a mirrored image (see Task.mirrored): what was said
    of a left effusion is said of a right one there, and whether it was said at all. None: no image is mirrored.

    A grid of one cell, of rows that teach no region, would shift images out of sight: then a shift is a sixteenth of
    the image.

    Each image is changed by itself alone, so a patient's gradient stays that patient's.
    """
    count, size = images.shape[0], images.shape[-1]
    grid = targets.regions.shape[-1]
    cell = size // (grid if grid > 1 else _PARTS)
    choices = np.frombuffer(source.take(4 * count), dtype=np.uint8).reshape(count, 4)
    black = (0.0 - transform.mean) / transform.std
    moved = torch.full_like(images, black)
    regions = torch.zeros_like(targets.regions)
    labels, assessed, drawn = targets.labels.clone(), targets.assessed.clone(), targets.drawn.clone()
    others = None if mirrored is None else torch.tensor(mirrored)
    for row in range(count):
        # 252 = 3 x 84: the four highest bytes count as no shift, a bias of under two per cent.
        down, right = (int(value) % 3 - 1 if value < 252 else 0 for value in choices[row, 1:3])
        image, region = images[row], targets.regions[row]
        if choices[row, 0] & 1 and others is not None:
            image, region = image.flip(-1), region[others].flip(-1)
            for said, was in ((labels, targets.labels), (assessed, targets.assessed), (drawn, targets.drawn)):
                said[row] = was[row, others]
        _shift(image, moved[row], down * cell, right * cell)
        if grid > 1:
            _shift(region, regions[row], down, right)
        else:
            regions[row] = region
    return moved, Targets(labels, assessed, regions, drawn)


def _shift(origin: Tensor, target: Tensor, down: int, right: int) -> None:
    rows, columns = origin.shape[-2:]
    target[..., max(down, 0) : rows + min(down, 0), max(right, 0) : columns + min(right, 0)] = origin[
        ..., max(-down, 0) : rows + min(-down, 0), max(-right, 0) : columns + min(-right, 0)
    ]
