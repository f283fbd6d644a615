"""Whole networks: the exact engine's clipped sum against float64 and against Opacus, and what one patient changes."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from clipping_cases import Case
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from medquorum.models.small import SmallBackbone
from medquorum.privacy.clipping import MARGIN, PatientRows, choice, hooked, trainable


class Conv(nn.Module):
    """Convolutions, with every norm between them; dilated, strided, grouped, and a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)])
        self.second = nn.Conv2d(4, 4, 3, padding="same", dilation=2, groups=2)
        self.third = nn.Conv2d(4, 4, (2, 1), padding="same", bias=False)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norms[0](self.first(x)))
        x = x + torch.tanh(self.norms[1](self.second(x)))
        return self.last(self.third(x).mean(dim=(2, 3)))


class Standardised(nn.Module):
    """Our own backbone, whose kernels are functions of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv2d(2, 1, 1)
        self.body = SmallBackbone(8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(self.entry(x)).mean(dim=(2, 3)))


class Tokens(nn.Module):
    """Embedding, LayerNorm, and linear layers on three dimensions; one layer is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.norm = nn.LayerNorm(6)
        self.twice = nn.Linear(6, 6)
        self.along = nn.Conv1d(6, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        index = (x.flatten(1)[:, :9].abs() * 3).long().clamp(max=6)
        y = self.norm(self.embed(index))
        y = torch.tanh(self.twice(torch.tanh(self.twice(y))))
        return self.along(y.transpose(1, 2)).mean(dim=2)


class Volume(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 2, stride=(1, 2, 2))
        self.norm = nn.GroupNorm(1, 4)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.conv(x.unsqueeze(1)))).mean(dim=(2, 3, 4)))


NETS: dict[str, type[nn.Module]] = {"conv": Conv, "standardised": Standardised, "tokens": Tokens, "volume": Volume}


def made(kind: str, images: list[int], seed: int, scale: float = 1.0) -> Case:
    torch.manual_seed(seed)
    return Case(NETS[kind](), images, seed, scale, channels=2)


kinds = st.sampled_from(sorted(NETS))
images = st.lists(st.integers(1, 3), min_size=1, max_size=4)


@pytest.fixture(params=[False, True], ids=["untimed", "timed"], scope="module")
def _timing(request: pytest.FixtureRequest) -> object:
    """Small layers go one fixed way; with nothing too small to time, whichever way is fastest must do as well."""
    before = choice._WORTH_TIMING
    choice._WORTH_TIMING = 0 if request.param else before
    yield
    choice._WORTH_TIMING = before
    choice._choices.clear()


@pytest.mark.usefixtures("_timing")
@settings(max_examples=15, deadline=None)
@given(kinds, images, st.integers(1, 7), st.floats(1e-3, 30.0), st.integers(0, 9), st.booleans())
def test_the_sum_equals_the_float64_reference(
    kind: str, images: list[int], at_once: int, clip: float, seed: int, last: bool
) -> None:
    case = made(kind, images, seed)
    reference = case.reference(case.everyone, clip)
    if last:
        case.inputs = case.inputs.contiguous(memory_format=torch.channels_last)
        if kind in ("conv", "standardised"):
            case.net = case.net.to(memory_format=torch.channels_last)
    ours = case.sum(case.everyone, clip, at_once)
    assert np.linalg.norm(ours - reference) <= 1e-4 * max(np.linalg.norm(reference), 1e-2 * clip)


@settings(max_examples=12, deadline=None)
@given(kinds, st.integers(1, 5), st.floats(1e-4, 10.0), st.sampled_from([0.0, 1e-3, 1.0, 1e3]), st.integers(0, 9))
def test_no_patients_contribution_exceeds_the_clip(
    kind: str, images: int, clip: float, scale: float, seed: int
) -> None:
    assert math.sqrt(math.fsum(made(kind, [images], seed, scale).sum([0], clip) ** 2)) <= clip


@settings(max_examples=12, deadline=None)
@given(kinds, st.lists(st.integers(1, 3), min_size=2, max_size=4), st.data())
def test_removing_a_patient_changes_the_sum_by_at_most_the_sensitivity(
    kind: str, images: list[int], data: st.DataObject
) -> None:
    case = made(kind, images, data.draw(st.integers(0, 9)), scale=3.0)
    gone, clip = data.draw(st.sampled_from(case.everyone)), data.draw(st.floats(1e-3, 10.0))
    with hooked(case.net, case.losses, data.draw(st.integers(1, 8))) as gradients:
        whole = gradients.clipped_sum(case.batch(case.everyone), clip)
        rest = gradients.clipped_sum(case.batch([p for p in case.everyone if p != gone]), clip)
    assert whole.sensitivity == clip
    assert np.linalg.norm(whole.total - rest.total) <= whole.sensitivity


@pytest.mark.parametrize("kind", ["conv", "volume"])
@pytest.mark.parametrize("images", [[1, 1, 1], [2, 1, 3]])
def test_opacus_agrees_where_it_is_right(kind: str, images: list[int]) -> None:
    case = made(kind, images, 3)
    ours, theirs = case.sum(case.everyone, 0.5), case.sum(case.everyone, 0.5, engine="opacus")
    assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs)


@pytest.mark.parametrize("kind", sorted(NETS))
def test_an_empty_batch_is_zeros(kind: str) -> None:
    case = made(kind, [1], 0)
    assert not case.sum([], 1.0).any()


def test_large_layers_are_summed_without_keeping_every_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep layers of many weights and few pixels: norms first, one weighted call after, and the same result."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(64, 256, 3, padding=1), nn.Tanh(), nn.Conv2d(256, 64, 3), nn.Flatten())
    inputs = torch.randn(6, 64, 3, 3)

    def losses(rows: Tensor, of: nn.Module = net) -> Tensor:
        return of(inputs[rows].to(next(of.parameters()).dtype)).square().sum(dim=1)

    batch = PatientRows(np.arange(6), np.array([0, 1, 3, 4, 6]))
    monkeypatch.setattr(choice, "_timed", lambda rule, prepared: choice.Choice("calls", "gram", "product", False))
    with hooked(net, losses, 8) as gradients:
        gradients.clipped_sum(batch, 1.0)
        ours = gradients.clipped_sum(batch, 1.0).total
        inputs[1] = float("inf")  # a row of the second patient, who then contributes nothing
        without = gradients.clipped_sum(batch, 1.0).total
    inputs[1] = 0.0
    double = copy.deepcopy(net).double()
    totals = []
    for rows in ([0], [1, 2], [3], [4, 5]):
        double.zero_grad()
        losses(torch.tensor(rows), double).mean().backward()
        gradient = torch.cat([p.grad.reshape(-1) for p in trainable(double).values()]).numpy()
        totals.append(gradient * min(1.0, (1.0 - MARGIN) / float(np.linalg.norm(gradient))))
    others = totals[0] + totals[2] + totals[3]
    assert np.linalg.norm(without - others) <= 1e-5 * np.linalg.norm(others)
    assert np.linalg.norm(ours - others) <= 1.0


def test_a_half_precision_forward_is_summed_in_single_precision() -> None:
    """What is clipped and summed is what bfloat16 made of the forward, and no more is lost after it."""
    case = made("conv", [1, 2, 1], 5)
    plain = case.losses

    def half(rows: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return plain(rows).float()

    with hooked(case.net, half, 8) as gradients:
        ours = gradients.clipped_sum(case.batch(case.everyone), 1e6).total
        one = gradients.clipped_sum(case.batch([1]), 0.1).total
    reference = case.reference(case.everyone, 1e6)
    assert np.linalg.norm(ours - reference) <= 0.1 * np.linalg.norm(reference)
    assert np.linalg.norm(one) == pytest.approx(0.1 * (1.0 - MARGIN), rel=1e-5)


def test_a_bias_alone_can_be_trained() -> None:
    case = made("conv", [1, 2], 1)
    for name, parameter in case.net.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
    assert np.allclose(case.sum([0, 1], 0.2), case.reference([0, 1], 0.2), rtol=1e-4, atol=1e-7)


def test_random_augmentation_does_not_look_like_an_error() -> None:
    case = made("conv", [1, 1, 2], 2)
    clean = case.inputs

    def augmented(rows: Tensor) -> Tensor:
        case.inputs = clean + torch.randn_like(clean)
        return F.dropout(case.losses(rows), 0.1)

    with hooked(case.net, augmented, 8) as gradients:
        assert np.isfinite(gradients.clipped_sum(case.batch(case.everyone), 1.0).total).all()
