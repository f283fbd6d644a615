"""The loss: for each image its own sum over assessed findings and drawn regions, and nothing that couples images.

Per-patient privacy needs a loss that is a sum of per-patient terms, so there is no batch Dice, no hard-negative
mining over a batch, and no normaliser that depends on who else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .head import Output


@dataclass(frozen=True, slots=True)
class Targets:
    """What readers said of B images.

    labels (B,F) float in [0,1]: 1 present, 0 absent, between for uncertain. assessed (B,F) bool: unassessed findings
    teach nothing. regions (B,F,h,w) float in [0,1]: coverage of each grid cell (transform.prepare_mask). drawn (B,F)
    bool: whether `regions` was drawn; an absent finding may count as drawn, with an empty region.
    """

    labels: Tensor
    assessed: Tensor
    regions: Tensor
    drawn: Tensor

    def rows(self, index: Tensor) -> Targets:
        """The targets of some of the images, by their int64 indices."""
        return Targets(self.labels[index], self.assessed[index], self.regions[index], self.drawn[index])


def image_losses(output: Output, targets: Targets, finding_weights: Tensor, region_weight: float) -> Tensor:
    """Each image's loss (B,): weighted cross-entropy of findings, plus region_weight x the region losses.

    finding_weights (F,) weigh a positive label. A region's loss is the mean cross-entropy over the grid, in which the
    region and the rest of the image have half the weight each where there is a region, plus one minus the soft Dice
    coefficient (Milletari et al. 2016), all within the one image. Regions are small: without the halves a clipped
    gradient says little else than that most of the grid is empty.
    """
    findings = F.binary_cross_entropy_with_logits(
        output.logits, targets.labels, pos_weight=finding_weights, reduction="none"
    )
    total = (findings * targets.assessed).sum(dim=1)
    if region_weight == 0.0:
        return total
    share = targets.regions.mean(dim=(2, 3), keepdim=True).clamp(1e-6, 1.0 - 1e-6)
    halves = 0.5 * targets.regions / share + 0.5 * (1.0 - targets.regions) / (1.0 - share)
    weight = torch.where(targets.regions.flatten(2).any(dim=2)[..., None, None], halves, torch.ones_like(halves))
    pixels = (F.binary_cross_entropy_with_logits(output.maps, targets.regions, reduction="none") * weight).mean((2, 3))
    chance = output.maps.sigmoid()
    overlap = (chance * targets.regions).sum(dim=(2, 3))
    mass = chance.sum(dim=(2, 3)) + targets.regions.sum(dim=(2, 3))
    dice = 1.0 - (2.0 * overlap + 1.0) / (mass + 1.0)
    return total + region_weight * ((pixels + dice) * targets.drawn).sum(dim=1)
