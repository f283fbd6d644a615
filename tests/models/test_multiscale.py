"""The frozen features average to the recipe they promise, whatever the grids, and blow nothing up."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.models.multiscale import multiscale


def maps(seed: int, images: int = 3) -> tuple[torch.Tensor, ...]:
    source = torch.Generator().manual_seed(seed)
    shapes = ((8, 12, 12), (16, 6, 6), (24, 3, 3))
    return tuple(torch.randn(images, *shape, generator=source) + 0.2 for shape in shapes)


@given(st.integers(0, 2**31), st.sampled_from([(6, 6), (3, 3)]))
@settings(max_examples=30, deadline=None)
def test_the_mean_has_unit_norm_and_each_layer_its_share(seed: int, grid: tuple[int, int]) -> None:
    mean = multiscale(maps(seed), grid).mean(dim=(2, 3))
    assert torch.allclose(mean.norm(dim=1), torch.ones(3), atol=1e-4)
    # Standardised within each layer: its channels sum to zero, and its energy is its share of the channels.
    for part, channels in zip(mean.split((8, 16, 24), dim=1), (8, 16, 24), strict=True):
        assert torch.allclose(part.sum(dim=1), torch.zeros(3), atol=1e-3)
        assert torch.allclose(part.square().sum(dim=1), torch.full((3,), channels / 48), atol=1e-3)


def test_the_mean_grows_like_a_signed_square_root() -> None:
    levels = torch.tensor([-16.0, -4.0, 0.0, 4.0, 16.0])
    flat = levels.view(1, 5, 1, 1).expand(1, 5, 4, 4)
    mean = multiscale((flat,), (4, 4)).mean(dim=(2, 3))[0]
    steps = mean - mean[2]
    assert torch.allclose(steps, -steps.flip(0), atol=1e-6)
    assert 1.8 < float(steps[4] / steps[3]) < 2.3  # four times the value, about twice the feature


@given(st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_contrast_does_not_matter(gain: float) -> None:
    plain = multiscale(maps(1), (6, 6))
    scaled = multiscale(tuple(gain * layer for layer in maps(1)), (6, 6))
    assert torch.allclose(scaled, plain, atol=1e-3)


def test_images_do_not_see_each_other_and_blank_ones_are_finite() -> None:
    layers = maps(2)
    assert torch.allclose(multiscale(tuple(layer[1:2] for layer in layers), (6, 6)), multiscale(layers, (6, 6))[1:2])
    assert torch.isfinite(multiscale(tuple(torch.zeros_like(layer) for layer in layers), (6, 6))).all()


def test_a_bright_place_stays_where_it_is() -> None:
    layer = torch.rand(1, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    layer[0, 3, 4:6, 8:10] += 10.0
    features = multiscale((layer,), (6, 6))
    assert int(features[0, 3].argmax()) == 2 * 6 + 4
