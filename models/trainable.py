"""What differential privacy cannot train is refused by name, before any image is touched.

Per-patient clipping needs each image's gradient to be its own and to be computed rightly. The layers below break
the first (they mix a batch) or the second (per-example gradient hooks crash on them or are silently wrong).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]  the only common base
from torch.nn.modules.conv import _ConvNd  # pyright: ignore[reportPrivateUsage]  the only common base
from torch.nn.modules.instancenorm import _InstanceNorm  # pyright: ignore[reportPrivateUsage]  the only common base

from .errors import UntrainableError


def require_private(module: nn.Module) -> None:
    """Raises UntrainableError naming the first layer that cannot be trained under differential privacy, and the fix.

    Refused: BatchNorm in training mode (it mixes the batch's patients), InstanceNorm that keeps running statistics
    (they leave the site without noise), padding other than zeros (Opacus 1.6 computes its gradient wrongly),
    channels_last weights (the same), in-place activations (they crash backward hooks), parameters shared between
    layers, lazily shaped or of less than single precision, and a module with nothing to train.
    """
    for name, layer in module.named_modules():
        fault = _fault(layer)
        if fault is not None:
            what, fix = fault
            raise UntrainableError(
                f"{what} cannot be trained with per-patient privacy",
                where=f"layer {name or '(the module itself)'} ({type(layer).__name__})",
                fix=fix,
            )
    owners: dict[int, str] = {}
    trained = False
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if not parameter.requires_grad:
            continue
        trained = True
        other = owners.setdefault(id(parameter), name)
        if other != name:
            raise UntrainableError(
                f"parameter {name} is the same tensor as {other}",
                where=f"parameter {name}",
                fix="give each layer its own parameters",
            )
    if not trained:
        raise UntrainableError("the network has no trainable parameter", fix="unfreeze the head or the backbone")


def _fault(layer: nn.Module) -> tuple[str, str] | None:
    if isinstance(layer, _InstanceNorm):
        if layer.track_running_stats:
            return "InstanceNorm with running statistics", "build it with track_running_stats=False, or use GroupNorm"
        return None
    if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None):
        return "BatchNorm in training mode", "use GroupNorm, or put it in eval() so that its statistics are fixed"
    if isinstance(layer, _ConvNd) and layer.padding_mode != "zeros":
        return f"padding_mode={layer.padding_mode!r}", "pad with zeros"
    if getattr(layer, "inplace", False):
        return "an in-place activation", "build it with inplace=False"
    for name, parameter in layer.named_parameters(recurse=False):
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            return f"a lazily shaped {name}", "run one forward pass first"
        if parameter.requires_grad and parameter.dtype not in (torch.float32, torch.float64):
            return f"a {name} in {parameter.dtype}", "keep parameters in float32"
        if parameter.requires_grad and not parameter.is_contiguous():
            return f"a {name} that is not contiguous (channels_last)", "use .to(memory_format=torch.contiguous_format)"
    return None
