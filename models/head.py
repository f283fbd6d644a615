"""The region head: one map of logits for each finding, pooled into the finding's logit.

Pooling is what lets one network answer both questions. A finding is present in an image when it is present
somewhere, so the image's logit is a smooth maximum over the map (log-mean-exp, Pinheiro and Collobert 2015), an
attention-weighted mean (Ilse et al. 2018), or the plain mean (Zhou et al. 2016, class activation maps). Image labels
alone then teach the map weakly, and regions teach it directly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .card import Pooling
from .centring import Centre


class Output(NamedTuple):
    """logits (B,F): one for each image and finding. maps (B,F,h,w): logits of the finding at each grid location."""

    logits: Tensor
    maps: Tensor


class RegionHead(nn.Module):
    """(B,C,h,w) -> Output: a 1x1 convolution and its pooling, layers that every per-example gradient engine knows.

    The convolution's bias is the only one. All poolings pass a shift on unchanged, so that it is the image's bias too;
    a second, after the pooling, slowed training under clipping (it takes up to half of a clipped gradient).
    Even the one may go (bias): features of unit norm have much of it in their mean already, and clipping then leaves
    all of a gradient to what tells images apart.

    centred: features are seen from a centre, at zero until a centring round has found it (see centring).
    exclusive: one finding, and only one, is present in every image. The pooled scores are then compared by a softmax,
    and a logit is the log odds of its share: its sigmoid is that share, so that all that reads logits reads these too.
    """

    def __init__(
        self,
        channels: int,
        findings: int,
        pooling: Pooling,
        sharpness: float,
        exclusive: bool = False,
        bias: bool = True,
        centred: bool = False,
    ) -> None:
        super().__init__()
        self.pooling: Pooling = pooling
        self.sharpness = sharpness
        self.exclusive = exclusive
        self.centre = Centre(channels) if centred else None
        self.map = nn.Conv2d(channels, findings, 1, bias=bias)
        self.attention = nn.Conv2d(channels, findings, 1) if pooling == "attention" else None

    def start_at_zero(self) -> None:
        """Makes the first map zero everywhere: the start of a linear head on fixed features."""
        for layer in (self.map, self.attention):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Output:
        if self.centre is not None:
            features = self.centre.away_from(features)
        maps = self.map(features)
        flat = maps.flatten(2)
        if self.pooling == "mean":
            pooled = flat.mean(dim=2)
        elif self.pooling == "lse":
            count = flat.shape[2]
            pooled = (torch.logsumexp(self.sharpness * flat, dim=2) - math.log(count)) / self.sharpness
        else:
            assert self.attention is not None
            attention = self.attention(features).flatten(2).softmax(dim=2)
            pooled = (attention * flat).sum(dim=2)
        return Output(_log_odds(pooled) if self.exclusive else pooled, maps)


def _log_odds(scores: Tensor) -> Tensor:
    """Scores (B,F) -> the log odds of each under their softmax: score less the log-sum-exp of the others."""
    findings = scores.shape[1]
    itself = torch.eye(findings, dtype=torch.bool, device=scores.device)
    others = scores.unsqueeze(1).expand(-1, findings, -1).masked_fill(itself, -torch.inf)
    return scores - torch.logsumexp(others, dim=2)
