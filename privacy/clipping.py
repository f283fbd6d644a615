"""The sum of the patients' gradients, each clipped to the same norm: what one patient can change, bounded.

Opacus's hooks give each image's gradient; here they become patients' gradients (the gradient of the mean loss over the
patient's images), whose norms are taken in float64 over the whole parameter vector. Patients are worked through in
micro-batches, so memory does not grow with their number.

What the bound rests on: a patient's vector is scaled so that its norm is at most clip x (1 - 10^-3), in float64, and
the sum is kept in float64. The thousandth pays for the rounding of the sum, for the noise lattice (2^-12, see noise),
and for other patients' float32 gradients coming out differently in their last bits when the batch around them changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .errors import UnaccountableError

if TYPE_CHECKING:
    from opacus.grad_sample import GradSampleHooks

ImageLosses = Callable[[Tensor], Tensor]

MARGIN = 1e-3
# Micro-batches stay below this many values of per-image gradients (128 MiB of float32).
_VALUES_AT_ONCE = 1 << 25
_COUPLED = (nn.modules.batchnorm._BatchNorm, nn.SyncBatchNorm)  # pyright: ignore[reportPrivateUsage] (their common base)


@dataclass(frozen=True, slots=True)
class ClippedSum:
    """A sum over patients (d,) float64, parameters in sorted-name order, and what one patient can change of it.

    sensitivity: bound on the Euclidean norm of the change when one patient is added or removed; patients: how many
    contributed (private: never leaves the site).
    """

    total: NDArray[np.float64]
    sensitivity: float
    patients: int


@dataclass(frozen=True, slots=True)
class PatientRows:
    """The rows (images) that stand for each patient of one step: rows[offsets[i]:offsets[i+1]] are patient i's.

    Every patient has at least one row.
    """

    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return self.offsets.size - 1


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that take a gradient, by name, in sorted-name order: the order of every vector here."""
    named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    return {name: named[name] for name in sorted(named)}


def refuse_unsupported(module: nn.Module) -> None:
    """Raise UnaccountableError, naming the layer and the fix, for what has no correct per-patient gradient here."""
    for name, layer in module.named_modules():
        where = f"layer {name or type(module).__name__!r}"
        if isinstance(layer, _COUPLED) and layer.training:
            raise UnaccountableError(
                f"{type(layer).__name__} in training mode mixes the patients of a batch",
                where=where,
                fix="use GroupNorm, or freeze the layer in evaluation mode",
            )
        if isinstance(layer, nn.modules.conv._ConvNd) and layer.padding_mode != "zeros":  # pyright: ignore[reportPrivateUsage]
            raise UnaccountableError(
                f"Opacus 1.6 computes wrong gradients for padding_mode={layer.padding_mode!r}",
                where=where,
                fix="pad with zeros, or pad before the layer",
            )
        if getattr(layer, "inplace", False):
            raise UnaccountableError(
                f"{type(layer).__name__} works in place and would overwrite what the gradients are computed from",
                where=where,
                fix="build it with inplace=False",
            )
    if not trainable(module):
        raise UnaccountableError("nothing in the model takes a gradient", fix="unfreeze the head")
    for name, parameter in trainable(module).items():
        if parameter.dtype not in (torch.float32, torch.float64):
            raise UnaccountableError(f"parameter {name!r} is {parameter.dtype}", fix="train in float32")


@cache
def _hooks_class() -> type[GradSampleHooks]:
    """Opacus's hooks, with one rule of ours: 1x1 convolutions, all there is in a head on cached features.

    Opacus unfolds those too, which copies all features once more; one batched matrix product is the same sum.
    """
    from opacus.grad_sample import GradSampleHooks  # slow to import

    conv2d = GradSampleHooks.GRAD_SAMPLERS[nn.Conv2d]

    def per_image(layer: nn.Conv2d, inputs: list[Tensor], backprops: Tensor) -> dict[Tensor, Tensor]:
        plain = layer.kernel_size == layer.stride == (1, 1) and layer.padding in ((0, 0), "valid") and layer.groups == 1
        if not plain or not layer.weight.requires_grad:
            return conv2d(layer, inputs, backprops)
        flat = backprops.flatten(2)
        gradients: dict[Tensor, Tensor] = {}
        gradients[layer.weight] = torch.bmm(flat, inputs[0].flatten(2).transpose(1, 2))[:, :, :, None, None]
        if layer.bias is not None and layer.bias.requires_grad:
            gradients[layer.bias] = flat.sum(dim=2)
        return gradients

    class Hooks(GradSampleHooks):
        GRAD_SAMPLERS = {**GradSampleHooks.GRAD_SAMPLERS, nn.Conv2d: per_image}  # noqa: RUF012 (as its base has it)

    return Hooks


def _contiguous_inputs(_layer: nn.Module, inputs: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(value.contiguous() if isinstance(value, Tensor) else value for value in inputs)


class PatientGradients:
    """Per-patient gradients of one module, hooked once and used for many steps inside `hooked`."""

    def __init__(
        self, module: nn.Module, image_losses: ImageLosses, images_at_once: int, hooks: GradSampleHooks
    ) -> None:
        self._parameters = trainable(module)
        self._image_losses = image_losses
        self._hooks = hooks
        self.size = sum(parameter.numel() for parameter in self._parameters.values())
        self._images_at_once = max(1, min(images_at_once, _VALUES_AT_ONCE // self.size))
        self._summed = self._apart = False

    def clipped_sum(self, batch: PatientRows, clip: float) -> ClippedSum:
        """Sum the gradients of the batch's patients, each scaled to a norm of at most clip x (1 - 10^-3).

        A patient whose gradient is not finite contributes nothing. An empty batch gives zeros. Raises
        UnaccountableError when the clip is not positive, when the losses are not one per row, or when a parameter
        got no or a wrong per-image gradient.
        """
        if not clip > 0.0:
            raise UnaccountableError(f"a clip of {clip} bounds nothing", fix="choose a clip above 0")
        total = torch.zeros(self.size, dtype=torch.float64)
        for first, last in self._groups(batch):
            gradients = self._patients(batch, first, last)
            norms = torch.stack([part.double().square().sum(dim=1) for part in gradients]).sum(dim=0).sqrt()
            scale = (clip * (1.0 - MARGIN) / norms).clamp(max=1.0)  # 0 / 0 never: clip > 0, and x / 0 clamps to 1
            finite = torch.isfinite(norms)
            if not bool(finite.all()):
                gradients = [part[finite] for part in gradients]
                scale = scale[finite]
            total += torch.cat([scale @ part.double() for part in gradients]).cpu()
        return ClippedSum(total.numpy(), clip, len(batch))

    def _groups(self, batch: PatientRows) -> Iterator[tuple[int, int]]:
        """Consecutive patients with together at most `images_at_once` rows; one patient alone may have more."""
        first = 0
        while first < len(batch):
            limit = batch.offsets[first] + self._images_at_once
            last = max(first + 1, int(np.searchsorted(batch.offsets, limit, side="right")) - 1)
            yield first, last
            first = last

    def _patients(self, batch: PatientRows, first: int, last: int) -> list[Tensor]:
        """Gradients of patients [first, last), one (patients, values) tensor per parameter."""
        counts = np.diff(batch.offsets[first : last + 1])
        owners = torch.from_numpy(np.repeat(np.arange(last - first), counts))
        weights = torch.from_numpy(np.repeat(1.0 / counts, counts))
        rows = torch.from_numpy(batch.rows[batch.offsets[first] : batch.offsets[last]])
        sums = [torch.zeros(last - first, p.numel(), dtype=p.dtype, device=p.device) for p in self._parameters.values()]
        for start in range(0, rows.numel(), self._images_at_once):
            part = slice(start, start + self._images_at_once)
            for total, gradient in zip(sums, self._images(rows[part], weights[part]), strict=True):
                total.index_add_(0, owners[part].to(total.device), gradient)
        return sums

    def _images(self, rows: Tensor, weights: Tensor) -> list[Tensor]:
        """Gradient of weight x loss of each row, one (rows, values) tensor per parameter."""
        for parameter in self._parameters.values():
            parameter.grad = None
        self._hooks.set_grad_sample_to_none()
        if not self._apart and rows.numel() > 1:
            self._refuse_coupled_losses(rows[:4])
            self._apart = True
        losses = self._image_losses(rows)
        if losses.shape != rows.shape:
            raise UnaccountableError(
                f"the losses have shape {tuple(losses.shape)} for {rows.numel()} images",
                fix="give one loss for each image, never a mean over the batch",
            )
        (losses * weights.to(losses)).sum().backward()
        gradients: list[Tensor] = []
        for name, parameter in self._parameters.items():
            sample = getattr(parameter, "grad_sample", None)
            if not isinstance(sample, Tensor) or sample.shape != (rows.numel(), *parameter.shape):
                if parameter.grad is None:  # not part of the loss: the gradient is zero for everybody
                    sample = torch.zeros(
                        (rows.numel(), *parameter.shape), dtype=parameter.dtype, device=parameter.device
                    )
                else:
                    raise UnaccountableError(
                        f"parameter {name!r} has no gradient for each image",
                        fix="use every trainable parameter through its own layer's forward, one image a row",
                    )
            gradients.append(sample.reshape(rows.numel(), -1))
        if not self._summed:
            self._compare_with_autograd(gradients)
            self._summed = True
        for parameter in self._parameters.values():
            parameter.grad = None
        self._hooks.set_grad_sample_to_none()
        return gradients

    def _refuse_coupled_losses(self, rows: Tensor) -> None:
        """Once per training: an image's loss must be the same alone and beside others.

        Seen only where the losses are deterministic, so not under random augmentation or dropout.
        """
        with torch.no_grad():
            together = self._image_losses(rows)
            if together.shape != rows.shape or not torch.equal(together, self._image_losses(rows)):
                return
            alone = torch.cat([self._image_losses(row) for row in rows.split(1)])
        if not torch.allclose(together, alone, rtol=1e-3, atol=1e-4, equal_nan=True):
            raise UnaccountableError(
                "an image's loss depends on which other images are in the batch",
                fix="make the loss a sum of terms of one image each; no batch Dice, no mining, no batch statistics",
            )

    def _compare_with_autograd(self, gradients: list[Tensor]) -> None:
        """Once per training, the per-image gradients must add up to what autograd says of the whole micro-batch."""
        for (name, parameter), gradient in zip(self._parameters.items(), gradients, strict=True):
            if parameter.grad is None:
                continue
            whole = parameter.grad.reshape(-1).double()
            error = (gradient.double().sum(dim=0) - whole).norm()
            scale = gradient.double().norm(dim=1).sum()
            if bool(torch.isfinite(scale)) and float(error) > 1e-3 * float(scale):
                raise UnaccountableError(
                    f"Opacus's per-image gradients of {name!r} do not add up to autograd's",
                    fix="use contiguous tensors and a layer that Opacus 1.6 supports",
                )


@contextmanager
def hooked(module: nn.Module, image_losses: ImageLosses, images_at_once: int) -> Generator[PatientGradients]:
    """Attach Opacus's hooks to `module` (in place, once for many steps) and take them off again.

    `image_losses(rows)` returns one loss for each row (B,), through the module's own layers. At most `images_at_once`
    images are in one backward pass. What takes a gradient is in training mode inside, and back in its own mode after.
    Raises UnaccountableError for what has no correct per-patient gradient (`refuse_unsupported`).
    """
    modes = [(layer, layer.training) for layer in module.modules()]
    hooks: GradSampleHooks | None = None
    handles = [layer.register_forward_pre_hook(_contiguous_inputs) for layer in module.modules()]
    try:
        for layer in module.modules():
            # Opacus follows only layers in training mode; frozen ones keep the mode that their owner chose.
            if any(parameter.requires_grad for parameter in layer.parameters()):
                layer.training = True
        refuse_unsupported(module)
        for parameter in module.parameters():
            parameter.data = parameter.data.contiguous()
        try:
            hooks = _hooks_class()(module, loss_reduction="sum", strict=True)
        except NotImplementedError as fault:
            raise UnaccountableError(
                f"Opacus cannot follow this model: {fault}", fix="remove the layer named"
            ) from fault
        with warnings.catch_warnings():
            # Inputs that need no gradient are the ordinary case for a first layer and for cached features.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            yield PatientGradients(module, image_losses, images_at_once, hooks)
    finally:
        for handle in handles:
            handle.remove()
        if hooks is not None:
            hooks.cleanup()
        for layer, mode in modes:
            layer.training = mode
            for left_behind in ("activations", "max_batch_len"):  # by Opacus; stale ones would be read next time
                vars(layer).pop(left_behind, None)
        for parameter in module.parameters():
            parameter.grad = None
