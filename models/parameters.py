"""What a plan's rounds may move as one vector, the form in which updates are clipped, noised, masked and summed.

That is every trainable parameter and, where features are centred, the centre; in the order of their sorted names. A
round moves either the one or the other (see centring).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .centring import centres
from .errors import ModelError


def movable(module: nn.Module) -> dict[str, nn.Parameter]:
    """What rounds may move, by sorted names."""
    centre = dict(centres(module))
    return {name: one for name, one in sorted(module.named_parameters()) if one.requires_grad or name in centre}


def to_vector(module: nn.Module) -> Tensor:
    """A copy of the values that rounds may move: float32 (d,)."""
    parts = [parameter.detach().reshape(-1).to(torch.float32) for parameter in movable(module).values()]
    return torch.cat(parts) if parts else torch.empty(0)


def from_vector(module: nn.Module, vector: Tensor) -> None:
    """Writes `vector` (d,) back into what rounds may move. ModelError when its length is not d."""
    parameters = movable(module).values()
    size = sum(parameter.numel() for parameter in parameters)
    if vector.ndim != 1 or vector.numel() != size:
        raise ModelError(
            f"a vector of shape {tuple(vector.shape)} for {size} trainable parameters",
            where="parameters",
            fix="use a vector taken from the same architecture",
        )
    place = 0
    with torch.no_grad():
        for parameter in parameters:
            part = vector[place : place + parameter.numel()]
            parameter.copy_(part.view_as(parameter))
            place += parameter.numel()


def moving(module: nn.Module, centring: bool) -> Tensor:
    """Which values of the vector a round moves, a centring one or another: bool (d,)."""
    centre = dict(centres(module))
    parts = [
        torch.full((parameter.numel(),), (name in centre) == centring) for name, parameter in movable(module).items()
    ]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.bool)
