"""Pooling, the per-image loss, and that image labels alone and masks both teach the map."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medquorum.models.head import Output, RegionHead
from medquorum.models.loss import Targets, image_losses


@given(st.lists(st.floats(-20, 20), min_size=4, max_size=4), st.floats(0.1, 20.0))
def test_log_mean_exp_lies_between_mean_and_maximum(values: list[float], sharpness: float) -> None:
    head = RegionHead(1, 1, "lse", sharpness)
    torch.nn.init.ones_(head.map.weight)
    torch.nn.init.zeros_(head.map.bias)
    pooled = float(head(torch.tensor(values).view(1, 1, 2, 2)).logits)
    assert sum(values) / 4 - 1e-3 <= pooled <= max(values) + 1e-3
    assert pooled >= max(values) - math.log(4) / sharpness - 1e-3


@pytest.mark.parametrize("pooling", ["lse", "attention", "mean"])
def test_a_shift_of_the_map_shifts_the_logit(pooling: str) -> None:
    torch.manual_seed(0)
    head = RegionHead(3, 2, pooling, 5.0)  # type: ignore[arg-type]
    features = torch.randn(4, 3, 5, 5)
    before = head(features)
    with torch.no_grad():
        head.map.bias += 1.5
    after = head(features)
    assert torch.allclose(after.maps, before.maps + 1.5, atol=1e-5)
    assert torch.allclose(after.logits, before.logits + 1.5, atol=1e-4)


def random_case(images: int, seed: int = 0) -> tuple[Output, Targets]:
    source = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, 3, generator=source)
    maps = torch.randn(images, 3, 4, 4, generator=source)
    labels = (torch.rand(images, 3, generator=source) < 0.5).float()
    assessed = torch.rand(images, 3, generator=source) < 0.7
    regions = torch.rand(images, 3, 4, 4, generator=source)
    drawn = torch.rand(images, 3, generator=source) < 0.5
    return Output(logits, maps), Targets(labels, assessed, regions, drawn)


def test_each_images_loss_is_its_own() -> None:
    output, targets = random_case(6)
    weights = torch.tensor([1.0, 2.0, 5.0])
    together = image_losses(output, targets, weights, 0.7)
    assert together.shape == (6,)
    for row in range(6):
        one = torch.tensor([row])
        alone = image_losses(Output(output.logits[one], output.maps[one]), targets.rows(one), weights, 0.7)
        assert torch.allclose(alone, together[one])


def test_unassessed_findings_and_undrawn_regions_teach_nothing() -> None:
    output, targets = random_case(5)
    logits, maps = output.logits.requires_grad_(True), output.maps.requires_grad_(True)
    image_losses(Output(logits, maps), targets, torch.ones(3), 1.0).sum().backward()
    assert logits.grad is not None
    assert maps.grad is not None
    assert (logits.grad[~targets.assessed] == 0.0).all()
    assert (logits.grad[targets.assessed] != 0.0).all()
    assert (maps.grad[~targets.drawn] == 0.0).all()
    assert (maps.grad[targets.drawn].abs().sum(dim=(1, 2)) > 0.0).all()


def test_the_loss_by_hand() -> None:
    output = Output(torch.zeros(1, 1), torch.zeros(1, 1, 2, 2))
    region = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    yes = torch.ones(1, 1, dtype=torch.bool)
    found = image_losses(output, Targets(torch.ones(1, 1), yes, region, yes), torch.tensor([3.0]), 2.0)
    soft_dice = (2 * 0.5 + 1) / (4 * 0.5 + 1 + 1)
    assert float(found) == pytest.approx(3 * math.log(2) + 2 * (math.log(2) + 1 - soft_dice), rel=1e-5)


def test_a_region_and_the_rest_of_its_image_weigh_the_same() -> None:
    """A small region pulls at its own cells as hard, together, as all the others do at theirs; an empty one at all."""
    yes = torch.ones(1, 1, dtype=torch.bool)

    def pull(region: torch.Tensor, stated: float) -> torch.Tensor:
        maps = torch.full((1, 1, 4, 4), stated).requires_grad_(True)
        targets = Targets(torch.ones(1, 1), ~yes, region, yes)
        image_losses(Output(torch.zeros(1, 1), maps), targets, torch.ones(1), 1.0).sum().backward()
        assert maps.grad is not None
        return maps.grad

    for covered in (1, 5):
        region = torch.zeros(1, 1, 4, 4)
        region.view(-1)[:covered] = 1.0
        # Where the chance is 0 already the Dice term is flat, and so is all that lies outside.
        assert float(pull(region, -30.0)[region > 0].sum()) == pytest.approx(-0.5, abs=1e-4)
    assert float(pull(torch.zeros(1, 1, 4, 4), 30.0).sum()) == pytest.approx(1.0, abs=1e-4)


def blobs(images: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Feature maps whose first channel marks a finding at one place in every other image."""
    source = torch.Generator().manual_seed(1)
    features = 0.3 * torch.randn(images, 8, 6, 6, generator=source)
    regions = torch.zeros(images, 1, 6, 6)
    for image in range(0, images, 2):
        row, column = torch.randint(0, 6, (2,), generator=source).tolist()
        features[image, 0, row, column] += 3.0
        regions[image, 0, row, column] = 1.0
    return features, regions.amax(dim=(2, 3)), regions


@pytest.mark.parametrize(("pooling", "drawn"), [("lse", False), ("attention", False), ("lse", True), ("mean", True)])
def test_labels_alone_or_masks_teach_the_map_to_point(pooling: str, drawn: bool) -> None:
    features, labels, regions = blobs(64)
    torch.manual_seed(0)
    head = RegionHead(8, 1, pooling, 5.0)  # type: ignore[arg-type]
    head.start_at_zero()
    targets = Targets(labels, torch.ones(64, 1, dtype=torch.bool), regions, torch.full((64, 1), drawn))
    optimiser = torch.optim.SGD(head.parameters(), lr=0.5, momentum=0.9)
    for _ in range(60):
        optimiser.zero_grad()
        image_losses(head(features), targets, torch.ones(1), 1.0).mean().backward()
        optimiser.step()
    maps = head(features).maps[::2, 0].flatten(1)
    hits = regions[::2, 0].flatten(1).gather(1, maps.argmax(dim=1, keepdim=True)).mean()
    assert float(hits) > 0.9


def test_a_head_may_go_without_its_bias() -> None:
    from dataclasses import replace

    from medquorum.models.network import build

    from .conftest import SMALL

    net = build(replace(SMALL, bias=False), findings=2, seed=1)
    assert [name for name, _ in net.head.named_parameters()] == ["map.weight"]
    net.head.start_at_zero()
    assert not net(torch.rand(1, 1, 32, 32)).logits.any()
