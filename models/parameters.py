"""Trainable parameters as one vector, the form in which updates are clipped, noised, masked and summed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .errors import ModelError


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for _, parameter in sorted(module.named_parameters()) if parameter.requires_grad]


def to_vector(module: nn.Module) -> Tensor:
    """A copy of the trainable parameters, in the order of their sorted names: float32 (d,)."""
    parts = [parameter.detach().reshape(-1).to(torch.float32) for parameter in _trainable(module)]
    return torch.cat(parts) if parts else torch.empty(0)


def from_vector(module: nn.Module, vector: Tensor) -> None:
    """Writes `vector` (d,) back into the trainable parameters. ModelError when its length is not d."""
    parameters = _trainable(module)
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
