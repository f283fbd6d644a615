"""From a finding's map to regions: threshold, connected components, back to stored pixels.

The map has one cell for every few input pixels, so components are found on a grid of a few dozen cells on the longer
side rather than on the full image: finer than the map can tell, and the same cost for any image.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..models.card import InputTransform
from ..models.transform import restore_map
from .annotations import Box, Mask, Region

BOX_GRID, MASK_GRID = 32, 128  # cells on the longer side
MOST_REGIONS = 3
UPPER = 0.65
"""Of the way from a map's median to its peak: where regions begin."""
Shape = Literal["box", "mask"]


def propose_regions(
    finding: str, map: NDArray[np.float32], transform: InputTransform, rows: int, columns: int, shape: Shape = "box"
) -> tuple[Region, ...]:
    """Regions of a finding that was found present, from its map of logits (h, w), largest first.

    A location belongs to the finding when its logit lies in the upper third or so between the map's median and its
    peak. The measure is the map's own, since under privacy maps are learned in few steps and their logits are short:
    on held-out MRI slices this gave better overlap than asking for a chance of one half. At most MOST_REGIONS
    components are proposed, none smaller than a tenth of the largest. "mask" gives one region with all of them, at
    stored-pixel size.
    """
    from scipy import ndimage

    scale = max(1.0, max(rows, columns) / (BOX_GRID if shape == "box" else MASK_GRID))
    height, width = max(1, round(rows / scale)), max(1, round(columns / scale))
    fine = restore_map(map, transform, height, width)
    median = float(np.median(fine))
    threshold = median + UPPER * (float(fine.max()) - median)
    # With `output` given, label() fills that array; without, its result is typed as any of three things.
    labels: NDArray[np.int32] = np.zeros((height, width), np.int32)
    ndimage.label(fine >= threshold, output=labels)
    sizes = np.bincount(labels.ravel())[1:]
    largest = np.argsort(-sizes, kind="stable")[:MOST_REGIONS]
    kept = [int(index) for index in largest if sizes[index] * 10 >= sizes[largest[0]]]
    if shape == "mask":
        chosen = np.isin(labels, np.array(kept) + 1)
        down = np.minimum(((np.arange(rows) + 0.5) * height / rows).astype(np.int64), height - 1)
        across = np.minimum(((np.arange(columns) + 0.5) * width / columns).astype(np.int64), width - 1)
        return (Region(finding, Mask.of(chosen[np.ix_(down, across)]), "proposed"),)
    places = ndimage.find_objects(labels)
    regions: list[Region] = []
    for index in kept:
        y, x = places[index]
        box = Box(
            x0=x.start * columns / width,
            y0=y.start * rows / height,
            x1=min(float(columns), x.stop * columns / width),
            y1=min(float(rows), y.stop * rows / height),
        )
        regions.append(Region(finding, box, "proposed"))
    return tuple(regions)
