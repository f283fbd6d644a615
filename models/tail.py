"""The last blocks of a frozen backbone, trained with the head on what is computed of each image once.

What is kept of an image has one form whatever the blocks: the standardised features of the layers before them, and
beside these the map that enters the first of them, folded onto the same grid. A finer map becomes more channels,
nothing of it lost; a coarser one lies in a corner of the grid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .backbone import Backbone
from .head import Output, RegionHead
from .multiscale import multiscale, of_unit_norm, standardised

STRIDE = 16
"""Of the grid of a frozen backbone's features."""


def features_before(backbone: Backbone, images: Tensor, grid: tuple[int, int], blocks: int) -> Tensor:
    """Images (B,1,S,S) -> what is kept of them (B,C,*grid) when the last `blocks` are trained: the features themselves
    when none are."""
    if blocks == 0:
        return multiscale(backbone.taps(images), grid)
    taps, entering = backbone.trunk(images, blocks)
    finer, coarser = _folding(backbone, blocks)
    if finer > 1:
        entering = F.pixel_unshuffle(entering, finer)
    elif coarser > 1:
        entering = F.pad(entering, (0, grid[1] - entering.shape[3], 0, grid[0] - entering.shape[2]))
    return torch.cat([*(standardised(tap, grid) for tap in taps), entering], dim=1).contiguous()


class Tail(nn.Module):
    """(B,C,h,w), as `features_before` gives it -> Output. Shares its layers with the network that it is the end of."""

    def __init__(self, backbone: Backbone, head: RegionHead, blocks: int) -> None:
        super().__init__()
        self.branch = backbone.branch(blocks)
        self.head = head
        self._before = sum(backbone.tap_channels[:-1])
        self._finer, self._coarser = _folding(backbone, blocks)

    def read(self, features: Tensor) -> Tensor:
        """The features (B,C,h,w) that the head reads, with the trained blocks' own among them."""
        rows, columns = features.shape[2:]
        entering = features[:, self._before :]
        if self._finer > 1:
            entering = F.pixel_shuffle(entering, self._finer)
        elif self._coarser > 1:
            entering = entering[:, :, : -(-rows // self._coarser), : -(-columns // self._coarser)]
        last = standardised(self.branch(entering.contiguous()), (rows, columns))
        return of_unit_norm(torch.cat([features[:, : self._before], last], dim=1))

    def forward(self, features: Tensor) -> Output:
        return self.head(self.read(features))


def _folding(backbone: Backbone, blocks: int) -> tuple[int, int]:
    """How many times the grid is coarser than the map that enters the last `blocks`, and how many times finer."""
    stride = backbone.strides[len(backbone.strides) - blocks - 1]
    return max(1, STRIDE // stride), max(1, stride // STRIDE)
