"""The reference: per-image gradients by Opacus's hooks, turned into patients' gradients and clipped one by one.

It stays for comparison in the tests, and for models with layers that the exact engine does not know. Micro-batches are
small, because all gradients of a micro-batch's images are in memory at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import UnaccountableError
from .checks import Checked, losses_of, refuse_coupled_losses, refuse_wrong_totals
from .patients import ClippedSum, ImageLosses, PatientRows, Spans, scales, trainable
from .supported import refuse_unsupported

if TYPE_CHECKING:
    from opacus.grad_sample import GradSampleHooks

# Micro-batches stay below this many values of per-image gradients (128 MiB of float32).
_VALUES_AT_ONCE = 1 << 25


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


class OpacusGradients:
    """Per-patient gradients of one module, hooked once and used for many steps inside `hooked`."""

    def __init__(
        self,
        module: nn.Module,
        image_losses: ImageLosses,
        images_at_once: int,
        hooks: GradSampleHooks,
        checked: Checked,
    ) -> None:
        self._parameters = trainable(module)
        self._image_losses = image_losses
        self._hooks = hooks
        self.size = sum(parameter.numel() for parameter in self._parameters.values())
        self._images_at_once = max(1, min(images_at_once, _VALUES_AT_ONCE // self.size))
        self._checked = checked

    def clipped_sum(self, batch: PatientRows, clip: float, normalised: bool = False) -> ClippedSum:
        """Sum the gradients of the batch's patients, each scaled to a norm of at most clip x (1 - 10^-3) (`scales`).

        A patient whose gradient is not finite contributes nothing. An empty batch gives zeros. Raises
        UnaccountableError when the clip is not positive, when the losses are not one per row, or when a parameter
        got no or a wrong per-image gradient.
        """
        scales(torch.zeros(0), clip, normalised)  # refuses a clip that bounds nothing, even of an empty batch
        total = torch.zeros(self.size, dtype=torch.float64)
        for first, last in batch.groups(self._images_at_once):
            gradients = self._patients(*batch.group(first, last))
            norms = torch.stack([part.double().square().sum(dim=1) for part in gradients]).sum(dim=0).sqrt()
            scale = scales(norms, clip, normalised)
            finite = torch.isfinite(norms)
            if not bool(finite.all()):
                gradients = [part[finite] for part in gradients]
                scale = scale[finite]
            total += torch.cat([scale @ part.double() for part in gradients]).cpu()
        return ClippedSum((total.numpy(),), clip, len(batch))

    def _patients(self, rows: Tensor, weights: Tensor, counts: Tensor) -> list[Tensor]:
        """Gradients of some patients, one (patients, values) tensor per parameter."""
        owners = Spans(counts).owners
        sums = [p.detach().new_zeros(counts.numel(), p.numel()) for p in self._parameters.values()]
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
        if not self._checked.apart and rows.numel() > 1:
            refuse_coupled_losses(self._image_losses, rows[:4])
            self._checked.apart = True
        losses = losses_of(self._image_losses, rows)
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
        if not self._checked.summed:
            self._compare_with_autograd(gradients)
            self._checked.summed = True
        for parameter in self._parameters.values():
            parameter.grad = None
        self._hooks.set_grad_sample_to_none()
        return gradients

    def _compare_with_autograd(self, gradients: list[Tensor]) -> None:
        """Once per training, the per-image gradients must add up to what autograd says of the whole micro-batch."""
        named = dict(zip(self._parameters, gradients, strict=True))
        refuse_wrong_totals(
            {name: gradient.double().sum(dim=0) for name, gradient in named.items()},
            {name: float(gradient.double().norm(dim=1).sum()) for name, gradient in named.items()},
            {name: parameter.grad for name, parameter in self._parameters.items()},
            exact=True,
            fix="use contiguous tensors and layers that Opacus 1.6 supports, each parameter through its own layer",
        )


@contextmanager
def hooked(
    module: nn.Module, image_losses: ImageLosses, images_at_once: int, checked: Checked
) -> Generator[OpacusGradients]:
    """See the package's `hooked`. What takes a gradient is in training mode inside, and back in its own mode after."""
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
            yield OpacusGradients(module, image_losses, images_at_once, hooks, checked)
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
