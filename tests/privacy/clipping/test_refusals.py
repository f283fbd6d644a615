"""What has no exact per-patient gradient is refused by name, and never summed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medquorum.privacy.clipping import PatientRows, hooked
from medquorum.privacy.errors import UnaccountableError

INPUTS = torch.randn(4, 3, 4, generator=torch.Generator().manual_seed(0))
BATCH = PatientRows(np.arange(4), np.arange(5))


def attempt(net: nn.Module, forward: Callable[[Tensor], Tensor] | None = None) -> None:
    def losses(rows: Tensor) -> Tensor:
        return (forward or net)(INPUTS[rows]).flatten(1).square().sum(dim=1)

    with hooked(net, losses, 8) as gradients:
        gradients.clipped_sum(BATCH, 1.0)


class Scaled(nn.Linear):
    """Computes something else than its base, and does not say what."""

    def forward(self, input: Tensor) -> Tensor:
        return 2.0 * super().forward(input)


class Lying(nn.Conv1d):
    """Says that it convolves with its weight, and convolves with twice as much."""

    def effective_weight(self, weight: Tensor) -> Tensor:
        return weight

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.conv1d(input, 2.0 * self.weight, self.bias)


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (Scaled(4, 2), "Scaled"),
        (Lying(3, 2, 1), "do not add up"),
        (Bare(), "Bare"),
        (nn.Bilinear(4, 4, 2), "Bilinear"),
        (nn.RMSNorm(4), "RMSNorm"),
        (nn.LSTM(4, 2, batch_first=True), "LSTM"),
        (nn.BatchNorm1d(3).eval(), "BatchNorm1d"),
        (nn.BatchNorm1d(3), "training mode"),
        (nn.InstanceNorm1d(3, affine=True, track_running_stats=True), "running statistics"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)), "Parametrization"),
        (nn.Conv1d(3, 3, 3, padding=1, padding_mode="circular"), "circular"),
        (nn.ConvTranspose1d(3, 2, 1), "ConvTranspose1d"),
        (nn.Embedding(4, 2, max_norm=1.0), "max_norm"),
        (nn.Embedding(4, 2, scale_grad_by_freq=True), "scale_grad_by_freq"),
    ],
)
def test_layers_without_a_rule(layer: nn.Module, named: str) -> None:
    with pytest.raises(UnaccountableError) as refusal:
        attempt(nn.Sequential(layer))
    assert named in str(refusal.value)
    assert refusal.value.fix
    assert "forward" not in vars(layer)


def test_one_parameter_in_two_layers() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    with pytest.raises(UnaccountableError, match=r"'1.weight' is the same tensor as '0.weight'"):
        attempt(net)


def test_images_that_are_not_in_the_first_dimension() -> None:
    net = nn.Linear(4, 2)
    with pytest.raises(UnaccountableError, match="4 images are in the batch"):
        attempt(net, lambda x: net(x.transpose(0, 1)).transpose(0, 1))


def test_images_that_are_not_in_the_first_dimension_though_the_numbers_agree() -> None:
    """Three images of three positions each, transposed: every shape looks right, and every gradient is wrong."""
    net = nn.Linear(4, 2)

    def losses(rows: Tensor) -> Tensor:
        return net(INPUTS[rows].transpose(0, 1)).transpose(0, 1).flatten(1).square().sum(dim=1)

    with (
        pytest.raises(UnaccountableError, match="other images"),
        hooked(net, losses, 8) as gradients,
    ):
        gradients.clipped_sum(PatientRows(np.arange(3), np.arange(4)), 1.0)


def test_layers_that_mix_the_images() -> None:
    net = nn.Linear(4, 2)
    with pytest.raises(UnaccountableError, match="other images"):
        attempt(net, lambda x: net(x) - net(x).mean(dim=0).detach() + net(x).mean(dim=0))


def test_mixed_images_of_a_single_patient_are_noticed() -> None:
    net = nn.Linear(4, 2)

    def losses(rows: Tensor) -> Tensor:
        return net(INPUTS[rows].transpose(0, 1)).transpose(0, 1).flatten(1).square().sum(dim=1)

    alone = PatientRows(np.arange(3), np.array([0, 3]))
    with hooked(net, losses, 8) as gradients, pytest.raises(UnaccountableError, match="other images"):
        gradients.clipped_sum(alone, 1.0)


def test_a_parameter_used_outside_its_layer_is_noticed_in_any_step() -> None:
    net = nn.Linear(4, 2)
    decay = 0.0

    def losses(rows: Tensor) -> Tensor:
        own = net(INPUTS[rows]).flatten(1).square().sum(dim=1)
        return own + decay * net.weight.square().sum() if decay else own

    with hooked(net, losses, 8) as gradients:
        gradients.clipped_sum(BATCH, 1.0)
        decay = 1e-6
        with pytest.raises(UnaccountableError, match="do not add up"):
            gradients.clipped_sum(BATCH, 1.0)


def test_an_input_overwritten_after_its_layer() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))

    def overwriting(x: Tensor) -> Tensor:
        y = net[0](x)
        z = net[1](y)
        y += 1.0
        return z + y

    with pytest.raises(UnaccountableError, match="in place"):
        attempt(net, overwriting)


def test_an_output_overwritten_in_place_is_no_harm() -> None:
    """Residuals by += crash Opacus's hooks; here only what gradients are computed from must stay."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))

    def residual(x: Tensor, inplace: bool) -> Tensor:
        y = torch.tanh(net[0](x))
        z = net[1](y)
        if not inplace:
            return torch.relu(z + y)
        z += y
        return z.relu_()

    sums = []
    for inplace in (False, True):

        def losses(rows: Tensor, inplace: bool = inplace) -> Tensor:
            return residual(INPUTS[rows], inplace).flatten(1).square().sum(dim=1)

        with hooked(net, losses, 8) as gradients:
            sums.append(gradients.clipped_sum(BATCH, 0.3).total)
    assert np.allclose(*sums, rtol=1e-6)
