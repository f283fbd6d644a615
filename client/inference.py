"""A release at work: from network inputs to calibrated probabilities and regions in stored-pixel coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

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


class Image(Protocol):
    """What an image is asked by: its stored size, and its own laterality ("L", "R", "B" or "")."""

    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def laterality(self) -> str: ...


class Inference:
    """One release, ready to be asked. Safe to share between threads."""

    def __init__(self, release: Release, shape: Shape = "box") -> None:
        self.card = release.card
        self._net = release.network()
        self._shape: Shape = shape

    def __call__(self, inputs: NDArray[np.float32], images: Sequence[Image]) -> list[Said]:
        """Of inputs (B, 1, size, size) of these images: sigmoid(logit / temperature) of each finding that the image is
        asked for. Sides are never told by where something lies: a finding's side is the one that it was taught as.

        Raises NodeError when the network gives something that is no number.
        """
        logits, maps = self._forward(inputs)
        scaled = logits.astype(np.float64) / np.array(self.card.temperatures)
        chances = 1.0 / (1.0 + np.exp(-np.clip(scaled, -700.0, 700.0)))
        return [self._said(chances[index], maps[index], image) for index, image in enumerate(images)]

    def _forward(self, inputs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(B, 1, S, S) -> logits (B, F), maps (B, F, h, w)."""
        import torch

        with torch.inference_mode():
            output: Output = self._net(torch.from_numpy(inputs))
        return output.logits.numpy(), output.maps.numpy()

    def _said(self, chances: NDArray[np.float64], maps: NDArray[np.float32], image: Image) -> Said:
        probabilities: list[tuple[str, float]] = []
        regions: list[Region] = []
        for finding, asked in enumerate(self.card.task.findings):
            if not asked.asked_of(image.laterality):
                continue
            key, size = asked.key, (image.rows, image.columns)
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
