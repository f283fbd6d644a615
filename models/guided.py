"""Maps that follow the image: the guided filter (He, Sun and Tang 2010) from a coarse grid to the network's input.

A map of a few cells says where something is, and the image says where it ends. In every square window the map is
fitted as a line in the image's grey value, and the fits are averaged: where the grey value steps the map may step, and
where it is even the map stays even. Nothing is trained and nobody else's images take part, so it costs no privacy.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

_RADIUS = 1 / 16  # of the image's side
_EVEN = 0.01  # variance within a window, as a share of the image's own, below which its grey values mean little


def guided(maps: Tensor, images: Tensor) -> Tensor:
    """Maps (B,F,h,w) and the images (B,1,S,S) that they are of -> maps (B,F,S,S) along the images' edges.

    A grey value may be on any scale: what counts as an edge is measured by the image's own variance.
    """
    side = images.shape[-1]
    radius = max(1, round(side * _RADIUS))

    def mean(x: Tensor) -> Tensor:
        """Over the window around each pixel, as far as it lies within the image."""
        for window, padding in (((2 * radius + 1, 1), (radius, 0)), ((1, 2 * radius + 1), (0, radius))):
            x = F.avg_pool2d(x, window, stride=1, padding=padding, count_include_pad=False)
        return x

    even = _EVEN * images.var(dim=(2, 3), keepdim=True, correction=0)
    grey = images - images.mean(dim=(2, 3), keepdim=True)
    fine = F.interpolate(maps, size=images.shape[2:], mode="bilinear", align_corners=False)
    grey_mean, map_mean = mean(grey), mean(fine)
    spread = mean(grey * grey) - grey_mean * grey_mean
    slope = (mean(grey * fine) - grey_mean * map_mean) / (spread.clamp_min(0.0) + even + 1e-12)
    return mean(slope) * grey + mean(map_mean - slope * grey_mean)
