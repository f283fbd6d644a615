"""What a clipped sum is taken of, and what comes out: the words that both engines share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import UnaccountableError

ImageLosses = Callable[[Tensor], Tensor]

MARGIN = 1e-3
# Added to a norm before it divides, so that gradients near zero do not become pure direction (Bu et al. 2023).
_STABILITY = 0.01


@dataclass(frozen=True, slots=True)
class ClippedSum:
    """A sum over patients, and what one patient can change of it.

    parts: the sum for each parameter (values,), in sorted-name order: in the parameter's own precision where one
    micro-batch gave it, else float64; sensitivity: bound on the Euclidean norm of the change when one patient is added
    or removed; patients: how many contributed (private: never leaves the site).
    """

    parts: tuple[NDArray[np.floating], ...]
    sensitivity: float
    patients: int

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def total(self) -> NDArray[np.float64]:
        """The parts in one vector (d,) float64, made anew: the form that noise is added in."""
        # From numpy, which asks for large pages: for millions of values a third of torch's time to write them.
        return np.concatenate(self.parts, dtype=np.float64)

    def among(self, part: NDArray[np.bool_]) -> ClippedSum:
        """The same sum in a longer vector, where `part` (d,) is set; zero elsewhere, whoever is added or removed."""
        if part.all():
            return self
        whole = np.zeros(part.size)
        whole[part] = self.total
        return replace(self, parts=(whole,))


@dataclass(frozen=True, slots=True)
class PatientRows:
    """The rows (images) that stand for each patient of one step: rows[offsets[i]:offsets[i+1]] are patient i's.

    Every patient has at least one row.
    """

    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return self.offsets.size - 1

    def groups(self, images_at_once: int) -> Iterator[tuple[int, int]]:
        """Consecutive patients [first, last) with together at most `images_at_once` rows; one alone may have more."""
        first = 0
        while first < len(self):
            limit = self.offsets[first] + images_at_once
            last = max(first + 1, int(np.searchsorted(self.offsets, limit, side="right")) - 1)
            yield first, last
            first = last

    def group(self, first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of patients [first, last): the rows, each row's weight (1 / its patient's rows), and rows of each patient."""
        counts = np.diff(self.offsets[first : last + 1])
        rows = self.rows[self.offsets[first] : self.offsets[last]]
        return torch.from_numpy(rows), torch.from_numpy(np.repeat(1.0 / counts, counts)), torch.from_numpy(counts)


@dataclass(frozen=True)
class Spans:
    """How the consecutive rows of one backward pass belong to patients. counts (n,): each patient's rows, 1 or more."""

    counts: Tensor

    def __len__(self) -> int:
        return self.counts.numel()

    @cached_property
    def rows(self) -> int:
        return int(self.counts.sum())

    @cached_property
    def longest(self) -> int:
        return int(self.counts.max())

    @cached_property
    def owners(self) -> Tensor:
        """The patient of each row."""
        return torch.repeat_interleave(torch.arange(len(self)), self.counts)

    @cached_property
    def _places(self) -> Tensor:
        starts = torch.cumsum(self.counts, 0) - self.counts
        return self.owners * self.longest + torch.arange(self.rows) - starts[self.owners]

    def summed(self, rows: Tensor) -> Tensor:
        """(rows, ...) -> (patients, ...), the sum over each patient's rows."""
        if self.longest == 1:
            return rows
        sums = rows.new_zeros(len(self), *rows.shape[1:])
        return sums.index_add_(0, self.owners.to(rows.device), rows)

    def padded(self, rows: Tensor) -> Tensor:
        """(rows, ...) -> (patients, longest, ...), with zeros where a patient has fewer rows."""
        if self.longest == 1:
            return rows.unsqueeze(1)
        places = rows.new_zeros(len(self) * self.longest, *rows.shape[1:])
        places[self._places.to(rows.device)] = rows
        return places.view(len(self), self.longest, *rows.shape[1:])

    def parts(self, rows_at_once: int) -> Iterator[tuple[slice, Spans]]:
        """The same patients in order, a few at a time: slices of the rows, and whose they are."""
        first = start = 0
        while first < len(self):
            last, stop = first, start
            while last < len(self) and (last == first or stop + int(self.counts[last]) - start <= rows_at_once):
                stop += int(self.counts[last])
                last += 1
            yield slice(start, stop), Spans(self.counts[first:last])
            first, start = last, stop


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that take a gradient, by name, in sorted-name order: the order of every vector here."""
    named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    return {name: named[name] for name in sorted(named)}


def squared_norms(gradients: Tensor) -> Tensor:
    """(n, values) -> (n,) float64, right to about 10^-6 however many values there are.

    Squares are added in single precision within blocks of 512 values only: over millions of values torch's own norm
    reads up to 4e-4 too little.
    """
    if gradients.dtype == torch.float64:
        return torch.linalg.vecdot(gradients, gradients)
    whole = gradients.shape[1] - gradients.shape[1] % 512
    squares = gradients[:, whole:].double().square().sum(dim=1)
    if whole:
        blocks = torch.linalg.vector_norm(gradients[:, :whole].unflatten(1, (-1, 512)), dim=2)
        squares = squares + blocks.double().square().sum(dim=1)
    if not bool(torch.isfinite(squares).all()):  # a square may overflow where the value did not
        return torch.stack([row.double().square().sum() for row in gradients])
    return squares


def scales(norms: Tensor, clip: float, normalised: bool) -> Tensor:
    """The factor on each patient's gradient, given its norm (P,): no scaled norm is above clip x (1 - 10^-3).

    Cut: min(1, bound / norm). Normalised: bound / (norm + 0.01). A norm that is not finite gives 0. Raises
    UnaccountableError when the clip is not positive.
    """
    if not clip > 0.0:
        raise UnaccountableError(f"a clip of {clip} bounds nothing", fix="choose a clip above 0")
    bound = clip * (1.0 - MARGIN)
    # 0 / 0 never happens in the cut: the clip is above 0, and x / 0 clamps to 1.
    scale = bound / (norms + _STABILITY) if normalised else (bound / norms).clamp(max=1.0)
    return torch.where(torch.isfinite(norms), scale, 0.0)
