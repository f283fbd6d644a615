"""Linear layers. A row's gradient is an outer product, so its norm is a product of norms (Goodfellow 2015).

With several vectors to a patient (several rows, or more dimensions than two) it is a sum of outer products: its
squared norm comes from the Gram matrices of the vectors (Li et al. 2022), or the sum is formed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .patients import squared_norms
from .rules import Captured, Explicit, Norms, Sum


class LinearRule:
    """Takes input (rows, ..., I) and gradient (rows, ..., O); prepared, both have three dimensions."""

    def __init__(self, layer: nn.Linear) -> None:
        self._dtype = layer.weight.dtype
        self.key = ("linear", tuple(layer.weight.shape))
        self.size = layer.weight.numel()

    def prepare(self, captured: Captured) -> Captured:
        rows = captured.spans.rows
        x, g = captured.input.to(self._dtype), captured.gradient.to(self._dtype)
        return Captured(x.reshape(rows, -1, x.shape[-1]), g.reshape(rows, -1, g.shape[-1]), captured.spans)

    def bias(self, captured: Captured) -> Tensor:
        return captured.spans.summed(captured.gradient.sum(dim=1))

    def explicit(self, captured: Captured) -> dict[str, Explicit]:
        return {"product": _product}

    def norms(self, captured: Captured) -> dict[str, Norms]:
        vectors = captured.spans.longest * captured.input.shape[1]
        if vectors == 1:
            return {"norms": _product_of_norms}
        return {"gram": _gram} if vectors <= 512 else {}

    def weighted(self, captured: Captured) -> Tensor:
        return (captured.gradient.flatten(0, 1).T @ captured.input.flatten(0, 1)).reshape(-1)

    def sums(self, captured: Captured) -> dict[str, Sum]:
        return {"product": self.weighted}

    def work(self, captured: Captured) -> int:
        return captured.input.numel() * captured.gradient.shape[-1]

    def squares(self, gradients: Tensor) -> Tensor:
        return squared_norms(gradients)

    def own(self, total: Tensor) -> Tensor:
        return total


def _vectors(captured: Captured) -> tuple[Tensor, Tensor]:
    return captured.spans.padded(captured.input).flatten(1, 2), captured.spans.padded(captured.gradient).flatten(1, 2)


def _product(captured: Captured) -> Tensor:
    x, g = _vectors(captured)
    return torch.bmm(g.transpose(1, 2), x).flatten(1)


def _product_of_norms(captured: Captured) -> Tensor:
    return squared_norms(captured.input.flatten(1)) * squared_norms(captured.gradient.flatten(1))


def _gram(captured: Captured) -> Tensor:
    # In float64: the terms can cancel, and what single precision leaves of a small norm would be noise.
    x, g = (vectors.double() for vectors in _vectors(captured))
    return (torch.bmm(x, x.transpose(1, 2)) * torch.bmm(g, g.transpose(1, 2))).sum(dim=(1, 2)).clamp_(min=0.0)
