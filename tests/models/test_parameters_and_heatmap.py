"""Parameters as a vector, and Grad-CAM against autograd through the whole network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medquorum.models.errors import ModelError
from medquorum.models.heatmap import grad_cam
from medquorum.models.network import FindingNet, build
from medquorum.models.parameters import from_vector, to_vector

from .conftest import FROZEN, SMALL, needs_packaged_weights


def test_the_vector_round_trips_in_name_order(small: FindingNet) -> None:
    vector = to_vector(small)
    assert vector.dtype == torch.float32
    assert vector.numel() == sum(p.numel() for p in small.parameters())
    other = build(SMALL, findings=2, seed=99)
    from_vector(other, vector)
    assert torch.equal(to_vector(other), vector)
    first = min(name for name, _ in small.named_parameters())
    assert torch.equal(vector[: small.get_parameter(first).numel()], small.get_parameter(first).detach().flatten())


def test_frozen_parameters_are_left_out_and_left_alone() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    net[0].requires_grad_(False)
    kept = net[0].weight.clone()
    assert to_vector(net).numel() == 8
    from_vector(net, torch.zeros(8))
    assert torch.equal(net[0].weight, kept)
    assert (to_vector(net) == 0.0).all()
    assert to_vector(nn.ReLU()).shape == (0,)


def test_the_vector_is_a_copy(small: FindingNet) -> None:
    vector = to_vector(small)
    before = vector.clone()
    from_vector(small, torch.zeros_like(vector))
    assert torch.equal(vector, before)


@pytest.mark.parametrize("wrong", [torch.zeros(3), torch.zeros(1, 3)])
def test_a_vector_of_another_network_is_refused(small: FindingNet, wrong: torch.Tensor) -> None:
    before = to_vector(small)
    with pytest.raises(ModelError, match="trainable parameters"):
        from_vector(small, wrong)
    assert torch.equal(to_vector(small), before)


def test_grad_cam_is_the_one_of_the_paper(small: FindingNet) -> None:
    images = torch.rand(3, 1, 64, 64)
    kept: list[torch.Tensor] = []

    def keep(_: nn.Module, __: object, value: torch.Tensor) -> None:
        value.retain_grad()
        kept.append(value)

    handle = small.backbone.register_forward_hook(keep)
    small(images).logits[:, 1].sum().backward()
    handle.remove()
    assert kept[0].grad is not None
    weights = kept[0].grad.mean(dim=(2, 3), keepdim=True)
    expected = (weights * kept[0]).sum(dim=1).relu().detach()
    expected = expected / expected.amax(dim=(1, 2), keepdim=True).clamp_min(1e-30)
    assert torch.allclose(grad_cam(small, images, 1), expected, atol=1e-5)


def test_grad_cam_leaves_the_network_as_it_was(small: FindingNet) -> None:
    before = to_vector(small)
    with torch.no_grad():
        heat = grad_cam(small, torch.rand(2, 1, 64, 64), 0)
    assert heat.shape == (2, 8, 8)
    assert float(heat.min()) >= 0.0
    assert float(heat.max()) <= 1.0
    assert all(parameter.grad is None for parameter in small.parameters())
    assert small.training
    assert torch.equal(to_vector(small), before)


def test_the_backbone_runs_once_and_never_backwards(small: FindingNet) -> None:
    # What "one to one and a half forward passes" rests on, without asking a clock.
    forwards, backwards = [], []
    small.backbone.register_forward_hook(lambda *_: forwards.append(1))
    small.backbone.register_full_backward_hook(lambda *_: backwards.append(1))
    grad_cam(small, torch.rand(1, 1, 64, 64), 0)
    assert (len(forwards), len(backwards)) == (1, 0)


@needs_packaged_weights
def test_an_untrained_frozen_head_points_nowhere() -> None:
    assert (grad_cam(build(FROZEN, 1, 0), torch.rand(1, 1, 64, 64), 0) == 0.0).all()
