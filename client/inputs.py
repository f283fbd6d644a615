"""From a stored image to the network's input: one way for proposing and for training, so that both see the same.

Three steps, each kept encrypted beside the store so that it is taken once: the original file, its preview (made at
intake, for any model) and the preview at a network's own size (made when a release of that size first looks at the
image; every later release and every round of training reads it back).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..models.card import InputTransform
from ..models.errors import ModelError
from ..models.transform import prepare
from .errors import NodeError
from .pixels import render
from .pixels.preview import PREVIEW, SIDE, preview_image
from .store import InstanceRow, Store

Target = tuple[InstanceRow, int]  # an image and the number of one of its frames


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that could not be looked at, and why."""

    instance: str
    source: str
    reason: str


class Inputs:
    """Loads inputs (1, size, size) float32 for one input transform. Safe to share between threads."""

    def __init__(self, store: Store, transform: InputTransform) -> None:
        self._store = store
        self._transform = transform
        # Kept as 8-bit grey before standardisation: independent of a card's mean and std, and a quarter of the size.
        self._grey = InputTransform(transform.size, 0.0, 1.0)

    def load(self, targets: Sequence[Target]) -> list[NDArray[np.float32] | Failed]:
        """The input of each frame, or why there is none; what had to be made is kept, in one transaction."""
        loaded: list[NDArray[np.float32] | Failed] = []
        made: dict[str, list[tuple[str, bytes]]] = {}
        side = self._transform.size
        for row, frame in targets:
            name = f"input-{side}-{frame}"
            try:
                kept = self._store.cache_get(row.id, name)
                if kept is None or len(kept) != side * side:
                    kept = self._make(row, frame)
                    made.setdefault(name, []).append((row.id, kept))
            except (NodeError, ModelError) as error:
                loaded.append(Failed(row.id, row.source, error.what))
                continue
            grey = np.frombuffer(kept, np.uint8).reshape(1, side, side)
            loaded.append(self._standardised(grey))
        for name, items in made.items():
            self._store.cache_put_many(name, items)
        return loaded

    def _standardised(self, grey: NDArray[np.uint8]) -> NDArray[np.float32]:
        scale = np.float32(1.0 / (255.0 * self._transform.std))
        image = np.multiply(grey, scale, dtype=np.float32)
        image -= np.float32(self._transform.mean / self._transform.std)
        return image

    def _make(self, row: InstanceRow, frame: int) -> bytes:
        """8-bit grey (size, size), row by row.

        The first frame comes from the preview, unless the network wants more pixels than that has. The preview's
        aspect is the image's own to within a pixel, so that maps go back to stored pixels by the image's own size.
        """
        whole = max(row.rows, row.columns) <= SIDE  # then the preview is no smaller than the image
        fits = frame == 0 and (whole or self._transform.size <= SIDE)
        preview = self._store.cache_get(row.id, PREVIEW) if fits else None
        if preview is not None:
            image = preview_image(preview)
        else:
            image = render(self._store.content(row.id), row.encoding, frame).image
        return np.rint(prepare(image, self._grey) * np.float32(255.0)).astype(np.uint8).tobytes()
