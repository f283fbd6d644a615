"""The maps of a release for images that it proposed for: the chance that it gives each stored pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..inputs import Failed, Inputs
from ..store import InstanceRow, Store
from .errors import ExportError

if TYPE_CHECKING:
    from ...models.checkpoint import Release


class Heatmaps:
    """Computes maps with one release; its network is built once."""

    def __init__(self, store: Store, release: Release) -> None:
        self._inputs = Inputs(store, release.card.transform)
        self._card = release.card
        self._net = release.network()
        # Findings of one image come one after another, and looking at it is the slow part.
        self._last: tuple[str, NDArray[np.float32]] | None = None

    def of(self, row: InstanceRow, finding: str) -> NDArray[np.float32]:
        """One finding's map (rows, columns) in [0, 1], of the image's first frame; ExportError when it does not decode.

        sigmoid(logit / temperature), as of the finding itself, so that one half is where a region would begin.
        """
        from ...models.transform import restore_map

        if self._last is None or self._last[0] != row.id:
            self._last = row.id, self._logits(row)
        index = self._card.task.keys.index(finding)
        fine = restore_map(self._last[1][index], self._card.transform, row.rows, row.columns)
        fine /= np.float32(self._card.temperatures[index])
        return (1.0 / (1.0 + np.exp(-np.clip(fine, -80.0, 80.0)))).astype(np.float32)

    def _logits(self, row: InstanceRow) -> NDArray[np.float32]:
        """All findings' maps on the network's own grid, (findings, h, w)."""
        import torch

        image = self._inputs.load([(row, 0)])[0]
        if isinstance(image, Failed):
            raise ExportError(f"its pixels cannot be looked at ({image.reason})", where=row.id, fix="look at the image")
        with torch.inference_mode():
            logits: NDArray[np.float32] = self._net(torch.from_numpy(image[np.newaxis])).maps.numpy()[0]
        return logits
