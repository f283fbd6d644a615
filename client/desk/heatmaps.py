"""Where in an image the evidence for a finding came from, on demand, for whoever looks at the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...models.transform import restore_map
from ..errors import PixelError
from ..inputs import Failed, Inputs
from ..store import InstanceRow, Store

if TYPE_CHECKING:
    from ...models.checkpoint import Release
    from ...models.network import FindingNet

SIDE = 128  # finer than any map that a network has


class Heatmaps:
    """Grad-CAM of one release at a time; its network is built when the first heatmap is asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._of: bytes = b""
        self._net: FindingNet | None = None

    def heatmap(self, release: Release, row: InstanceRow, finding: str) -> NDArray[np.uint8]:
        """The first frame's heatmap (h, w) over the whole image, 255 where most speaks for the finding, at most SIDE on
        its longer side. Raises PixelError when the image does not decode."""
        import torch

        from ...models.heatmap import grad_cam

        if self._net is None or self._of != release.hash:
            self._net, self._of = release.network(), release.hash
        (image,) = Inputs(self._store, release.card.transform).load([(row, 0)])
        if isinstance(image, Failed):
            raise PixelError(image.reason, where=image.source)
        place = release.card.task.keys.index(finding)
        cam = grad_cam(self._net, torch.from_numpy(image[np.newaxis]), place)[0].numpy()
        scale = SIDE / max(row.rows, row.columns)
        rows, columns = max(1, round(row.rows * scale)), max(1, round(row.columns * scale))
        fine = restore_map(cam, release.card.transform, rows, columns)
        return np.rint(np.clip(fine, 0.0, 1.0) * 255.0).astype(np.uint8)
