"""Clipped sums of patients' gradients against float64 references, and the bound that everything rests on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from clipping_cases import Case
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medquorum.privacy.clipping import MARGIN, PatientRows, hooked, refuse_unsupported, trainable
from medquorum.privacy.errors import UnaccountableError


class Standardised(nn.Conv2d):
    """A convolution whose kernel is a function of its weight, which is what it tells the engine."""

    def effective_weight(self, weight: Tensor) -> Tensor:
        return weight - weight.mean(dim=(1, 2, 3), keepdim=True)

    def forward(self, input: Tensor) -> Tensor:
        weight = self.effective_weight(self.weight)
        return nn.functional.conv2d(input, weight, self.bias, self.stride, self.padding)


def small_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        Standardised(4, 4, 3, padding=1, bias=False),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 2),
    )


def head() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(2), nn.Conv1d(3, 3, 1, groups=3), nn.Flatten()
    )


NETS: dict[str, Callable[[], nn.Module]] = {"small": small_net, "head": head}


def case(kind: str, images: list[int], seed: int = 0, scale: float = 1.0) -> Case:
    torch.manual_seed(seed)
    return Case(NETS[kind](), images, seed, scale)


sizes = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(NETS)), sizes, st.integers(1, 7), st.floats(1e-3, 30.0), st.integers(0, 9))
def test_the_sum_equals_the_float64_reference(
    kind: str, images: list[int], images_at_once: int, clip: float, seed: int
) -> None:
    one = case(kind, images, seed)
    ours, reference = one.sum(one.everyone, clip, images_at_once), one.reference(one.everyone, clip)
    assert np.linalg.norm(ours - reference) <= 1e-5 * max(np.linalg.norm(reference), 1e-3 * clip)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(NETS)),
    st.integers(1, 6),
    st.floats(1e-4, 10.0),
    st.sampled_from([0.0, 1e-3, 1.0, 1e3, 1e6]),
    st.integers(0, 9),
)
def test_no_patients_contribution_exceeds_the_clip(
    kind: str, images: int, clip: float, scale: float, seed: int
) -> None:
    one = case(kind, [images], seed, scale)
    assert math.sqrt(math.fsum(one.sum([0], clip) ** 2)) <= clip


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(NETS)), st.lists(st.integers(1, 3), min_size=2, max_size=5), st.data())
def test_removing_a_patient_changes_the_sum_by_at_most_the_sensitivity(
    kind: str, images: list[int], data: st.DataObject
) -> None:
    one = case(kind, images, data.draw(st.integers(0, 9)), scale=30.0)
    gone = data.draw(st.sampled_from(one.everyone))
    clip = data.draw(st.floats(1e-3, 10.0))
    images_at_once = data.draw(st.integers(1, 8))
    with hooked(one.net, one.losses, images_at_once) as gradients:
        whole = gradients.clipped_sum(one.batch(one.everyone), clip)
        rest = gradients.clipped_sum(one.batch([p for p in one.everyone if p != gone]), clip)
    assert whole.sensitivity == clip
    assert np.linalg.norm(whole.total - rest.total) <= whole.sensitivity


@given(st.lists(st.integers(1, 6), max_size=12), st.integers(1, 9))
def test_no_patient_is_split_between_micro_batches(images: list[int], images_at_once: int) -> None:
    offsets = np.concatenate([[0], np.cumsum(images)]).astype(np.int64)
    batch = PatientRows(np.arange(offsets[-1]), offsets)
    groups = list(batch.groups(images_at_once))
    assert [patient for first, last in groups for patient in range(first, last)] == list(range(len(images)))
    for first, last in groups:
        rows, weights, counts = batch.group(first, last)
        assert rows.tolist() == list(range(offsets[first], offsets[last]))
        assert counts.tolist() == images[first:last]
        assert weights.sum() == pytest.approx(last - first)
        assert len(rows) <= images_at_once or last == first + 1


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(NETS)), sizes, st.integers(1, 7))
def test_micro_batches_add_up_in_double_precision(kind: str, images: list[int], images_at_once: int) -> None:
    """And one alone stays in the parameters' own, one part for each parameter in sorted-name order."""
    one = case(kind, images)
    batch = one.batch(one.everyone)
    with hooked(one.net, one.losses, sum(images)) as gradients:
        whole = gradients.clipped_sum(batch, 0.5)
    with hooked(one.net, one.losses, images_at_once) as gradients:
        pieces = gradients.clipped_sum(batch, 0.5)
    several = len(list(batch.groups(images_at_once))) > 1
    assert {part.dtype for part in whole.parts} == {np.dtype(np.float32)}
    assert {part.dtype for part in pieces.parts} == {np.dtype(np.float64 if several else np.float32)}
    assert [part.size for part in pieces.parts] == [p.numel() for p in trainable(one.net).values()]
    assert pieces.total.dtype == np.float64 and pieces.total.shape == (pieces.size,) == (gradients.size,)
    assert np.array_equal(pieces.total, np.concatenate(pieces.parts))
    assert np.linalg.norm(pieces.total - whole.total) <= 1e-5 * np.linalg.norm(whole.total)


def test_the_clip_binds_and_only_where_it_must() -> None:
    one = case("small", [2], scale=5.0)
    free = one.sum([0], 1e9)
    norm = float(np.linalg.norm(free))
    assert np.linalg.norm(one.sum([0], norm / 2)) == pytest.approx(norm / 2 * (1.0 - MARGIN), rel=1e-6)
    assert np.allclose(one.sum([0], norm * 1.01), free, rtol=1e-9)


def test_an_empty_batch_is_zeros() -> None:
    one = case("head", [1, 1])
    with hooked(one.net, one.losses, 8) as gradients:
        result = gradients.clipped_sum(one.batch([]), 0.5)
    assert not result.total.any()
    assert (result.patients, result.sensitivity, result.total.size) == (0, 0.5, gradients.size)


def test_a_patient_with_more_images_than_fit_at_once_is_one_patient() -> None:
    one = case("small", [11, 1, 1])
    assert np.allclose(one.sum([0, 1, 2], 0.1, 2), one.sum([0, 1, 2], 0.1, 64), rtol=1e-5, atol=1e-8)


def test_a_gradient_that_is_not_finite_contributes_nothing() -> None:
    one = case("head", [1, 2, 1])
    one.targets[1] = float("nan")
    assert np.array_equal(one.sum([1], 0.1), np.zeros_like(one.sum([1], 0.1)))
    assert np.allclose(one.sum([0, 1, 2], 0.1), one.sum([0, 2], 0.1), atol=1e-9)
    one.targets[1] = float("inf")
    assert np.isfinite(one.sum([0, 1, 2], 0.1)).all()


def test_channels_last_images_and_weights_come_out_right() -> None:
    """Opacus 1.6 reads channels_last tensors in the wrong order."""
    one = case("small", [2, 2])
    reference = one.reference([0, 1], 0.3)
    one.net = one.net.to(memory_format=torch.channels_last)
    one.inputs = one.inputs.repeat(1, 1, 1, 1).contiguous(memory_format=torch.channels_last)
    assert np.allclose(one.sum([0, 1], 0.3), reference, rtol=1e-4, atol=1e-6)


def test_the_module_is_left_as_it_was() -> None:
    one = case("small", [2, 1])
    one.net.eval()
    before = {name: set(vars(layer)) for name, layer in one.net.named_modules()}
    one.sum([0, 1], 1.0)
    assert {name: set(vars(layer)) for name, layer in one.net.named_modules()} == before
    assert not any(layer.training for layer in one.net.modules())
    for layer in one.net.modules():
        assert not layer._forward_hooks and not layer._backward_hooks and not layer._forward_pre_hooks
    for parameter in one.net.parameters():
        assert parameter.grad is None and not hasattr(parameter, "grad_sample")
    assert math.isfinite(float(one.losses(torch.arange(3)).sum()))


def test_a_frozen_layer_takes_no_part_and_keeps_its_mode() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 1))
    net[0].requires_grad_(False)
    net[1].requires_grad_(False).eval()
    one = Case(net, [1, 2], 0)
    assert np.allclose(one.sum([0, 1], 0.5), one.reference([0, 1], 0.5), rtol=1e-5, atol=1e-7)
    assert not net[1].training


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan")])
def test_a_clip_that_bounds_nothing_is_refused(clip: float) -> None:
    with pytest.raises(UnaccountableError, match="clip"):
        case("head", [1]).sum([0], clip)


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.BatchNorm2d(1), "BatchNorm2d"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "reflect"),
        (nn.ReLU(inplace=True), "in place"),
    ],
)
def test_layers_without_a_correct_patient_gradient_are_refused_by_name(layer: nn.Module, named: str) -> None:
    net = nn.Sequential(layer, nn.Flatten(), nn.Linear(64, 1)).train()
    with pytest.raises(UnaccountableError, match=named) as refusal:
        refuse_unsupported(net)
    assert "'0'" in str(refusal.value) and refusal.value.fix


def test_a_model_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(UnaccountableError, match="nothing in the model"):
        refuse_unsupported(nn.Linear(1, 1).requires_grad_(False))


def test_half_precision_parameters_are_refused() -> None:
    with pytest.raises(UnaccountableError, match="float32"):
        refuse_unsupported(nn.Linear(1, 1).to(torch.bfloat16))


def test_a_loss_that_couples_the_images_of_a_batch_is_refused() -> None:
    one = case("small", [1, 1, 1])

    def coupled(rows: Tensor) -> Tensor:
        losses = one.losses(rows)
        return losses / losses.detach().sum()

    with (
        pytest.raises(UnaccountableError, match="other images"),
        hooked(one.net, coupled, 8) as gradients,
    ):
        gradients.clipped_sum(one.batch([0, 1, 2]), 1.0)


def test_a_mean_over_the_batch_is_refused() -> None:
    one = case("small", [1, 1])
    with (
        pytest.raises(UnaccountableError, match="one loss for each image"),
        hooked(one.net, lambda rows: one.losses(rows).mean(), 8) as gradients,
    ):
        gradients.clipped_sum(one.batch([0, 1]), 1.0)


def test_a_parameter_used_past_its_layer_is_refused() -> None:
    one = case("head", [1, 1])
    layer = one.net[0]
    assert isinstance(layer, nn.Conv2d)

    def with_weight_decay(rows: Tensor) -> Tensor:
        return one.losses(rows) + layer.weight.square().sum()

    with (
        pytest.raises(UnaccountableError, match="do not add up"),
        hooked(one.net, with_weight_decay, 8) as gradients,
    ):
        gradients.clipped_sum(one.batch([0, 1]), 1.0)
