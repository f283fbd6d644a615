"""What has no correct per-patient gradient is refused by name, before any image is touched."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from ..errors import UnaccountableError
from .patients import trainable

Kind = Literal["conv", "effective", "linear", "embedding", "group norm", "layer norm"]

_KINDS: dict[type[nn.Module], Kind] = {
    nn.Conv1d: "conv",
    nn.Conv2d: "conv",
    nn.Conv3d: "conv",
    nn.Linear: "linear",
    nn.Embedding: "embedding",
    nn.GroupNorm: "group norm",
    nn.InstanceNorm1d: "group norm",
    nn.InstanceNorm2d: "group norm",
    nn.InstanceNorm3d: "group norm",
    nn.LayerNorm: "layer norm",
}
_COUPLED = (nn.modules.batchnorm._BatchNorm, nn.SyncBatchNorm)  # pyright: ignore[reportPrivateUsage] (their common base)


def refuse_unsupported(module: nn.Module) -> None:
    """Raise UnaccountableError, naming the layer and the fix, for what neither engine can train.

    Layers that mix the patients of a batch or overwrite what gradients are computed from, padding other than zeros,
    parameters of less than single precision, and a model with nothing to train.
    """
    for name, layer in module.named_modules():
        where = f"layer {name or type(module).__name__!r}"
        if isinstance(layer, _COUPLED) and layer.training:
            raise UnaccountableError(
                f"{type(layer).__name__} in training mode mixes the patients of a batch",
                where=where,
                fix="use GroupNorm, or freeze the layer in evaluation mode",
            )
        if isinstance(layer, nn.modules.instancenorm._InstanceNorm) and layer.track_running_stats:  # pyright: ignore[reportPrivateUsage] (their common base)
            raise UnaccountableError(
                f"{type(layer).__name__} keeps running statistics, which would leave without noise",
                where=where,
                fix="build it with track_running_stats=False",
            )
        if isinstance(layer, nn.modules.conv._ConvNd) and layer.padding_mode != "zeros":  # pyright: ignore[reportPrivateUsage] (their common base)
            raise UnaccountableError(
                f"padding_mode={layer.padding_mode!r} is computed wrongly by Opacus 1.6 and not at all by ours",
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
    owners: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if parameter.requires_grad and owners.setdefault(id(parameter), name) != name:
            raise UnaccountableError(
                f"parameter {name!r} is the same tensor as {owners[id(parameter)]!r}",
                fix="give each layer its own parameters",
            )


def kind_of(name: str, layer: nn.Module) -> Kind:
    """Which rule of the exact engine a layer with trainable parameters falls under; UnaccountableError when none.

    A subclass counts as its base only if it computes as its base does. A convolution whose kernel is a function of
    its weight says so with a method `effective_weight(weight) -> Tensor`, of the weight's shape and differentiable by
    torch.func, and promises that its forward convolves with `effective_weight(self.weight)` and is otherwise its
    base's. (No import joins such a layer to this package; models.small has one.)
    """
    known = next((known for known in _KINDS if isinstance(layer, known)), None)
    if known is None:
        raise _unknown(name, layer, "is not among the layers that the exact engine knows")
    kind = _KINDS[known]
    if set(dict(layer.named_parameters(recurse=False))) - {"weight", "bias"}:
        raise _unknown(name, layer, "computes its weight from other parameters")
    if kind == "conv" and callable(getattr(layer, "effective_weight", None)):
        return "effective"
    parts = ("forward", "_conv_forward") if kind == "conv" else ("forward",)
    if "forward" in vars(layer) or any(getattr(type(layer), part) is not getattr(known, part) for part in parts):
        raise _unknown(name, layer, f"does not compute what {known.__name__} does")
    return kind


def _unknown(name: str, layer: nn.Module, what: str) -> UnaccountableError:
    return UnaccountableError(
        f"{type(layer).__name__} has trainable parameters and {what}",
        where=f"layer {name or type(layer).__name__!r}",
        fix="freeze it, build it from convolutions, Linear, Embedding, GroupNorm, InstanceNorm and LayerNorm, or train "
        'with engine="opacus"',
    )
