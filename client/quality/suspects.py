"""Labels that are probably wrong, by confident learning (Northcutt, Jiang and Chuang 2021).

A model is sure of a class when its probability reaches the mean probability that it gives to what readers put into
that class: so a model that is timid about rare findings is judged by its own standard. A label is suspected when the
model is sure of the other class, surer than of the label's own. The probabilities must be the model's before it was
trained on these labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that is probably wrong. index: of the label; margin: by how much the other class is likelier, (-1, 1)."""

    index: int
    margin: float


def suspects(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> tuple[Suspect, ...]:
    """Suspected labels (n,) under the model's probabilities (n,) of presence, the likeliest error first.

    () where readers put everything into one class: then nothing shows what the model makes of the other.
    """
    ranked = ranking(labels, probabilities)
    if not ranked:
        return ()
    present = float(probabilities[labels].mean())
    absent = float(1.0 - probabilities[~labels].mean())
    sure_present = probabilities >= present
    sure_absent = 1.0 - probabilities >= absent
    # Sure of both: the likelier of the two counts. Sure of neither: nothing is said.
    says_present = sure_present & (~sure_absent | (probabilities > 0.5))
    says_absent = sure_absent & ~says_present
    wrong = np.where(labels, says_absent, says_present)
    return tuple(one for one in ranked if wrong[one.index])


def ranking(labels: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> tuple[Suspect, ...]:
    """All labels from the likeliest error to the least likely, by the margin of the other class; () as above."""
    if not (bool(labels.any()) and bool((~labels).any())):
        return ()
    own = np.where(labels, probabilities, 1.0 - probabilities)
    margins = 1.0 - 2.0 * own
    order = np.lexsort((np.arange(len(margins)), -margins))
    return tuple(Suspect(int(index), float(margins[index])) for index in order)
