"""Whether incoming images still look like those trained on: two-sample tests on measures of each image.

For each measure the Kolmogorov-Smirnov distance of the two distributions, with its p-value; over several measures the
p-values are held against their level by Holm 1979, so that looking at more of them finds no more by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.01
FEWEST = 20
"""Images on either side below which nothing is said."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One measure. distance: the largest gap between the two distribution functions, 0 to 1; before, now: medians;
    drifted: whether the gap is more than chance at LEVEL, over all measures together."""

    measure: str
    distance: float
    p_value: float
    before: float
    now: float
    drifted: bool


def drift(trained: Mapping[str, NDArray[np.float64]], incoming: Mapping[str, NDArray[np.float64]]) -> tuple[Drift, ...]:
    """The measures of images trained on, each (n,), beside those of incoming ones, each (m,); in their order.

    () when either side has fewer than FEWEST images.
    """
    from scipy import stats

    names = [name for name in trained if min(len(trained[name]), len(incoming.get(name, ()))) >= FEWEST]
    tests = {name: cast("tuple[float, float]", stats.ks_2samp(trained[name], incoming[name])) for name in names}
    rejected: set[str] = set()
    for rank, name in enumerate(sorted(names, key=lambda one: tests[one][1])):
        if tests[name][1] > LEVEL / (len(names) - rank):
            break
        rejected.add(name)
    return tuple(
        Drift(
            name,
            float(tests[name][0]),
            float(tests[name][1]),
            float(np.median(trained[name])),
            float(np.median(incoming[name])),
            name in rejected,
        )
        for name in names
    )
