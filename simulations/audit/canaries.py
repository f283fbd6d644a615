"""Canaries: patients made to be found again, each of whom takes part by a fair coin (Steinke, Nasr, Jagielski 2023).

What makes a canary strong is a gradient that no other patient shares. Where a head is trained on frozen features, a
canary is a crafted feature: a direction of its own, orthogonal to every other canary's, one in which real images vary
least, and several times as long as a real image's feature, so that its gradient fills the clip for many steps (a Dirac
canary in the space of gradients). Where the whole network is trained it is an image of random blocks. Labels are random
in both: nothing else in the data teaches them, so that what the release says of a canary it learnt from the canary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...client.training_set import TrainingSet
from ...models.checkpoint import Release
from ..compare.folds import Fold
from .bounds import Vector
from .rows import beside

if TYPE_CHECKING:
    from torch import Tensor

LENGTH = 4.0
"""Times the median length of the real images' mean features."""
_BLOCK = 4
"""Pixels to a side of a block."""


@dataclass(frozen=True, slots=True, eq=False)
class Canaries:
    """inputs: as a training set's (m, ...). labels (m, F). included (m,): the coins."""

    inputs: Tensor
    labels: NDArray[np.bool_]
    included: NDArray[np.bool_]


def make(fold: Fold, count: int, seed: int) -> Canaries:
    """`count` canaries for the fold's network and their coins, which follow from the seed."""
    import torch

    generator = np.random.default_rng([seed, 0xCA7A])
    shape = tuple(fold.inputs.shape[1:])
    labels = generator.random((count, fold.truth.shape[1])) < 0.5
    included = generator.random(count) < 0.5
    if fold.release.card.architecture.frozen:
        real = fold.inputs.float().mean(dim=(2, 3)).double().numpy()
        length = LENGTH * float(np.median(np.linalg.norm(real, axis=1)))
        # Rising eigenvalues: the quietest directions first. With more canaries than directions some are shared.
        quiet = np.linalg.eigh(real.T @ real)[1].T[np.arange(count) % shape[0]]
        values = length * generator.permutation(quiet)[:, :, None, None] * np.ones((1, 1, *shape[1:]))
    else:
        side = shape[1] // _BLOCK
        blocks = generator.random((count, 1, side, side)) < 0.5
        transform = fold.release.card.transform
        values = (np.kron(blocks, np.ones((_BLOCK, _BLOCK))) - transform.mean) / transform.std
    return Canaries(torch.from_numpy(values.astype(np.float32)), labels, included)


def planted(sets: Sequence[TrainingSet], canaries: Canaries) -> list[TrainingSet]:
    """The hospitals' rows with the included canaries among them, dealt out in turn."""
    found: list[TrainingSet] = []
    for number, rows in enumerate(sets):
        mine = np.flatnonzero(canaries.included & (np.arange(canaries.included.size) % len(sets) == number))
        found.append(beside(rows, canaries.inputs[mine], canaries.labels[mine]) if mine.size else rows)
    return found


def scores(canaries: Canaries, start: Release, trained: Release) -> Vector:
    """How much more the trained release believes each canary's labels than the starting one did (m,).

    The change of each finding's logit, less its mean over all canaries (which takes what is common to all, such as the
    bias, away), signed by the label and summed over the findings.
    """
    import torch

    with torch.inference_mode():
        before, after = (
            release.network().trainable()(canaries.inputs).logits.double().numpy() for release in (start, trained)
        )
    moved = after - before
    return ((moved - moved.mean(axis=0)) * np.where(canaries.labels, 1.0, -1.0)).sum(axis=1)
