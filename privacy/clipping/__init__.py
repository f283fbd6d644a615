"""The sum of the patients' gradients, each clipped to the same norm: what one patient can change, bounded.

An image's gradient counts towards its patient (the gradient of the mean loss over the patient's images). Patients are
worked through in micro-batches, so memory does not grow with their number.

What the bound rests on: a patient's vector is scaled so that its norm is at most clip x (1 - 10^-3), the norm taken in
float64 over the whole parameter vector, and the sum over micro-batches is kept in float64. The thousandth pays for the
rounding of the sum, for the noise lattice (2^-12, see noise), and for other patients' float32 gradients coming out
differently in their last bits when the batch around them changes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, Protocol

from torch import nn

from . import engine as _exact
from .checks import Checked
from .patients import MARGIN, ClippedSum, ImageLosses, PatientRows, trainable
from .supported import refuse_unsupported

__all__ = [
    "MARGIN",
    "Checked",
    "ClippedSum",
    "Engine",
    "ImageLosses",
    "PatientGradients",
    "PatientRows",
    "hooked",
    "refuse_unsupported",
    "trainable",
]

Engine = Literal["exact", "opacus"]


class PatientGradients(Protocol):
    """Clipped sums of one module's patient gradients, for many steps inside `hooked`. size: of the parameters."""

    size: int

    def clipped_sum(self, batch: PatientRows, clip: float, normalised: bool = False) -> ClippedSum: ...


def hooked(
    module: nn.Module,
    image_losses: ImageLosses,
    images_at_once: int,
    engine: Engine = "exact",
    checked: Checked | None = None,
) -> AbstractContextManager[PatientGradients]:
    """Prepare `module` (in place, once for many steps) for clipped sums, and leave it as it was in the end.

    `image_losses(rows)` returns one loss for each row (B,), through the module's own layers, each from its own image
    alone. At most `images_at_once` images are in one backward pass. engine: "exact", ours, or "opacus", which is
    slower, needs more memory, and knows a few layers more. checked: kept by a caller who comes back with the same
    module and losses, so that what is checked once in a training is not checked in each of its rounds. Raises
    UnaccountableError for what has no correct per-patient gradient.
    """
    if engine == "opacus":
        from . import opacus

        return opacus.hooked(module, image_losses, images_at_once, checked or Checked())
    return _exact.hooked(module, image_losses, images_at_once, checked or Checked())
