"""Guided maps step where the image steps, and say nothing that the coarse map does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.models.guided import guided
from medquorum.models.network import build

from .conftest import FROZEN, needs_packaged_weights


def disc(side: int = 96) -> torch.Tensor:
    """A bright disc (1,1,side,side) off the image's centre, under a little noise."""
    at = torch.arange(side, dtype=torch.float32)
    inside = ((at[:, None] - 0.4 * side).square() + (at[None] - 0.55 * side).square()) < (0.15 * side) ** 2
    noise = 0.02 * torch.randn(side, side, generator=torch.Generator().manual_seed(3))
    return (0.3 + 0.5 * inside + noise)[None, None]


def overlap(map: torch.Tensor, truth: torch.Tensor) -> float:
    chosen = map >= map.median() + 0.65 * (map.max() - map.median())
    return float(2 * (chosen & truth).sum() / (chosen.sum() + truth.sum()))


def test_a_coarse_map_takes_the_edge_of_what_it_lies_on() -> None:
    image = disc()
    truth = image[0, 0] > 0.55
    coarse = torch.nn.functional.adaptive_avg_pool2d(truth[None, None].float(), 12)
    plain = torch.nn.functional.interpolate(coarse, size=96, mode="bilinear", align_corners=False)[0, 0]
    found = guided(coarse, image)[0, 0]
    assert found.shape == (96, 96)
    assert overlap(found, truth) > overlap(plain, truth) + 0.03 and overlap(found, truth) > 0.9


@given(st.integers(0, 2**31), st.floats(0.01, 100.0), st.floats(-50.0, 50.0))
@settings(max_examples=20, deadline=None)
def test_the_scale_of_grey_values_does_not_matter(seed: int, gain: float, shift: float) -> None:
    source = torch.Generator().manual_seed(seed)
    image, maps = torch.rand(2, 1, 40, 40, generator=source), torch.randn(2, 3, 5, 5, generator=source)
    assert torch.allclose(guided(maps, gain * image + shift), guided(maps, image), atol=1e-2)


def test_an_even_map_stays_even_and_an_image_without_contrast_only_smooths() -> None:
    image = disc(40)
    assert torch.allclose(guided(torch.full((1, 2, 5, 5), 1.5), image), torch.full((1, 2, 40, 40), 1.5), atol=1e-4)
    maps = torch.randn(1, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    found = guided(maps, torch.zeros(1, 1, 40, 40))
    assert torch.isfinite(found).all()
    assert maps.min() - 1e-4 <= found.min() and found.max() <= maps.max() + 1e-4


@needs_packaged_weights
@pytest.mark.parametrize("size", [64, 96])
def test_a_fine_network_learns_on_twice_the_grid_and_answers_at_the_images_size(size: int) -> None:
    coarse, fine = build(FROZEN, 2, 1).eval(), build(replace(FROZEN, fine=True), 2, 1).eval()
    images = torch.rand(3, 1, size, size, generator=torch.Generator().manual_seed(2))
    assert coarse.grid(size) == (size // 16, size // 16) and fine.grid(size) == (size // 8, size // 8)
    features = fine.features(images)
    # The layers of strides 8 and 16 alone, and the head's own maps are what it is trained by.
    assert features.shape == (3, 40 + 112, size // 8, size // 8)
    assert torch.allclose(features.mean(dim=(2, 3)).norm(dim=1), torch.ones(3), atol=1e-4)
    with torch.no_grad():
        fine.head.map.weight.normal_(generator=torch.Generator().manual_seed(4))
        learned, said = fine.trainable()(features), fine(images)
    assert learned.maps.shape == (3, 2, size // 8, size // 8) and said.maps.shape == (3, 2, size, size)
    assert torch.allclose(learned.logits, said.logits)
    assert torch.allclose(said.maps, guided(learned.maps, images))
