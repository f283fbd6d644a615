"""The small backbone: a residual CNN with GroupNorm and weight-standardised convolutions, for training on a CPU.

GroupNorm (Wu and He 2018) with weight standardisation (Qiao et al. 2019) keeps every image's activations its own,
which per-patient gradients need, and trains as steadily as BatchNorm does. ReLUs are out of place and residuals are
new tensors, because the hooks that read per-example gradients crash on values overwritten in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .backbone import Backbone


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose kernels are brought to zero mean and unit variance over their fan-in before use.

    They are divided by the square root of the fan-in too, so that a layer keeps the variance of its input.
    """

    def effective_weight(self, weight: Tensor) -> Tensor:
        """The kernels convolved with, a function of the weight: what exact per-patient clipping asks a layer for."""
        fan_in = weight[0].numel()
        centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
        variance = centred.square().mean(dim=(1, 2, 3), keepdim=True)
        return centred * torch.rsqrt(variance * fan_in + 1e-6)

    def forward(self, input: Tensor) -> Tensor:
        weight = self.effective_weight(self.weight)
        return F.conv2d(input, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, channels // 8), channels)


class _Down(nn.Module):
    """Halves the grid. An even kernel, so that each output's centre is the centre of the pixels it stands for."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = StandardisedConv2d(inputs, outputs, kernel, stride=2, padding=(kernel - 2) // 2, bias=False)
        self.norm = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class _Residual(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = StandardisedConv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm1 = _norm(channels)
        self.conv2 = StandardisedConv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm2 = _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(x + self.norm2(self.conv2(y)))


class SmallBackbone(Backbone):
    """(B,1,S,S) -> (B, width, S/8, S/8). The last block is dilated: it sees about 120 pixels across."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tap_channels = (width,)
        self.tapped, self.strides = (5,), (2, 4, 4, 8, 8, 8)
        self.body = nn.Sequential(
            _Down(1, max(8, width // 4), kernel=4),
            _Down(max(8, width // 4), max(8, width // 2), kernel=2),
            _Residual(max(8, width // 2), dilation=1),
            _Down(max(8, width // 2), width, kernel=2),
            _Residual(width, dilation=1),
            _Residual(width, dilation=2),
        )

    def enter(self, images: Tensor) -> Tensor:
        return images

    def chain(self) -> Sequence[nn.Module]:
        return list(self.body)
