"""The running mean of a run's models: under noise the mean of many is better than the last.

An exponential moving average without its starting bias (as Kingma and Ba 2015 correct Adam's moments). It looks only
at models that were released to every site, so it costs no privacy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def running_mean(mean: Vector | None, model: Vector, past: float, count: int) -> Vector:
    """The mean (d,) after the `count`-th model (d,), count >= 1, the weight of the past being `past` in [0, 1).

    Each model counts `past` times as much as the one after it; the weights add up to 1 at every count.
    """
    if mean is None or past == 0.0:
        return model.copy()
    return mean + (model - mean) * (1.0 - past) / (1.0 - past**count)
