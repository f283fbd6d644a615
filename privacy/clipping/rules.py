"""What the engine asks of a kind of layer, and which kinds there are.

A rule answers for one layer. In the forward pass it computes what the layer computes, with parameters cut off from
autograd, and taps the output; in the backward pass the tap hands over the layer's input and its output's gradient,
from which the rule makes gradients of patients, their squared norms, or a weighted sum of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .patients import Spans


@dataclass(frozen=True, slots=True)
class Captured:
    """One use of a layer in one micro-batch: its input, the gradient of its output, and whose the rows are."""

    input: Tensor
    gradient: Tensor
    spans: Spans

    def part(self, rows: slice, spans: Spans) -> Captured:
        return Captured(self.input[rows], self.gradient[rows], spans)


# (n, values): each patient's gradient of the weight that the layer computes with, flat.
Explicit = Callable[[Captured], Tensor]
# (values,): the sum of all rows' gradients of the weight that the layer computes with.
Sum = Callable[[Captured], Tensor]
# (n,) float64: the squared norm of each patient's gradient of the layer's own weight, without the gradient.
Norms = Callable[[Captured], Tensor]


def room_for(rows: int, values: int, like: Tensor) -> Tensor:
    """(rows, values) of unwritten memory.

    On a CPU from numpy, which asks the system for large pages: first writes to them take a quarter of the time.
    """
    if like.device.type != "cpu":
        return like.new_empty(rows, values)
    return torch.from_numpy(np.empty((rows, values), dtype=np.float64 if like.dtype == torch.float64 else np.float32))


class Rule(Protocol):
    """One layer's weight and bias. key: its geometry, equal for layers that take equally long; size: the weight's."""

    @property
    def key(self) -> Hashable: ...

    @property
    def size(self) -> int: ...

    def prepare(self, captured: Captured) -> Captured:
        """Input and gradient in the weight's precision and in the form that the other methods take them."""
        ...

    def bias(self, captured: Captured) -> Tensor:
        """(n, outputs): each patient's gradient of the bias."""
        ...

    def explicit(self, captured: Captured) -> dict[str, Explicit]:
        """The ways that there are, for this input, to each patient's gradient; by name, the simplest first."""
        ...

    def norms(self, captured: Captured) -> dict[str, Norms]:
        """The ways to the squared norms that need no gradients; by name."""
        ...

    def weighted(self, captured: Captured) -> Tensor:
        """(values,): the gradient of the whole micro-batch, as plain training computes it."""
        ...

    def sums(self, captured: Captured) -> dict[str, Sum]:
        """The ways to what `weighted` gives; by name, its own first."""
        ...

    def work(self, captured: Captured) -> int:
        """Multiplications in `weighted`."""
        ...

    def squares(self, gradients: Tensor) -> Tensor:
        """(n, values) of the weight computed with -> (n,) float64, squared norms for the layer's own weight."""
        ...

    def own(self, total: Tensor) -> Tensor:
        """(values,), a sum of gradients of the weight computed with -> of the layer's own weight."""
        ...
