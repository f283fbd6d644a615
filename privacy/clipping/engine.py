"""Exact clipping in one forward and one backward pass.

While a pass runs, each trainable layer computes with its parameters cut off from autograd, which therefore spends
nothing on weight gradients; taps on the outputs hand each layer's input and output gradient to its rule. The rule
gives every patient's squared norm, the norms are added up over the layers, and one weighted call for each layer gives
the clipped sum. With one row to a patient, that is two passes and about one weight gradient: what plain training does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UnaccountableError
from .checks import Checked, losses_of, refuse_coupled_losses, refuse_mixed_rows, refuse_wrong_totals
from .conv import AnyConv, ConvRule
from .embedding import EmbeddingRule
from .linear import LinearRule
from .norm import bias_gradients, folded_group_norm, gain_gradients
from .patients import ClippedSum, ImageLosses, PatientRows, Spans, scales, trainable
from .rules import Captured, Rule
from .supported import Kind, kind_of, refuse_unsupported
from .tape import Tap, Tape


class ExactGradients:
    """Clipped sums of one module's patient gradients, for many steps inside `hooked`."""

    def __init__(self, module: nn.Module, image_losses: ImageLosses, images_at_once: int, checked: Checked) -> None:
        self._parameters = trainable(module)
        self._image_losses = image_losses
        self._images_at_once = max(1, images_at_once)
        self.size = sum(parameter.numel() for parameter in self._parameters.values())
        self._rules: dict[str, Rule] = {}
        self._tape: Tape | None = None
        self._anchor = torch.zeros((), requires_grad=True)
        self._checked = checked

    def clipped_sum(self, batch: PatientRows, clip: float, normalised: bool = False) -> ClippedSum:
        """Sum the gradients of the batch's patients, each scaled to a norm of at most clip x (1 - 10^-3) (`scales`).

        A patient whose gradient is not finite contributes nothing. An empty batch gives zeros. Raises
        UnaccountableError when the clip is not positive, when the losses are not one per row, or when a parameter
        got a gradient from elsewhere than its own layer.
        """
        scales(torch.zeros(0), clip, normalised)  # refuses a clip that bounds nothing, even of an empty batch
        parts: dict[str, Tensor] = {}
        for first, last in batch.groups(self._images_at_once):
            tape = self._gradients(*batch.group(first, last))
            squares = tape.squares(self._rules)
            if not squares:
                continue
            norms = torch.stack([each.cpu() for each in squares.values()]).sum(dim=0).sqrt()
            scale = scales(norms, clip, normalised)
            for name in squares:
                part = tape.weighted(name, scale.to(self._parameters[name].device), self._rules).cpu()
                tape.drop(name)
                # One micro-batch's sum stays as it is, so that plain training's memory is enough for it.
                parts[name] = parts[name].double().add_(part) if name in parts else part
        return ClippedSum(
            tuple(
                parts[name].numpy() if name in parts else np.zeros(parameter.numel())
                for name, parameter in self._parameters.items()
            ),
            clip,
            len(batch),
        )

    def _gradients(self, rows: Tensor, weights: Tensor, counts: Tensor) -> Tape:
        """The gradients of some patients. One who has more rows than fit at once is alone here."""
        if not self._checked.apart and rows.numel() > 1:
            refuse_coupled_losses(self._image_losses, rows[:4])
            self._checked.apart = True
        tape = self._pass(rows[: self._images_at_once], weights[: self._images_at_once], counts)
        for first in range(self._images_at_once, rows.numel(), self._images_at_once):
            part = slice(first, first + self._images_at_once)
            for name, gradients in self._pass(rows[part], weights[part], counts).kept.items():
                tape.keep(name, gradients)
        return tape

    def _pass(self, rows: Tensor, weights: Tensor, counts: Tensor) -> Tape:
        spans = Spans(counts if counts.numel() > 1 else torch.tensor([rows.numel()]))
        tape = Tape(spans, checking=not self._checked.summed)
        self._forget()
        self._tape = tape
        try:
            losses = losses_of(self._image_losses, rows)
            if losses.requires_grad and not self._checked.probed and rows.numel() > 1:
                self._probe(tape, losses)
            if losses.requires_grad:
                (losses * weights.to(losses)).sum().backward()
        except RuntimeError as fault:
            if "inplace operation" not in str(fault):
                raise
            raise UnaccountableError(
                "a value that gradients are computed from was overwritten in place",
                fix="write y = y + x instead of y += x, and build activations with inplace=False",
            ) from fault
        finally:
            self._tape = None
        tape.finish()
        if tape.checking:
            self._compare_with_autograd(tape)
            self._checked.summed = True
        for name, parameter in self._parameters.items():
            if parameter.grad is not None and not tape.checking:
                raise UnaccountableError(
                    f"the per-image gradients of {name!r} do not add up to autograd's",
                    fix="use every trainable parameter through its own layer's forward, and there alone",
                )
        self._forget()
        return tape

    def _probe(self, tape: Tape, losses: Tensor) -> None:
        """Once per training: what the first image's loss alone asks of each layer must concern the first row alone."""
        tape.probing = True
        losses[0].backward(retain_graph=True)
        for name, leaf in tape.leaves:
            if leaf.grad is not None:
                refuse_mixed_rows(name, leaf.grad)
                leaf.grad = None
        tape.probing = False
        self._checked.probed = True
        self._forget()

    def _forget(self) -> None:
        for parameter in self._parameters.values():
            parameter.grad = None

    def _compare_with_autograd(self, tape: Tape) -> None:
        """Once per training, the patients' gradients must add up to what autograd says of the whole micro-batch."""
        squares = tape.squares(self._rules)
        everyone = torch.ones(len(tape.spans), dtype=torch.float64)
        totals = {name: torch.zeros(p.numel(), dtype=torch.float64) for name, p in self._parameters.items()}
        for name in squares:
            totals[name] = tape.weighted(name, everyone.to(self._parameters[name].device), self._rules).cpu()
        refuse_wrong_totals(
            totals,
            {name: float(squares[name].sqrt().sum()) if name in squares else 0.0 for name in totals},
            {name: parameter.grad for name, parameter in self._parameters.items()},
            exact=not tape.half,
            fix="use every trainable parameter through its own layer's forward, and there alone",
        )

    def attach(self, name: str, layer: nn.Module) -> Callable[[Tensor], Tensor]:
        """The forward that stands in for the layer's own while a pass is taped. Refuses layers without a rule."""
        kind = kind_of(name, layer)
        names = {
            which: f"{name}.{which}" if name else which
            for which, parameter in layer.named_parameters(recurse=False)
            if parameter.requires_grad
        }
        if isinstance(layer, (nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)):  # pyright: ignore[reportPrivateUsage] (their common base)
            compute = partial(self._folded, cast(nn.GroupNorm | nn.InstanceNorm2d, layer), names)
        elif isinstance(layer, nn.LayerNorm):
            compute = partial(self._tapped, name, layer, partial(_take_layer_norm, layer, names))
        else:
            rule = _rule(name, layer, kind)
            if "weight" in names:
                self._rules[names["weight"]] = rule
            compute = partial(
                self._tapped, name, layer, partial(_take, name, rule, names.get("weight"), names.get("bias"))
            )
        own = cast(Callable[[Tensor], Tensor], layer.forward)

        def forward(input: Tensor) -> Tensor:
            tape = self._tape
            if tape is None or not torch.is_grad_enabled():
                return own(input)
            tape.expect(name, input)
            return compute(tape, own, input)

        return forward

    def _tapped(
        self,
        name: str,
        layer: nn.Module,
        take: Callable[[Tape, Captured], None],
        tape: Tape,
        own: Callable[[Tensor], Tensor],
        x: Tensor,
    ) -> Tensor:
        if tape.checking:
            output = own(x)
        else:
            with _cut_off(layer):
                output = own(x)

        def arrived(saved: Tensor, gradient: Tensor) -> None:
            if tape.probing:
                refuse_mixed_rows(name, gradient)
            else:
                take(tape, Captured(saved, gradient, tape.spans))

        return cast(Tensor, Tap.apply(output, self._anchor, x.detach(), arrived))

    def _folded(
        self,
        layer: nn.GroupNorm | nn.InstanceNorm2d,
        names: dict[str, str],
        tape: Tape,
        own: Callable[[Tensor], Tensor],
        x: Tensor,
    ) -> Tensor:
        copies: dict[str, Tensor] = {}
        for which in ("weight", "bias"):
            parameter = cast(nn.Parameter | None, getattr(layer, which))
            if parameter is None:
                continue
            if tape.checking:  # autograd goes on through the copies to the parameter
                copies[which] = parameter.expand(x.shape[0], -1)
            else:
                copies[which] = parameter.detach().repeat(x.shape[0], 1).requires_grad_(which in names)
            if which in names:
                copies[which].retain_grad()
                tape.leaves.append((names[which], copies[which]))
        groups = layer.num_groups if isinstance(layer, nn.GroupNorm) else layer.num_features
        return folded_group_norm(x, groups, copies.get("weight"), copies.get("bias"), layer.eps)


def _rule(name: str, layer: nn.Module, kind: Kind) -> Rule:
    match kind:
        case "linear":
            return LinearRule(cast(nn.Linear, layer))
        case "embedding":
            return EmbeddingRule(cast(nn.Embedding, layer), f"layer {name!r}")
        case "effective":
            return ConvRule(cast(AnyConv, layer), cast(Callable[[Tensor], Tensor], layer.effective_weight))
        case _:
            return ConvRule(cast(AnyConv, layer), None)


def _take(name: str, rule: Rule, weight: str | None, bias: str | None, tape: Tape, captured: Captured) -> None:
    tape.take(name, rule, weight, bias, captured)


def _take_layer_norm(layer: nn.LayerNorm, names: dict[str, str], tape: Tape, captured: Captured) -> None:
    if "weight" in names:
        gradients = gain_gradients(layer, captured.input, captured.gradient)
        tape.keep(names["weight"], captured.spans.summed(gradients))
    if "bias" in names:
        tape.keep(names["bias"], captured.spans.summed(bias_gradients(layer, captured.gradient)))


@contextmanager
def _cut_off(layer: nn.Module) -> Generator[None]:
    """Inside, autograd takes the layer's parameters for constants."""
    trained = [parameter for parameter in layer.parameters(recurse=False) if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@contextmanager
def hooked(
    module: nn.Module, image_losses: ImageLosses, images_at_once: int, checked: Checked
) -> Generator[ExactGradients]:
    """See the package's `hooked`."""
    refuse_unsupported(module)
    gradients = ExactGradients(module, image_losses, images_at_once, checked)
    attached: list[nn.Module] = []
    try:
        for name, layer in module.named_modules():
            if any(parameter.requires_grad for parameter in layer.parameters(recurse=False)):
                forward = gradients.attach(name, layer)
                layer.forward = forward
                attached.append(layer)
        yield gradients
    finally:
        for layer in attached:
            del layer.forward
        for parameter in module.parameters():
            parameter.grad = None
