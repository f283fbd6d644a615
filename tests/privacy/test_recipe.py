"""A plan's recipe: what it promises of rates, views and normalisation, and what it refuses."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hospitals import make_privacy, make_training
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medquorum.privacy import dpsgd
from medquorum.privacy.clipping import MARGIN
from medquorum.privacy.clipping.patients import scales
from medquorum.privacy.errors import PlanError
from medquorum.privacy.randomness import SeededRandomness
from medquorum.privacy.recipe import PLAIN, Recipe, Schedule


@given(st.sampled_from(["constant", "linear", "cosine"]), st.integers(1, 1000))
def test_rates_begin_at_one_never_rise_and_never_reach_zero(schedule: Schedule, steps: int) -> None:
    rates = [Recipe(schedule=schedule).rate(step, steps) for step in range(steps)]
    assert rates[0] == 1.0
    assert all(later <= sooner for sooner, later in itertools.pairwise(rates))
    assert rates[-1] > 0.0


@given(st.floats(0.0, 1e6), st.floats(1e-6, 1e3), st.booleans())
def test_no_scaled_gradient_is_longer_than_the_clip(norm: float, clip: float, normalised: bool) -> None:
    scaled = norm * float(scales(torch.tensor([norm], dtype=torch.float64), clip, normalised)[0])
    assert scaled <= clip * (1.0 - MARGIN) * (1.0 + 1e-12)


def test_normalised_gradients_count_alike_whatever_their_size() -> None:
    scaled = torch.tensor([0.5, 5.0, 5e3]) * scales(torch.tensor([0.5, 5.0, 5e3]), 2.0, True)
    assert scaled.tolist() == pytest.approx([2.0, 2.0, 2.0], rel=0.03)


def test_a_gradient_that_is_not_finite_counts_nothing() -> None:
    for normalised in (False, True):
        assert scales(torch.tensor([torch.inf, torch.nan]), 1.0, normalised).tolist() == [0.0, 0.0]


def _linear() -> nn.Linear:
    layer = nn.Linear(3, 1, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def _train(recipe: Recipe, rows: list[int], first_step: int = 0) -> tuple[torch.Tensor, list[int]]:
    """One step without noise to speak of on three one-image patients; the weights, and how many rows were asked."""
    layer, asked = _linear(), []
    images = torch.eye(3)[rows]

    def losses(batch: torch.Tensor) -> torch.Tensor:
        asked.append(len(batch))
        return layer(images[batch]).squeeze(1)

    terms = make_privacy(noise_multiplier=1e-6, max_noise_multiplier=1.0, clip=1.0)
    training = make_training(
        local_steps=1, learning_rate=1.0, augmentation=recipe.views > 1, recipe=recipe, momentum=0.0
    )
    source = SeededRandomness(1)
    dpsgd.train(
        layer, losses, np.arange(len(rows)), len(rows), terms, training, source, first_step=first_step, steps=10
    )
    return layer.weight.detach().flatten(), asked


def test_a_step_late_in_the_plan_is_taken_at_its_schedules_rate() -> None:
    whole, _ = _train(PLAIN, [0, 1, 2], first_step=5)
    half, _ = _train(Recipe(schedule="linear"), [0, 1, 2], first_step=5)
    assert torch.allclose(half, whole / 2, atol=1e-5)


def test_each_image_is_looked_at_as_often_as_there_are_views_and_weighs_the_same() -> None:
    once, asked = _train(PLAIN, [0, 1, 2])
    often, more = _train(Recipe(views=4), [0, 1, 2])
    assert max(more) == 4 * max(asked)
    assert torch.allclose(once, often, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"averaging": 1.0}, "averaging"),
        ({"averaging": -0.1}, "averaging"),
        ({"views": 0}, "views"),
    ],
)
def test_a_recipe_out_of_range_is_refused(changes: dict[str, float], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        replace(PLAIN, **changes)  # pyright: ignore[reportArgumentType]


def test_a_recipe_that_would_do_nothing_is_refused() -> None:
    with pytest.raises(PlanError, match="augmentation"):
        make_training(augmentation=False, recipe=Recipe(views=2))
    with pytest.raises(PlanError, match="second moment"):
        make_training(recipe=Recipe(corrected=True))
