"""A release at work: from network inputs to calibrated probabilities and regions in stored-pixel coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .annotations import Region
from .errors import NodeError
from .regions import Shape, propose_regions

if TYPE_CHECKING:
    from ..models.checkpoint import Release
    from ..models.head import Output

# A region is proposed for a finding whose calibrated probability reaches this.
PRESENT_FROM = 0.5


@dataclass(frozen=True, slots=True)
class Said:
    """What a release says of one image: each finding's calibrated probability, and regions of what it calls present."""

    probabilities: tuple[tuple[str, float], ...]
    regions: tuple[Region, ...]


class Inference:
    """One release, ready to be asked. Safe to share between threads."""

    def __init__(self, release: Release, shape: Shape = "box") -> None:
        self.card = release.card
        self._net = release.network()
        self._shape: Shape = shape

    def __call__(self, inputs: NDArray[np.float32], sizes: Sequence[tuple[int, int]]) -> list[Said]:
        """Of inputs (B, 1, size, size), whose stored images have `sizes` (rows, columns): sigmoid(logit / temperature).

        Raises NodeError when the network gives something that is no number.
        """
        logits, maps = self._forward(inputs)
        scaled = logits.astype(np.float64) / np.array(self.card.temperatures)
        chances = 1.0 / (1.0 + np.exp(-np.clip(scaled, -700.0, 700.0)))
        return [self._said(chances[index], maps[index], size) for index, size in enumerate(sizes)]

    def _forward(self, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(B, 1, S, S) -> logits (B, F), maps (B, F, h, w)."""
        import torch

        with torch.inference_mode():
            output: Output = self._net(torch.from_numpy(inputs))
        return output.logits.numpy(), output.maps.numpy()

    def _said(self, chances: NDArray[np.float64], maps: NDArray[np.float32], size: tuple[int, int]) -> Said:
        probabilities: list[tuple[str, float]] = []
        regions: list[Region] = []
        for finding, key in enumerate(self.card.task.keys):
            chance = float(chances[finding])
            if not math.isfinite(chance):
                raise NodeError(
                    f"the network gives no number for finding {key!r}",
                    fix="take the release again; its weights or its input transform are damaged",
                )
            probabilities.append((key, chance))
            if chance >= PRESENT_FROM:
                regions += propose_regions(key, maps[finding], self.card.transform, *size, self._shape)
        return Said(tuple(probabilities), tuple(regions))
