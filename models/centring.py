"""Features less the cohort's mean feature: the centre, which the first rounds of a plan find and later ones train on.

Features of unit norm have most of their length in common. What they share says nothing about any image, and yet takes
up most of every clipped gradient, as a bias would. The centre is found as a gradient step is made: each patient
contributes their own mean feature under the plan's clip, noise and mask, so that to the accountant and to the protocol
such a round is a round like any other.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .card import Architecture
from .errors import UntrainableError


class Centre(nn.Linear):
    """The centre as the weight (1, C) of a linear map, a layer that every per-example gradient engine knows.

    Only a round that finds the centre moves it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1, bias=False)
        nn.init.zeros_(self.weight)
        self.requires_grad_(False)

    def away_from(self, features: Tensor) -> Tensor:
        """(B,C,h,w) -> the same less the centre."""
        return features - self.weight.view(1, -1, 1, 1)


class Centring(nn.Module):
    """What a round that finds the centre trains in place of the head: the losses (B,) of features (B,C,h,w).

    A loss is minus the product of the centre with how far the image's mean feature lies from `origin` (1, C), the
    centre that the plan began with. Its gradient does not depend on the steps made before: they add up to one mean.
    """

    def __init__(self, centre: Centre, origin: Tensor) -> None:
        super().__init__()
        self.origin = origin
        self.centre = nn.Linear(centre.in_features, 1, bias=False)
        with torch.no_grad():
            self.centre.weight.copy_(centre.weight)

    def forward(self, features: Tensor) -> Tensor:
        return -self.centre(features.mean(dim=(2, 3)) - self.origin)[:, 0]


def centres(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The centre's parameter by its name in `module`; nothing where the features are not centred."""
    for name, layer in module.named_modules():
        if isinstance(layer, Centre):
            yield from layer.named_parameters(prefix=name)


def require_centre(architecture: Architecture, rounds: int) -> None:
    """Raises UntrainableError where a plan spends `rounds` on finding a centre and the model has no place for it."""
    if rounds and not architecture.centred:
        raise UntrainableError(
            f"the plan finds a centre in its first {rounds} rounds, and the model's features have none",
            where="plan.recipe",
            fix="give the model centred = true, or the recipe no centring",
        )
