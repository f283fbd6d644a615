"""Normalisation layers: gradients of the gain and the bias of each row, at the price of plain training.

GroupNorm and InstanceNorm are computed with the batch folded into the groups: (B,C,...) is seen as one image of B x C
channels, each row with its own copy of gain and bias, whose gradients autograd's native backward then gives row by
row. LayerNorm has no such view; its normalised input is computed once more in the backward pass.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def folded_group_norm(x: Tensor, groups: int, gain: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Group norm of x (B,C,...) where every row has its own gain and bias (B,C); the values are those of the layer."""
    rows, channels = x.shape[:2]
    folded = x.reshape(1, rows * channels, *x.shape[2:])
    flat = [None if own is None else own.reshape(-1) for own in (gain, bias)]
    output = torch.group_norm(folded, rows * groups, flat[0], flat[1], eps).view(x.shape)
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return output.contiguous(memory_format=torch.channels_last)
    return output


def gain_gradients(layer: nn.LayerNorm, x: Tensor, gradient: Tensor) -> Tensor:
    """(rows, values): each row's gradient of a LayerNorm's gain."""
    size = len(layer.normalized_shape)
    dtype = layer.weight.dtype
    normal = F.layer_norm(x.to(dtype), layer.normalized_shape, None, None, layer.eps)
    return _over_positions(normal * gradient.to(dtype), size)


def bias_gradients(layer: nn.LayerNorm, gradient: Tensor) -> Tensor:
    """(rows, values): each row's gradient of a LayerNorm's bias."""
    return _over_positions(gradient.to(layer.weight.dtype), len(layer.normalized_shape))


def _over_positions(values: Tensor, normalised: int) -> Tensor:
    return values.flatten(values.ndim - normalised).reshape(values.shape[0], -1, _size(values, normalised)).sum(dim=1)


def _size(values: Tensor, normalised: int) -> int:
    return values.shape[values.ndim - normalised :].numel()
