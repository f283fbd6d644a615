"""Frozen features: the maps of several strides on one grid, normalised for a linear head under small gradient clips.

Averaged over the grid they are, layer by layer, signed square roots of the channels' global averages (as for bilinear
features, Lin et al. 2015), standardised over the layer's channels within the image, and of unit norm over all
layers. A linear head on such vectors trains well under differential privacy, because every patient's gradient has
nearly the same size. All factors are constant over an image, so that each location keeps its own share of
the average and a map of the head's response still points.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def multiscale(taps: tuple[Tensor, ...], grid: tuple[int, int]) -> Tensor:
    """Maps (B,C_l,h_l,w_l) of L layers -> (B, sum C_l, *grid). The mean over the grid has unit norm.

    The result is contiguous whatever the layout of the maps: Opacus 1.6 computes wrong per-example gradients from
    channels_last inputs.
    """
    return of_unit_norm(torch.cat([standardised(tap, grid) for tap in taps], dim=1))


def standardised(tap: Tensor, grid: tuple[int, int]) -> Tensor:
    """One layer's map (B,C,h,w) -> (B,C,*grid), as it enters the features before they are brought to unit norm."""
    return _standardise(_to_grid(tap, grid))


def of_unit_norm(features: Tensor) -> Tensor:
    """Standardised layers (B,C,h,w), side by side, as features."""
    average = features.mean(dim=(2, 3), keepdim=True)
    return (features / (average.square().sum(dim=1, keepdim=True) + 1e-12).sqrt()).contiguous()


def _to_grid(tap: Tensor, grid: tuple[int, int]) -> Tensor:
    if tap.shape[2] >= grid[0]:
        return F.adaptive_avg_pool2d(tap, grid)
    return F.interpolate(tap, size=grid, mode="bilinear", align_corners=False)


def _standardise(x: Tensor) -> Tensor:
    average = x.mean(dim=(2, 3), keepdim=True)
    # A channel whose values cancel over the image would be blown up by its own small average; the floor is a
    # tenth of the layer's root-mean-square average, below which the square root is replaced by a line.
    floor = 0.1 * average.square().mean(dim=1, keepdim=True).sqrt()
    rooted = x * torch.rsqrt(average.abs() + floor + 1e-12)
    root = rooted.mean(dim=(2, 3), keepdim=True)
    spread = root.std(dim=1, keepdim=True, correction=0) + 1e-12
    return (rooted - root.mean(dim=1, keepdim=True)) / spread
