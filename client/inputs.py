"""From a stored image to the network's input: one way for proposing and for training, so that both see the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..models.card import InputTransform
from ..models.transform import prepare
from .pixels import render
from .pixels.preview import PREVIEW, SIDE, preview_image
from .store import InstanceRow, Store


def network_input(store: Store, row: InstanceRow, frame: int, transform: InputTransform) -> NDArray[np.float32]:
    """The input (1, size, size) float32 of one frame. Raises UnreadableError when it does not decode.

    The first frame comes from the preview that intake kept, unless the network wants more pixels than that has. Its
    aspect is the image's own to within a pixel, so that maps are brought back to stored pixels by the image's size.
    """
    whole = max(row.rows, row.columns) <= SIDE  # then the preview is not smaller than the image
    found = store.cache_get(row.id, PREVIEW) if frame == 0 and (whole or transform.size <= SIDE) else None
    if found is not None:
        return prepare(preview_image(found), transform)
    return prepare(render(store.content(row.id), row.encoding, frame).image, transform)
