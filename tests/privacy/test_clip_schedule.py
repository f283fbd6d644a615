"""A falling clip: every step is cut at its own clip, its noise follows, and the accountant sees no difference."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hospitals import make_plan, make_privacy, make_release, make_training
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medquorum.privacy import dpsgd
from medquorum.privacy.accounting import plan_epsilon
from medquorum.privacy.aggregation import Opened
from medquorum.privacy.clipping import MARGIN
from medquorum.privacy.distributed import contribution
from medquorum.privacy.errors import PlanError
from medquorum.privacy.lattice import lattice, limit, shares
from medquorum.privacy.plan import Plan
from medquorum.privacy.randomness import SeededRandomness
from medquorum.privacy.ranges import value_range
from medquorum.privacy.recipe import PLAIN, Recipe, Schedule
from medquorum.server.strategy import mean_update

FALLING = Recipe(clip_schedule="linear", final_clip=0.2)
SITES = {"a": 20, "b": 30, "c": 40, "d": 50}


def _plan(recipe: Recipe = FALLING, mode: str = "distributed", **privacy: object) -> Plan:
    steps = 1 if mode == "distributed" else 2
    return make_plan(
        make_release(),
        SITES,
        rounds=10,
        training=make_training(local_steps=steps, recipe=recipe, learning_rate=0.5),
        privacy=make_privacy(mode=mode, clip=0.1, noise_multiplier=2.0, **privacy),
        evaluation=None,
    )


@given(st.sampled_from(["linear", "cosine"]), st.floats(1e-3, 0.999), st.integers(1, 500))
def test_the_clip_begins_whole_never_rises_and_never_falls_below_what_is_left(
    schedule: Schedule, final: float, steps: int
) -> None:
    shares = [Recipe(clip_schedule=schedule, final_clip=final).clipped_to(step, steps) for step in range(steps)]
    assert shares[0] == 1.0
    assert all(later <= sooner for sooner, later in itertools.pairwise(shares))
    assert shares[-1] >= final


@pytest.mark.parametrize(
    "changes",
    [
        {"clip_schedule": "linear", "final_clip": 0.0},
        {"clip_schedule": "linear", "final_clip": 1.5},
        {"clip_schedule": "linear"},
        {"final_clip": 0.5},
    ],
)
def test_a_schedule_that_bounds_nothing_or_changes_nothing_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(PlanError, match=r"final_clip|clip_schedule"):
        replace(PLAIN, **changes)  # pyright: ignore[reportArgumentType]


def _trained(recipe: Recipe, step: int, noise: float, size: int, slope: float) -> np.ndarray:
    """How far one step at place `step` of ten moves `size` zeros, under a loss of this slope, at rate 1 and clip 1."""
    layer = nn.Linear(size, 1, bias=False)
    nn.init.zeros_(layer.weight)
    images = torch.zeros(4, size)
    images[:, 0] = slope
    terms = make_privacy(noise_multiplier=noise, clip=1.0)
    training = make_training(local_steps=1, learning_rate=1.0, recipe=recipe)
    dpsgd.train(
        layer,
        lambda rows: layer(images[rows]).squeeze(1),
        np.arange(4),
        4,
        terms,
        training,
        SeededRandomness(2),
        first_step=step,
        steps=10,
    )
    return layer.weight.detach().double().numpy().ravel()


def test_a_late_step_is_cut_at_its_own_clip() -> None:
    early, late = (_trained(FALLING, step, 1e-6, 3, slope=7.0)[0] for step in (0, 9))
    assert early == pytest.approx(-(1.0 - MARGIN), rel=1e-4)
    assert late == pytest.approx(-(1.0 - MARGIN) * (0.2 + 0.8 * 0.1), rel=1e-4)


def test_a_late_steps_noise_is_the_same_multiple_of_its_own_clip() -> None:
    early, late = (_trained(FALLING, step, 2.0, 20_000, slope=0.0).std() for step in (0, 9))
    assert early == pytest.approx(2.0 / 4, rel=0.03)
    assert late == pytest.approx(2.0 * (0.2 + 0.8 * 0.1) / 4, rel=0.03)


@pytest.mark.parametrize("mode", ["local", "distributed"])
def test_a_falling_clip_costs_what_a_constant_one_does(mode: str) -> None:
    assert plan_epsilon(_plan(FALLING, mode)) == plan_epsilon(_plan(PLAIN, mode))


def test_the_lattice_shrinks_with_the_clip_and_its_shares_do_not() -> None:
    plan = _plan()
    first, last = lattice(plan, 1000), lattice(plan, 1000, 10)
    left = 0.2 + 0.8 * 0.1
    assert (last.clip, last.step) == pytest.approx((first.clip * left, first.step * left))
    assert last.share == first.share
    # Rounding is counted in the sensitivity of every round, and the ring is as full in each.
    assert last.sensitivity == pytest.approx(last.clip + math.sqrt(1000) * last.step)
    for round, unit in ((1, first), (10, last)):
        reach = sum(limit(plan, name, round) / unit.step + 1 for name in SITES) + 9.5 * math.sqrt(4) * unit.share
        assert 0.999 * 2**31 < reach < 2**31
    assert shares(plan) == shares(_plan(PLAIN))


def _sum_of_noise(plan: Plan, round: int, size: int) -> np.ndarray:
    """What four sites without any patient give in mode "distributed"."""
    from medquorum.privacy.clipping import ClippedSum

    unit = lattice(plan, size, round)
    nothing = ClippedSum((np.zeros(size),), plan.clip(round - 1), 0)
    return np.sum(
        [
            contribution(nothing, limit(plan, name, round), unit, SeededRandomness(4, name, round)).astype(np.float64)
            for name in SITES
        ],
        axis=0,
    )


@pytest.mark.parametrize("round", [1, 10])
def test_shared_noise_follows_the_rounds_clip_and_is_stated_so(round: int) -> None:
    plan = _plan()
    update = mean_update(plan, Opened(_sum_of_noise(plan, round, 20_000), tuple(SITES)), round)
    # The rate of 0.5, and the noise of 2 clips on the sum over 140 patients.
    expected = 0.5 * 2.0 * plan.clip(round - 1) / 140
    assert update.values.std() == pytest.approx(expected, rel=0.03)
    assert math.sqrt(update.noise_variance) == pytest.approx(expected, rel=0.01)


def test_the_noise_of_local_steps_is_stated_by_each_steps_clip() -> None:
    """Two steps at rate 0.5 in round 3 of 10: steps 4 and 5 of 20, each with noise of 2 of its own clips a site."""
    update = mean_update(_plan(mode="local"), Opened(np.zeros(5), tuple(SITES)), 3)
    stds = [0.5 * 2.0 * 0.1 * (0.2 + 0.8 * (1.0 - step / 20)) for step in (4, 5)]
    assert update.noise_variance == pytest.approx(4 * sum(std**2 for std in stds) / 140**2)


def test_a_sum_of_an_earlier_rounds_clip_does_not_fit_a_later_lattice() -> None:
    from medquorum.privacy.clipping import ClippedSum
    from medquorum.privacy.errors import UnaccountableError

    plan = _plan()
    early = ClippedSum((np.zeros(10),), plan.clip(0), 0)
    with pytest.raises(UnaccountableError, match="does not fit"):
        contribution(early, limit(plan, "a", 10), lattice(plan, 10, 10), SeededRandomness(1))


def test_the_public_range_of_a_local_update_holds_the_first_and_largest_clip() -> None:
    assert value_range(_plan(mode="local"), "update") == value_range(_plan(PLAIN, "local"), "update")
