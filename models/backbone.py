"""What a backbone is: the part of the network that turns an input into maps of features at one or more strides.

Everything after it sees only feature maps and never asks what they were made from. A backbone is a chain of blocks, so
that the last few can be trained while the rest stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Backbone(nn.Module):
    """Gives feature maps, finest first. `tap_channels` lists their channels; the last is what a trained head reads.

    tapped: the blocks of the chain whose outputs they are, the last block among them. strides: of each block's output.
    """

    tap_channels: tuple[int, ...]
    tapped: tuple[int, ...]
    strides: tuple[int, ...]

    def enter(self, images: Tensor) -> Tensor:
        """(B,1,S,S) float32 -> what the first block takes."""
        raise NotImplementedError

    def chain(self) -> Sequence[nn.Module]:
        """The blocks, each taking what the one before gives."""
        raise NotImplementedError

    def taps(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B,1,S,S) float32 -> one (B, channels, h, w) map for each of `tap_channels`."""
        return self.trunk(images, 0)[0]

    def tapped_to(self, stride: int) -> tuple[int, ...]:
        """Which of the taps, from 0 on, are no coarser than `stride`."""
        return tuple(index for index, block in enumerate(self.tapped) if self.strides[block] <= stride)

    def taps_to(self, images: Tensor, stride: int) -> tuple[Tensor, ...]:
        """The taps that are no coarser than `stride`; blocks behind the last of them are not computed."""
        kept = self.tapped_to(stride)
        taps, _ = self.trunk(images, len(self.strides) - 1 - self.tapped[kept[-1]])
        return tuple(taps[index] for index in kept)

    def trunk(self, images: Tensor, spared: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """The taps before the last `spared` blocks, and what the first of those takes."""
        x = self.enter(images)
        taps: list[Tensor] = []
        for index, block in enumerate(self.chain()[: len(self.strides) - spared]):
            x = block(x)
            if index in self.tapped:
                taps.append(x)
        return tuple(taps), x

    def branch(self, count: int) -> nn.Sequential:
        """The last `count` blocks, from what `trunk` gives to the last tap."""
        return nn.Sequential(*self.chain()[len(self.strides) - count :])

    def forward(self, images: Tensor) -> Tensor:
        """The last tap."""
        return self.taps(images)[-1]
