"""Convolutions in one, two and three dimensions: the ways to the patients' gradients and to their norms.

Which is cheapest depends on the layer and the shape of its input, so there are four:

- unfold: the windows as a matrix, and one batched matrix product (none of it copied for a 1 x 1 kernel);
- fold: the batch seen as groups, (B,C,H,W) as (1,BC,H,W), so that one grouped weight-gradient convolution gives all;
- calls: one weight-gradient convolution for each patient;
- gram: for deep layers of few pixels, the squared norm alone. With A the products of the output's gradient between
  pixels and X those of the input, it is the sum over pixels p, q of A[p,q] times the sum over kernel positions of X
  shifted by that position (the ghost norm of Li et al. 2022, without unfolding). In float64, because terms cancel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .patients import squared_norms
from .rules import Captured, Explicit, Norms, Sum, room_for

# Intermediate values at once: 16 MiB of float32, so that what is written is still near when it is read.
_AT_ONCE = 1 << 22

AnyConv = nn.Conv1d | nn.Conv2d | nn.Conv3d


class ConvRule:
    """Takes input (rows, C, ...) and gradient (rows, O, ...); prepared, contiguous and padded symmetrically.

    effective: for a layer that convolves with a function of its weight, that function; see `engine.effective_weight`.
    """

    def __init__(self, layer: AnyConv, effective: Callable[[Tensor], Tensor] | None) -> None:
        self._weight = layer.weight
        self._effective = effective
        self._stride, self._dilation, self._groups = layer.stride, layer.dilation, layer.groups
        self._kernel = layer.kernel_size
        self._uneven, self._padding = _padding(layer)
        own = effective is None
        self.key = (tuple(layer.weight.shape), self._stride, self._dilation, self._groups, self._padding, own)
        self.size = layer.weight.numel()

    def prepare(self, captured: Captured) -> Captured:
        x, g = captured.input.to(self._weight.dtype), captured.gradient.to(self._weight.dtype)
        if self._uneven is not None:
            x = F.pad(x, self._uneven)
        return Captured(x.contiguous(), g.contiguous(), captured.spans)

    def bias(self, captured: Captured) -> Tensor:
        return captured.spans.summed(captured.gradient.flatten(2).sum(dim=2))

    def explicit(self, captured: Captured) -> dict[str, Explicit]:
        ways: dict[str, Explicit] = {"unfold": self._unfold, "fold": self._fold}
        if not self._plain():
            ways["calls"] = self._calls
        return ways

    def norms(self, captured: Captured) -> dict[str, Norms]:
        pixels = captured.input.shape[2:].numel() * captured.spans.longest
        if self._effective is None and self._groups * pixels * pixels <= _AT_ONCE:
            return {"gram": self._gram}
        return {}

    def weighted(self, captured: Captured) -> Tensor:
        return self._convolve(captured.input, captured.gradient, self._weight.shape, self._groups).reshape(-1)

    def sums(self, captured: Captured) -> dict[str, Sum]:
        ways: dict[str, Sum] = {"convolution": self.weighted}
        windows = captured.input.shape[1] * math.prod(self._kernel) * captured.gradient[:, 0].numel()
        if windows <= _AT_ONCE:
            ways["product"] = self._product
        return ways

    def work(self, captured: Captured) -> int:
        positions = captured.gradient.shape[0] * captured.gradient.shape[2:].numel()
        return positions * self._weight.numel()

    def squares(self, gradients: Tensor) -> Tensor:
        if self._effective is None:
            return squared_norms(gradients)
        pull = self._pull(self._effective)
        parts = gradients.split(max(1, _AT_ONCE // 16 // gradients.shape[1]))
        return torch.cat([squared_norms(pull(part.view(-1, *self._weight.shape)).flatten(1)) for part in parts])

    def own(self, total: Tensor) -> Tensor:
        if self._effective is None:
            return total
        return self._pull(self._effective)(total.view(1, *self._weight.shape)).reshape(-1)

    def _pull(self, effective: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """From gradients (N, ...) of the effective weight to those of the weight.

        By autograd and not by torch.func.vjp, whose first call imports torch's compiler: seconds of every process.
        """
        weight = self._weight.detach().requires_grad_(True)
        with torch.enable_grad():
            kernels = effective(weight)
        return lambda gradients: torch.autograd.grad(
            kernels, weight, gradients.to(kernels), retain_graph=True, is_grads_batched=True
        )[0]

    def _plain(self) -> bool:
        """Whether windows are single pixels."""
        return math.prod(self._kernel) == math.prod(self._stride) == 1 and not any(self._padding)

    def _convolve(self, x: Tensor, g: Tensor, shape: torch.Size, groups: int) -> Tensor:
        """The weight gradient, of `shape`, from torch's own backward; only the shape of the weight is looked at."""
        dimensions = len(self._kernel)
        weight = g.new_empty(1).expand(shape)
        result = torch.ops.aten.convolution_backward(
            g, x, weight, None, self._stride, self._padding, self._dilation, False, [0] * dimensions, groups,
            [False, True, False],
        )  # fmt: skip
        return result[1]

    def _fold(self, captured: Captured) -> Tensor:
        # Whole micro-batches go twice as fast as a few rows at a time, up to what would not be kept anyway.
        shape = self._weight.shape
        parts: list[Tensor] = []
        at_once = max(1, 4 * _AT_ONCE // self.size)
        for some in range(0, captured.spans.rows, at_once):
            x, g = captured.input[some : some + at_once], captured.gradient[some : some + at_once]
            rows = x.shape[0]
            weights = torch.Size((rows * shape[0], *shape[1:]))
            folded = self._convolve(x.flatten(0, 1)[None], g.flatten(0, 1)[None], weights, rows * self._groups)
            parts.append(folded.reshape(rows, -1))
        return captured.spans.summed(parts[0] if len(parts) == 1 else torch.cat(parts))

    def _calls(self, captured: Captured) -> Tensor:
        result = room_for(len(captured.spans), self.size, captured.gradient)
        for patient, (rows, spans) in enumerate(captured.spans.parts(1)):
            result[patient] = self.weighted(captured.part(rows, spans))
        return result

    def _unfold(self, captured: Captured) -> Tensor:
        x, g, spans = captured.input, captured.gradient, captured.spans
        result = room_for(spans.rows, self.size, g)
        grouped = result.view(spans.rows, self._groups, self._weight.shape[0] // self._groups, -1)
        at_once = max(1, _AT_ONCE // (x.shape[1] * math.prod(self._kernel) * g.shape[2:].numel()))
        for some in range(0, spans.rows, at_once):
            part = slice(some, some + at_once)
            windows = self._windows(x[part], g.shape[2:]).unflatten(1, (self._groups, -1))
            outputs = g[part].flatten(2).unflatten(1, (self._groups, -1))
            grouped[part] = torch.matmul(outputs, windows.transpose(2, 3))
        return spans.summed(result)

    def _product(self, captured: Captured) -> Tensor:
        """One matrix product over all rows and positions. For deep layers of few pixels, up to twice as fast as torch's
        own weight gradient."""
        windows = self._views(captured.input, captured.gradient.shape[2:]).movedim(0, 1 + len(self._kernel))
        windows = windows.reshape(self._groups, captured.input.shape[1] * math.prod(self._kernel) // self._groups, -1)
        outputs = captured.gradient.transpose(0, 1).reshape(self._groups, self._weight.shape[0] // self._groups, -1)
        return torch.bmm(outputs, windows.transpose(1, 2)).reshape(-1)

    def _windows(self, x: Tensor, outputs: torch.Size) -> Tensor:
        """(rows, C x kernel, positions): what each output position sees."""
        if self._plain():
            return x.flatten(2)
        return self._views(x, outputs).reshape(x.shape[0], -1, outputs.numel())

    def _views(self, x: Tensor, outputs: torch.Size) -> Tensor:
        """(rows, C, *kernel, *outputs): the same, without copying more than the padding asks for."""
        if any(self._padding):
            x = F.pad(x, [side for size in reversed(self._padding) for side in (size, size)])
        spatial = x.stride()[2:]
        inside = [step * d for step, d in zip(spatial, self._dilation, strict=True)]
        across = [step * s for step, s in zip(spatial, self._stride, strict=True)]
        return x.as_strided(
            (*x.shape[:2], *self._kernel, *outputs), (*x.stride()[:2], *inside, *across), x.storage_offset()
        )

    def _gram(self, captured: Captured) -> Tensor:
        pixels = captured.input.shape[2:].numel() * captured.spans.longest
        at_once = max(1, _AT_ONCE // (self._groups * pixels * pixels))
        parts = captured.spans.parts(at_once * captured.spans.longest)
        return torch.cat([self._gram_of(captured.part(rows, spans)) for rows, spans in parts])

    def _gram_of(self, captured: Captured) -> Tensor:
        spans, inner, outer = captured.spans, captured.input.shape[2:], captured.gradient.shape[2:]
        inputs = self._products(spans.padded(captured.input))
        outputs = self._products(spans.padded(captured.gradient))
        inputs = inputs.view(-1, spans.longest, *inner, spans.longest, *inner)
        sides = [side for size in reversed(self._padding) for side in (size, size)]
        if any(sides):
            inputs = F.pad(inputs, [*sides, 0, 0, *sides])
        total: Tensor | None = None
        for position in itertools.product(*(range(size) for size in self._kernel)):
            place = tuple(
                slice(at * d, at * d + s * (size - 1) + 1, s)
                for at, d, s, size in zip(position, self._dilation, self._stride, outer, strict=True)
            )
            shifted = inputs[(slice(None), slice(None), *place, slice(None), *place)]
            total = shifted.clone() if total is None else total.add_(shifted)
        assert total is not None
        squares = (total.reshape(len(spans), -1) * outputs.reshape(len(spans), -1)).sum(dim=1)
        return squares.clamp_(min=0.0)

    def _products(self, rows: Tensor) -> Tensor:
        """(n, longest, C, ...) -> (n x groups, pixels, pixels) float64: every pixel of a patient with every other."""
        n, channels = rows.shape[0], rows.shape[2]
        vectors = rows.flatten(3).double().transpose(1, 2)  # (n, C, longest, pixels)
        vectors = vectors.reshape(n * self._groups, channels // self._groups, -1)
        return torch.bmm(vectors.transpose(1, 2), vectors)


def _padding(layer: AnyConv) -> tuple[list[int] | None, tuple[int, ...]]:
    """What to pad beforehand (F.pad's order) where the two sides differ, and the padding of both sides of the rest."""
    if layer.padding == "valid":
        return None, (0,) * len(layer.kernel_size)
    if layer.padding != "same":
        return None, tuple(int(size) for size in layer.padding)
    totals = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    if not any(total % 2 for total in totals):
        return None, tuple(total // 2 for total in totals)
    sides = [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    return sides, (0,) * len(totals)
