"""The sides that ReLU and max-pooling take of their kinks, noted in one forward pass and held in another.

The gradient of such a network jumps where a unit's input crosses zero or two pixels of a window are equal. Among
millions of units some lie within rounding of there, and single and double precision then take different sides: both
gradients are right, each of a network that differs from the other by less than rounding, and still they differ by what
the units contribute. Held to one side, what is left is the error of the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_RELU = (torch.relu, F.relu, Tensor.relu)
_POOL = (torch.max_pool2d, F.max_pool2d)


class Noting(TorchFunctionMode):
    """Inside, `sides` grows by what each ReLU let through (bool) and where each max-pooling found its maxima (int)."""

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[Tensor] = []

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if func in _POOL:
            values, places = F.max_pool2d(*args, **options | {"return_indices": True})
            self.sides.append(places)
            return values
        result = func(*args, **options)
        if func in _RELU:
            self.sides.append(result.detach() > 0)
        return result


class Holding(TorchFunctionMode):
    """Inside, each ReLU and max-pooling takes the sides of `row` in what was noted, whatever its input says."""

    def __init__(self, sides: Sequence[Tensor], row: int) -> None:
        super().__init__()
        self._sides = iter([side[row : row + 1] for side in sides])

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _RELU:
            return args[0] * next(self._sides)
        if func in _POOL:
            places = next(self._sides)
            return args[0].flatten(2).gather(2, places.flatten(2)).view(places.shape)
        return func(*args, **dict(kwargs or {}))
