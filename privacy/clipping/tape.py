"""One forward and one backward pass, and what the layers leave of it: gradients of patients, or what gives their sum.

A layer's gradients are either kept as they are, (patients, values), or only their norms are, together with the layer's
input and output gradient, from which one weighted call makes the clipped sum. Which of the two is a matter of time and
of memory: what is kept in the backward pass takes the room of activations that autograd has let go by then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from ..errors import UnaccountableError
from .choice import choose, norms_by
from .patients import Spans, squared_norms
from .rules import Captured, Rule


@dataclass(frozen=True, slots=True)
class Later:
    """A use of a layer whose weighted sum is yet to be formed, and the way to it."""

    rule: Rule
    captured: Captured
    squares: Tensor
    way: str


@dataclass
class Tape:
    """What one pass over some patients' rows has left so far.

    checking: whether autograd computes its own weight gradients beside ours; half:
    whether something came in half precision; probing: whether the pass under way is only looked at.
    """

    spans: Spans
    checking: bool
    kept: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    later: dict[str, Later] = field(default_factory=dict[str, Later])
    leaves: list[tuple[str, Tensor]] = field(default_factory=list[tuple[str, Tensor]])
    uses: dict[str, int] = field(default_factory=dict[str, int])
    half: bool = False
    probing: bool = False
    _room: int = 0

    def expect(self, layer: str, x: Tensor) -> None:
        """Note that a layer is used on `x`, whose first dimension must be the rows'."""
        if x.ndim == 0 or x.shape[0] != self.spans.rows:
            raise UnaccountableError(
                f"its input has shape {tuple(x.shape)} where {self.spans.rows} images are in the batch",
                where=f"layer {layer!r}",
                fix="keep the images in the first dimension of every trainable layer's input",
            )
        self.uses[layer] = self.uses.get(layer, 0) + 1
        self._room += x.numel()

    def keep(self, name: str, gradients: Tensor) -> None:
        """Add (patients, values) to what is known of parameter `name`."""
        before = self.kept.get(name)
        self.kept[name] = gradients if before is None else before + gradients

    def take(self, layer: str, rule: Rule, weight: str | None, bias: str | None, captured: Captured) -> None:
        """Called in the backward pass with a layer's input and output gradient; weight, bias: names, if trained."""
        self.half = self.half or captured.gradient.dtype in (torch.bfloat16, torch.float16)
        prepared = rule.prepare(captured)
        if bias is not None:
            self.keep(bias, rule.bias(prepared))
        if weight is None:
            return
        patients = len(self.spans)
        if patients == 1:
            self.keep(weight, rule.weighted(prepared)[None])
            return
        choice = choose(rule, prepared)
        cost, held = patients * rule.size, captured.input.numel() + captured.gradient.numel()
        several = self.uses[layer] > 1
        if several or cost <= held or (choice.keeping_is_faster and cost <= self._room):
            self._room -= cost
            self.keep(weight, rule.explicit(prepared)[choice.keep](prepared))
        else:
            self._room -= held
            self.later[weight] = Later(rule, captured, norms_by(rule, choice.norms, prepared), choice.sum)

    def finish(self) -> None:
        """After the backward pass: collect what autograd left in the leaves that have a value for each row."""
        for name, leaf in self.leaves:
            if leaf.grad is not None:
                self.keep(name, self.spans.summed(leaf.grad))
        self.leaves.clear()

    def squares(self, rules: dict[str, Rule]) -> dict[str, Tensor]:
        """(patients,) float64 for each parameter that got a gradient: the squared norms of the patients' gradients.

        Those whose gradients are kept come first: summed first, they leave their room to the sums of the others.
        """
        squares: dict[str, Tensor] = {}
        for name, gradients in self.kept.items():
            rule = rules.get(name)
            squares[name] = squared_norms(gradients) if rule is None else rule.squares(gradients)
        return squares | {name: later.squares for name, later in self.later.items()}

    def drop(self, name: str) -> None:
        """Let go of what was left of parameter `name`, once it is summed."""
        self.kept.pop(name, None)
        self.later.pop(name, None)

    def weighted(self, name: str, scale: Tensor, rules: dict[str, Rule]) -> Tensor:
        """(values,): the patients' gradients of parameter `name`, each times its scale (patients,), added up.

        A patient of scale 0 is left out, whatever is in the gradients.
        """
        rule = rules.get(name)
        out = scale == 0.0
        gradients = self.kept.get(name)
        if gradients is not None:
            if bool(out.any()):
                gradients, scale = gradients[~out], scale[~out]
            # Not more than 64 at a time in single precision, whatever the caller takes at once.
            total, *more = (some.to(p.dtype) @ p for some, p in zip(scale.split(64), gradients.split(64), strict=True))
            if more:
                total = torch.stack([part.double() for part in (total, *more)]).sum(dim=0).to(total.dtype)
            return total if rule is None else rule.own(total)
        later = self.later[name]
        x, g, spans = later.captured.input, later.captured.gradient, self.spans
        prepared = later.rule.prepare(Captured(x, g, spans))
        factors = scale[spans.owners.to(scale.device)].to(prepared.gradient.dtype)
        x, g = prepared.input, prepared.gradient
        if bool(out.any()):
            present = factors != 0.0
            x, g, factors = x[present], g[present], factors[present]
            if not x.shape[0]:
                return scale.new_zeros(later.rule.size)
        g = g * factors.view(-1, *(1,) * (g.ndim - 1))
        scaled = Captured(x, g, Spans(torch.ones(x.shape[0], dtype=torch.int64)))
        return later.rule.own(later.rule.sums(scaled)[later.way](scaled))


class Tap(Function):
    """Passes a layer's output on as it is, and hands its gradient and the layer's input over in the backward pass.

    `anchor` requires a gradient, so that the tap is reached even where nothing before the layer needs one. The input
    is saved by autograd, which notices when it was overwritten since.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] (its base takes anything)
        ctx: FunctionCtx, output: Tensor, anchor: Tensor, x: Tensor, take: Callable[[Tensor, Tensor], None]
    ) -> Tensor:
        ctx.mark_dirty(output)
        ctx.save_for_backward(x)
        ctx.take = take  # pyright: ignore[reportAttributeAccessIssue] (how torch wants it)
        return output

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (its base takes anything)
        ctx: FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor | None, None, None, None]:
        (x,) = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue] (set by torch)
        ctx.take(x, gradient)  # pyright: ignore[reportAttributeAccessIssue] (set above)
        return gradient if ctx.needs_input_grad[0] else None, None, None, None  # pyright: ignore[reportAttributeAccessIssue] (set by torch)
