"""Every way to a layer's gradients and norms, on any geometry, against autograd in float64 one patient at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medquorum.privacy.clipping.choice import norms_by
from medquorum.privacy.clipping.conv import ConvRule
from medquorum.privacy.clipping.embedding import EmbeddingRule
from medquorum.privacy.clipping.linear import LinearRule
from medquorum.privacy.clipping.patients import Spans, squared_norms
from medquorum.privacy.clipping.rules import Captured, Rule

CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
counts = st.lists(st.integers(1, 3), min_size=1, max_size=4)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    """A convolution and the shape of one input, channels first."""
    dimensions = draw(st.integers(1, 3))
    several = st.lists(st.integers(1, 3 if dimensions < 3 else 2), min_size=dimensions, max_size=dimensions).map(tuple)
    kernel, dilation, groups = draw(several), draw(several), draw(st.sampled_from([1, 2]))
    stride: tuple[int, ...] = (1,) * dimensions
    padding: str | tuple[int, ...] = draw(st.sampled_from(["same", "valid"]))
    if draw(st.booleans()):
        stride, padding = draw(several), draw(st.lists(st.integers(0, 2), min_size=dimensions, max_size=dimensions))
        padding = tuple(padding)
    channels, outputs = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    layer = CONVS[dimensions](channels, outputs, kernel, stride, padding, dilation, groups)
    size = tuple(d * (k - 1) + 1 + draw(st.integers(0, 3)) for d, k in zip(dilation, kernel, strict=True))
    return layer, (channels, *size)


def reference(layer: nn.Module, captured: Captured) -> tuple[Tensor, Tensor | None]:
    """Each patient's gradient of the weight (n, values) and bias, in float64, by autograd."""
    layer = layer.double()
    x = captured.input.double() if captured.input.is_floating_point() else captured.input
    weights, biases = [], []
    for rows, _ in captured.spans.parts(1):
        layer.zero_grad()
        (layer(x[rows]) * captured.gradient[rows].double()).sum().backward()
        weights.append(layer.weight.grad.reshape(-1).clone())
        if getattr(layer, "bias", None) is not None:
            biases.append(layer.bias.grad.clone())
    layer.float()
    return torch.stack(weights), torch.stack(biases) if biases else None


def check(layer: nn.Module, rule: Rule, captured: Captured) -> None:
    gradients, biases = reference(layer, captured)
    prepared = rule.prepare(captured)
    size = float(gradients.norm()) + 1e-6
    for name, way in rule.explicit(prepared).items():
        assert (way(prepared).double() - gradients).norm() <= 1e-5 * size, name
    squares = gradients.square().sum(dim=1)
    for name in (*rule.explicit(prepared), *rule.norms(prepared)):
        assert torch.allclose(norms_by(rule, name, prepared), squares, rtol=1e-4, atol=1e-8), name
    for name, sum in rule.sums(prepared).items():
        assert (sum(prepared).double() - gradients.sum(dim=0)).norm() <= 1e-5 * size, name
    if biases is not None:
        assert torch.allclose(rule.bias(prepared).double(), biases, rtol=1e-4, atol=1e-5)
    assert rule.work(prepared) > 0 and rule.size == gradients.shape[1]


@settings(max_examples=40, deadline=None)
@given(convolutions(), counts, st.integers(0, 99), st.booleans())
def test_convolutions(made: tuple[nn.Module, tuple[int, ...]], patients: list[int], seed: int, last: bool) -> None:
    layer, shape = made
    torch.manual_seed(seed)
    x = torch.randn(sum(patients), *shape)
    if last and x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    captured = Captured(x, torch.randn_like(layer(x)), Spans(torch.tensor(patients)))
    check(layer, ConvRule(layer, None), captured)


@settings(max_examples=25, deadline=None)
@given(counts, st.lists(st.integers(1, 3), max_size=2), st.integers(0, 99))
def test_linear_layers(patients: list[int], leading: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(3, 4)
    x = torch.randn(sum(patients), *leading, 3)
    captured = Captured(x, torch.randn_like(layer(x)), Spans(torch.tensor(patients)))
    check(layer, LinearRule(layer), captured)


@settings(max_examples=25, deadline=None)
@given(counts, st.lists(st.integers(1, 4), max_size=2), st.sampled_from([None, 0, 2]), st.integers(0, 99))
def test_embeddings(patients: list[int], leading: list[int], padding: int | None, seed: int) -> None:
    torch.manual_seed(seed)
    layer = nn.Embedding(5, 3, padding_idx=padding)
    index = torch.randint(5, (sum(patients), *leading))
    captured = Captured(index, torch.randn_like(layer(index)), Spans(torch.tensor(patients)))
    check(layer, EmbeddingRule(layer, "layer"), captured)


def test_a_gram_norm_survives_cancellation() -> None:
    """Nearly constant inputs under gradients without mean: the norm is a millionth of what its terms add up to."""
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 16, 3, padding=1, bias=False)
    x = 100.0 + 1e-2 * torch.randn(3, 16, 6, 6)
    g = torch.zeros(3, 16, 6, 6)
    inside = torch.randn(3, 16, 4, 4)
    g[:, :, 1:5, 1:5] = inside - inside.mean(dim=(2, 3), keepdim=True)
    captured = Captured(x, g, Spans(torch.ones(3, dtype=torch.int64)))
    exact = reference(layer, captured)[0].norm(dim=1)
    rule = ConvRule(layer, None)
    assert torch.allclose(norms_by(rule, "gram", rule.prepare(captured)).sqrt(), exact, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 511, 512, 1_500_000])
def test_norms_of_long_vectors_lose_nothing(size: int) -> None:
    torch.manual_seed(0)
    rows = torch.rand(2, size)
    assert torch.allclose(squared_norms(rows), rows.double().square().sum(dim=1), rtol=2e-6)
    assert torch.isfinite(squared_norms(torch.full((1, size), 1e25))).all()
