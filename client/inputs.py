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


class Preparation:
    """From a grey image to the network's input, for one input transform: 8-bit grey at the network's own size, then
    standardised. Safe to share between threads."""

    def __init__(self, transform: InputTransform) -> None:
        self._transform = transform
        # Kept as 8-bit grey before standardisation: independent of a card's mean and std, and a quarter of the size.
        self._grey = InputTransform(transform.size, 0.0, 1.0)

    @property
    def size(self) -> int:
        """Pixels on a side of the input."""
        return self._transform.size

    def preview_does(self, rows: int, columns: int) -> bool:
        """Whether an image's preview has all the pixels that the network wants; one no smaller than the image has."""
        return max(rows, columns) <= SIDE or self.size <= SIDE

    def grey(self, image: NDArray[np.float32]) -> bytes:
        """A grey image (H, W) in [0, 1] as 8-bit grey (size, size), row by row."""
        return np.rint(prepare(image, self._grey) * np.float32(255.0)).astype(np.uint8).tobytes()

    def standardised(self, grey: bytes) -> NDArray[np.float32]:
        """The input (1, size, size) of such grey bytes."""
        pixels = np.frombuffer(grey, np.uint8).reshape(1, self.size, self.size)
        scale = np.float32(1.0 / (255.0 * self._transform.std))
        image = np.multiply(pixels, scale, dtype=np.float32)
        image -= np.float32(self._transform.mean / self._transform.std)
        return image


class Inputs:
    """Loads inputs (1, size, size) float32 for one input transform. Safe to share between threads."""

    def __init__(self, store: Store, transform: InputTransform) -> None:
        self._store = store
        self._prepare = Preparation(transform)

    def load(self, targets: Sequence[Target]) -> list[NDArray[np.float32] | Failed]:
        """The input of each frame, or why there is none; what had to be made is kept, in one transaction."""
        loaded: list[NDArray[np.float32] | Failed] = []
        made: dict[str, list[tuple[str, bytes]]] = {}
        side = self._prepare.size
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
            loaded.append(self._prepare.standardised(kept))
        for name, items in made.items():
            self._store.cache_put_many(name, items)
        return loaded

    def _make(self, row: InstanceRow, frame: int) -> bytes:
        """8-bit grey (size, size), row by row.

        The first frame comes from the preview, unless the network wants more pixels than that has. The preview's
        aspect is the image's own to within a pixel, so that maps go back to stored pixels by the image's own size.
        """
        fits = frame == 0 and self._prepare.preview_does(row.rows, row.columns)
        preview = self._store.cache_get(row.id, PREVIEW) if fits else None
        if preview is not None:
            image = preview_image(preview)
        else:
            image = render(self._store.content(row.id), row.encoding, frame).image
        return self._prepare.grey(image)
