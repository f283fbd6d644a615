"""Embeddings: a patient's gradient is the output's gradient, added up by index."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import UnaccountableError
from .patients import squared_norms
from .rules import Captured, Explicit, Norms, Sum


class EmbeddingRule:
    """Takes indices (rows, ...) and gradient (rows, ..., D); prepared, (rows, T) and (rows, T, D)."""

    def __init__(self, layer: nn.Embedding, where: str) -> None:
        if layer.max_norm is not None or layer.scale_grad_by_freq:
            raise UnaccountableError(
                "Embedding with max_norm or scale_grad_by_freq mixes the patients of a batch",
                where=where,
                fix="build it without them",
            )
        self._shape = (layer.num_embeddings, layer.embedding_dim)
        self._dtype = layer.weight.dtype
        self._padding = layer.padding_idx
        self.key = ("embedding", self._shape)
        self.size = layer.weight.numel()

    def prepare(self, captured: Captured) -> Captured:
        rows = captured.spans.rows
        index = captured.input.reshape(rows, -1)
        g = captured.gradient.to(self._dtype).reshape(rows, -1, self._shape[1])
        if self._padding is not None:
            g = g * (index != self._padding).unsqueeze(2)
        return Captured(index, g, captured.spans)

    def bias(self, captured: Captured) -> Tensor:
        raise AssertionError("an embedding has no bias")

    def explicit(self, captured: Captured) -> dict[str, Explicit]:
        return {"sum": self._sum}

    def norms(self, captured: Captured) -> dict[str, Norms]:
        return {"gram": _gram} if captured.spans.longest * captured.input.shape[1] <= 512 else {}

    def weighted(self, captured: Captured) -> Tensor:
        total = captured.gradient.new_zeros(self._shape)
        return total.index_add_(0, captured.input.reshape(-1), captured.gradient.flatten(0, 1)).reshape(-1)

    def sums(self, captured: Captured) -> dict[str, Sum]:
        return {"index": self.weighted}

    def work(self, captured: Captured) -> int:
        return captured.gradient.numel()

    def squares(self, gradients: Tensor) -> Tensor:
        return squared_norms(gradients)

    def own(self, total: Tensor) -> Tensor:
        return total

    def _sum(self, captured: Captured) -> Tensor:
        spans, (entries, size) = captured.spans, self._shape
        owners = spans.owners.to(captured.input.device)
        places = (captured.input + entries * owners.unsqueeze(1)).reshape(-1)
        sums = captured.gradient.new_zeros(len(spans) * entries, size)
        return sums.index_add_(0, places, captured.gradient.flatten(0, 1)).view(len(spans), -1)


def _gram(captured: Captured) -> Tensor:
    index = captured.spans.padded(captured.input).flatten(1)
    g = captured.spans.padded(captured.gradient).flatten(1, 2).double()
    same = index.unsqueeze(1) == index.unsqueeze(2)
    return (torch.bmm(g, g.transpose(1, 2)) * same).sum(dim=(1, 2)).clamp_(min=0.0)
