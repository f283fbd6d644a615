"""What privacy cannot train is refused by the layer's name, with the fix; what it can is let through."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medquorum.models.errors import UntrainableError
from medquorum.models.trainable import require_private


def tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    return net


@pytest.mark.parametrize(
    ("layer", "where", "fix"),
    [
        (nn.BatchNorm2d(8), "BatchNorm2d", "GroupNorm"),
        (nn.BatchNorm2d(8, track_running_stats=False).eval(), "BatchNorm2d", "GroupNorm"),
        (nn.SyncBatchNorm(8), "SyncBatchNorm", "GroupNorm"),
        (nn.InstanceNorm2d(8, affine=True, track_running_stats=True), "InstanceNorm2d", "track_running_stats=False"),
        (nn.Conv2d(1, 8, 3, padding=1, padding_mode="reflect"), "Conv2d", "pad with zeros"),
        (nn.Conv1d(1, 8, 3, padding=1, padding_mode="circular"), "Conv1d", "pad with zeros"),
        (nn.ReLU(inplace=True), "ReLU", "inplace=False"),
        (nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last), "Conv2d", "contiguous_format"),  # type: ignore[call-overload]
        (nn.LazyConv2d(8, 3), "LazyConv2d", "one forward pass"),
        (nn.Conv2d(4, 8, 3).to(torch.bfloat16), "Conv2d", "float32"),
    ],
)
def test_a_layer_is_refused_by_name(layer: nn.Module, where: str, fix: str) -> None:
    net = nn.Module()
    net.add_module("first", nn.Conv2d(1, 4, 1))
    net.add_module("culprit", layer)
    with pytest.raises(UntrainableError, match=rf"layer culprit \({where}\)") as caught:
        require_private(net)
    assert fix in caught.value.fix


def test_shared_parameters_and_nothing_to_train_are_refused() -> None:
    with pytest.raises(UntrainableError, match=r"1\.weight is the same tensor as 0\.weight"):
        require_private(tied())
    with pytest.raises(UntrainableError, match="no trainable parameter"):
        require_private(nn.Linear(2, 2).requires_grad_(False))


def test_batch_norm_with_fixed_statistics_is_let_through() -> None:
    require_private(nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4)).eval())
    require_private(nn.Sequential(nn.Conv2d(1, 4, 1), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4), nn.ReLU()))
