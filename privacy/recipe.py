"""What makes noisy training good: a plan's public choices of schedule, averaging, views and normalisation.

None of them costs privacy. A schedule, an average of the models and a corrected second moment look at nothing but
what was released; views and normalisation act on one patient's gradient before it is bounded by the same clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from .errors import PlanError

Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """schedule: how the learning rate falls over the plan's steps ("linear" and "cosine": towards zero).

    clip_schedule, final_clip: how the clip falls over the plan's steps, from the whole of it towards this share in
    (0, 1]. Each step's noise is that much smaller too, since it is the plan's multiple of the step's own clip: the
    accountant sees one multiplier all along. Early gradients are long and agree, late ones are short.

    averaging: weight in [0, 1) of the past in the running mean of the rounds' models; what is measured and released is
    the mean (Polyak and Juditsky 1992; De et al. 2022 under privacy). 0 releases the last model.
    views: random views (see TrainingTerms.augmentation) of each image at every step; their mean loss is the image's
    (augmentation multiplicity, De et al. 2022). Above 1 only for models that are trained from the image on.
    normalised: every patient's gradient g becomes clip x g / (|g| + 0.01) in place of being cut where it is longer
    than the clip (Bu et al. 2023, AUTO-S): there is no clip to tune against the size of gradients, and the bound that
    the noise is derived from is the same.
    centring: in so many first rounds the centre of the model's features is found, as the mean over patients under the
    clip and noise of any round; the later ones train (see models.centring).
    corrected: FedAdam's second moment without the variance that the noise put into it (Tang et al. 2023, DP-AdamBC).
    """

    schedule: Schedule = "constant"
    clip_schedule: Schedule = "constant"
    final_clip: float = 1.0
    averaging: float = 0.0
    views: int = 1
    normalised: bool = False
    corrected: bool = False
    centring: int = field(default=0, metadata={"default_omitted": True})

    def __post_init__(self) -> None:
        object.__setattr__(self, "averaging", float(self.averaging))
        object.__setattr__(self, "final_clip", float(self.final_clip))
        if not 0.0 <= self.averaging < 1.0:
            raise PlanError(f"averaging is {self.averaging}", where="plan.recipe", fix="choose it in [0, 1)")
        if self.views < 1:
            raise PlanError(f"views is {self.views}", where="plan.recipe", fix="take at least 1 view of each image")
        if self.centring < 0:
            raise PlanError(f"centring is {self.centring}", where="plan.recipe", fix="spend 0 rounds on it, or more")
        if not 0.0 < self.final_clip <= 1.0:
            raise PlanError(
                f"final_clip is {self.final_clip}", where="plan.recipe", fix="choose the share left in (0, 1]"
            )
        if (self.clip_schedule == "constant") != (self.final_clip == 1.0):
            raise PlanError(
                f"a {self.clip_schedule} clip_schedule that ends at {self.final_clip:g} of the clip",
                where="plan.recipe",
                fix='give both, as clip_schedule = "linear" and final_clip = 0.2, or neither',
            )

    def rate(self, step: int, steps: int) -> float:
        """The factor in (0, 1] on the learning rate at step 0, 1, ..., steps - 1 of the whole plan."""
        return _falling(self.schedule, step / steps)

    def clipped_to(self, step: int, steps: int) -> float:
        """The factor in [final_clip, 1] on the clip at step 0, 1, ..., steps - 1 of the whole plan."""
        if self.final_clip == 1.0:
            return 1.0
        return self.final_clip + (1.0 - self.final_clip) * _falling(self.clip_schedule, step / steps)


def _falling(schedule: Schedule, done: float) -> float:
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - done
        case "cosine":
            return (1.0 + math.cos(math.pi * done)) / 2.0


PLAIN = Recipe()
"""Constant learning rate, the last model, one view, clipped: what a plan has unless it says otherwise."""
