"""What a backbone is: the part of the network that turns an input into maps of features at one or more strides.

Everything after it sees only feature maps and never asks what they were made from.
"""

from __future__ import annotations

from torch import Tensor, nn


class Backbone(nn.Module):
    """Gives feature maps, finest first. `tap_channels` lists their channels; the last is what a trained head reads."""

    tap_channels: tuple[int, ...]

    def taps(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B,1,S,S) float32 -> one (B, channels, h, w) map for each of `tap_channels`."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """The last tap."""
        return self.taps(images)[-1]
