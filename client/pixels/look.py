"""How an image looks: measures of its acquisition, taken from the grey image (rows, columns), 0 black to 1 white.

- intensity: its mean grey value, 0 to 1;
- noise: the standard deviation of its noise in grey values, by Immerkaer 1996 (the mean absolute response to the
  difference of two Laplacians, which smooth structure hardly answers to);
- resolution: its root mean square spatial frequency in cycles across the shorter side. An image that was blurred or
  enlarged has less of it whatever its number of pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def intensity(image: NDArray[np.float32]) -> float:
    """Mean grey value, 0 to 1."""
    return float(image.mean(dtype=np.float64))


def noise(image: NDArray[np.float32]) -> float:
    """Standard deviation of the noise in grey values; 0 for images of fewer than 3 x 3 pixels."""
    if min(image.shape) < 3:
        return 0.0
    grey = image.astype(np.float64)
    down = grey[:-2] - 2.0 * grey[1:-1] + grey[2:]
    both = down[:, :-2] - 2.0 * down[:, 1:-1] + down[:, 2:]
    # The kernel's Euclidean norm is 6, and a normal variable's mean absolute value sqrt(2 / pi) of its deviation.
    return math.sqrt(math.pi / 2.0) * float(np.abs(both).mean()) / 6.0


def resolution(image: NDArray[np.float32]) -> float:
    """Root mean square spatial frequency in cycles across the shorter side; 0 for an even image."""
    grey = image.astype(np.float64)
    variance = float(grey.var())
    if min(grey.shape) < 2 or variance < 1e-12:
        return 0.0
    slope = float((np.diff(grey, axis=0) ** 2).mean() + (np.diff(grey, axis=1) ** 2).mean())
    return math.sqrt(slope / variance) / (2.0 * math.pi) * min(grey.shape)


MEASURES = {"intensity": intensity, "noise": noise, "resolution": resolution}
