"""Augmentation moves regions exactly with their image."""

from __future__ import annotations

import torch

from medquorum.client.augment import augment
from medquorum.models.card import InputTransform
from medquorum.models.loss import Targets
from medquorum.privacy.randomness import SeededRandomness


def test_regions_move_with_the_image_and_what_enters_is_black() -> None:
    count, size, grid = 64, 32, 8
    images = torch.full((count, 1, size, size), 3.0)
    regions = torch.zeros(count, 1, grid, grid)
    for row in range(count):
        down, right = 1 + row % 6, 1 + row // 8 % 6
        images[row, 0, 4 * down : 4 * down + 4, 4 * right : 4 * right + 4] = 7.0
        regions[row, 0, down, right] = 1.0
    flags = torch.ones(count, 1)
    targets = Targets(flags, flags.bool(), regions, flags.bool())
    moved, after = augment(images, targets, InputTransform(32, 0.5, 0.25), SeededRandomness(1), (0,))
    bright = (moved == 7.0).reshape(count, grid, 4, grid, 4).float().mean(dim=(2, 4))
    assert torch.equal(bright[:, None], after.regions)
    assert set(moved.unique().tolist()) == {-2.0, 3.0, 7.0}
    assert torch.equal(after.labels, targets.labels)
    places = {tuple(region.nonzero()[0].tolist()) for region in (after.regions - regions).clamp(min=0) if region.any()}
    assert len(places) > 10
    assert any(torch.equal(a, b) for a, b in zip(images, moved, strict=True))
    assert torch.equal(images[0, 0, :4, :4], torch.full((4, 4), 3.0))


def test_without_a_grid_of_regions_an_image_is_moved_a_little_and_stays_in_sight() -> None:
    """Rows of plans without a region loss may carry regions of one cell: a shift by that would leave black alone."""
    images = torch.full((64, 1, 32, 32), 3.0)
    flags = torch.ones(64, 1)
    targets = Targets(flags, flags.bool(), torch.ones(64, 1, 1, 1), flags.bool())
    moved, after = augment(images, targets, InputTransform(32, 0.5, 0.25), SeededRandomness(1), (0,))
    entered = (moved == -2.0).float().mean(dim=(1, 2, 3))
    assert 0.0 < entered.max() < 0.13
    assert len(entered.unique()) > 2
    assert torch.equal(after.regions, targets.regions)


def test_a_mirrored_image_shows_the_other_side() -> None:
    """Findings: the left, the right, one without a side. Each image has the left one, drawn at its left edge, and is
    not asked of the right one."""
    images = torch.zeros(64, 1, 32, 32)
    images[..., :8] = 7.0
    regions = torch.zeros(64, 3, 8, 8)
    regions[:, 0, :, :2] = 1.0
    flags = torch.tensor([[1.0, 0.0, 1.0]]).repeat(64, 1)
    asked = torch.tensor([[True, False, True]]).repeat(64, 1)
    targets = Targets(flags, asked, regions, asked)
    transform = InputTransform(32, 0.5, 0.25)
    moved, after = augment(images, targets, transform, SeededRandomness(1), (1, 0, 2))
    mirrored = moved[:, 0, 8:24, 24:].mean(dim=(1, 2)) > 1.0
    assert 10 < int(mirrored.sum()) < 54
    assert after.labels[mirrored].unique(dim=0).tolist() == [[0.0, 1.0, 1.0]]
    assert after.assessed[mirrored].unique(dim=0).tolist() == [[False, True, True]]
    assert torch.equal(after.drawn, after.assessed)
    assert after.regions[mirrored][:, 1, 2:6, 6:].mean() > 0.5 and not after.regions[mirrored][:, 0].any()
    for field in ("labels", "assessed", "drawn"):
        assert torch.equal(getattr(after, field)[~mirrored], getattr(targets, field)[~mirrored])
    assert after.regions[~mirrored][:, 0, 2:6, :2].mean() > 0.5 and not after.regions[~mirrored][:, 1].any()
    # With nothing to call the other side, images are moved and never mirrored.
    still, said = augment(images, targets, transform, SeededRandomness(1), None)
    assert not (still[:, 0, 8:24, 24:].mean(dim=(1, 2)) > 1.0).any()
    assert torch.equal(said.labels, targets.labels) and len(still.unique(dim=0)) > 2
