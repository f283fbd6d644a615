"""Checks made once in a training, whatever the engine: that the losses are of one image each, and that sums add up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UnaccountableError
from .patients import ImageLosses


@dataclass(slots=True)
class Checked:
    """Which of the checks below were passed. Kept by whoever trains one module on the same losses again and again, so
    that they are made once and not in every round."""

    apart: bool = False
    summed: bool = False
    probed: bool = False


def losses_of(image_losses: ImageLosses, rows: Tensor) -> Tensor:
    """The losses of these rows, refused unless there is one for each."""
    losses = image_losses(rows)
    if losses.shape != rows.shape:
        raise UnaccountableError(
            f"the losses have shape {tuple(losses.shape)} for {rows.numel()} images",
            fix="give one loss for each image, never a mean over the batch",
        )
    return losses


def refuse_coupled_losses(image_losses: ImageLosses, rows: Tensor) -> None:
    """An image's loss must be the same alone and beside others.

    Seen only where the losses are deterministic, so not under random augmentation or dropout.
    """
    with torch.no_grad():
        together = image_losses(rows)
        if together.shape != rows.shape or not torch.equal(together, image_losses(rows)):
            return
        alone = torch.cat([image_losses(row) for row in rows.split(1)])
    if not torch.allclose(together, alone, rtol=1e-3, atol=1e-4, equal_nan=True):
        raise UnaccountableError(
            "an image's loss depends on which other images are in the batch",
            fix="make the loss a sum of terms of one image each; no batch Dice, no mining, no batch statistics",
        )


def refuse_mixed_rows(layer: str, gradient: Tensor) -> None:
    """Of the loss of the first image alone, a layer's output may have a gradient (rows, ...) in its first row alone."""
    others = gradient[1:]
    if bool(((others != 0) & torch.isfinite(others)).any()):
        raise UnaccountableError(
            "an image's gradient depends on which other images are in the batch",
            where=f"layer {layer!r}",
            fix="keep the images in the first dimension of every trainable layer's input, and never mix them",
        )


def refuse_wrong_totals(
    totals: dict[str, Tensor], scales: dict[str, float], whole: dict[str, Tensor | None], exact: bool, fix: str
) -> None:
    """The images' gradients, added up, must be what autograd says of the whole batch, for every parameter.

    totals: the sums, (values,) each; scales: sums of the gradients' norms; whole: autograd's. exact: whether all was
    computed in single precision or better; half precision forgives more.
    """
    tolerance = 1e-3 if exact else 5e-2
    everything = sum(scales.values())
    for name, total in totals.items():
        autograd = whole[name]
        found = torch.zeros_like(total) if autograd is None else autograd.reshape(-1).to(total)
        error = float((total.double() - found.double()).norm())
        # A gradient that is zero but for rounding (a bias before a norm) is compared beside the whole gradient.
        bound = scales[name] + 1e-2 * everything
        if math.isfinite(everything) and error > tolerance * bound:
            raise UnaccountableError(f"the per-image gradients of {name!r} do not add up to autograd's", fix=fix)
