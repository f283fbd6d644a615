"""The lattice of shared noise: room in the ring, rounding within the sensitivity, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.privacy import lattice as lattices
from medquorum.privacy.accounting import plan_epsilon
from medquorum.privacy.calibration import calibrated_terms
from medquorum.privacy.distributed import rounded
from medquorum.privacy.errors import PlanError, UnaccountableError
from medquorum.privacy.events import plan_events, round_events
from medquorum.privacy.lattice import DIMENSIONS, lattice, limit, shares, tolerated
from medquorum.privacy.plan import Plan, PlanSite, PrivacyTerms, TrainingTerms
from medquorum.privacy.randomness import SeededRandomness
from medquorum.task import Finding, Task

TRAINING = TrainingTerms("fedavg", 1, 0.5, 0.0, 0.0, (1.0,), 0.0, False, 1.0, 0.9, 0.99, 1e-3, 0.5)
PRIVACY = PrivacyTerms("distributed", 8.0, 1e-4, 0.5, 4.0, 100.0, 1.0, "mean", colluding=1)
PLAN = Plan(
    consortium="c",
    name="p",
    task=Task((Finding("nodule", "SCT", "27925004", "Nodule"),), "DX"),
    release=bytes(32),
    sites=tuple(PlanSite(name, patients) for name, patients in zip("abcd", (100, 200, 50, 150), strict=True)),
    quorum=3,
    rounds=10,
    training=TRAINING,
    privacy=PRIVACY,
    evaluation=None,
    seed=1,
)


def changed(**changes: Any) -> Plan:
    """The plan with other fields, taken from wherever they stand."""
    parts: dict[str, Any] = {"privacy": {}, "training": {}}
    for name, value in changes.items():
        for part, kind in (("privacy", PrivacyTerms), ("training", TrainingTerms)):
            if name in {field.name for field in dataclasses.fields(kind)}:
                parts[part][name] = value
                break
        else:
            parts[name] = value
    parts["privacy"] = dataclasses.replace(PLAN.privacy, **parts["privacy"])
    parts["training"] = dataclasses.replace(PLAN.training, **parts["training"])
    return dataclasses.replace(PLAN, **parts)


plans = st.builds(
    lambda sites, noise, rate, clip, colluding, spare: changed(
        sites=tuple(PlanSite(f"s{i}", n) for i, n in enumerate(sites)),
        quorum=max(1, len(sites) - spare),
        noise_multiplier=noise,
        sampling_rate=rate,
        clip=clip,
        colluding=min(colluding, max(1, len(sites) - spare) - 1),
        delta=1e-9,
    ),
    st.lists(st.integers(4, 100_000), min_size=1, max_size=12),
    st.floats(0.2, 100.0),
    st.one_of(st.just(1.0), st.floats(1e-4, 1.0)),
    st.floats(1e-4, 1e4),
    st.integers(0, 5),
    st.integers(0, 3),
)


@given(plans, st.integers(1, DIMENSIONS))
def test_everybody_at_the_limit_and_the_noises_tail_fit_the_ring(plan: Plan, length: int) -> None:
    unit = lattice(plan, length)
    n = len(plan.sites)
    sums = sum(limit(plan, site.name) / unit.step + 1 for site in plan.sites)
    reach = sums + 9.5 * math.sqrt(n) * unit.share
    assert reach < 2**31
    # Nothing of the ring is given away either: the step is as small as it may be.
    assert reach > 0.999 * 2**31
    # 9.5 deviations of a Gaussian, in any of the values.
    assert DIMENSIONS * math.erfc(9.5 / math.sqrt(2)) < 2.0**-40


@given(plans, st.integers(1, DIMENSIONS))
def test_the_shares_that_are_counted_on_make_up_the_noise_multiplier(plan: Plan, length: int) -> None:
    unit = lattice(plan, length)
    left = plan.quorum - plan.privacy.colluding
    assert unit.share * math.sqrt(left) * unit.step == pytest.approx(plan.privacy.noise_multiplier * unit.sensitivity)
    assert unit.sensitivity == pytest.approx(plan.privacy.clip + math.sqrt(length) * unit.step)
    if plan.privacy.colluding <= tolerated(plan):
        counted = shares(plan)
        assert counted.count == left and counted.points <= unit.share * (1 + 1e-12)


@settings(max_examples=200)
@given(
    st.integers(0, 2**32),
    st.integers(1, 60),
    st.floats(1e-3, 3.0),
    st.floats(0.0, 20.0),
    st.sampled_from([1e-3, 0.1, 0.7, 3.0]),
)
def test_rounding_with_the_same_coins_moves_neighbours_apart_by_less_than_the_sensitivity(
    seed: int, length: int, clip: float, spread: float, step: float
) -> None:
    """The coupling that the proof rests on, at and beyond the limit where the sum is drawn in."""
    draw = np.random.default_rng(seed)
    one = spread * draw.standard_normal(length)
    change = draw.standard_normal(length)
    other = one + clip * change / np.linalg.norm(change)
    bound = 5.0 * clip
    apart = rounded(one, bound, step, SeededRandomness(seed)) - rounded(other, bound, step, SeededRandomness(seed))
    assert np.linalg.norm(apart) * step <= clip + math.sqrt(length) * step + 1e-9


def test_the_bound_on_rounding_is_nearly_reached() -> None:
    """Half a step is all it takes to move every coordinate by a whole one: the root of d is no pessimism."""
    d, step = 400, 1.0
    coins = SeededRandomness(5)
    values = np.zeros(d)
    moved = values + 0.01
    apart = np.max(
        [
            np.linalg.norm(
                rounded(values, 1e9, step, SeededRandomness(5, k)) - rounded(moved, 1e9, step, SeededRandomness(5, k))
            )
            for k in range(50)
        ]
    )
    assert apart > np.linalg.norm(moved - values) + 1.0
    assert not coins.take(0)


def test_rounding_is_unbiased() -> None:
    values = np.repeat([0.1, -2.75, 1e6 + 0.3, 0.0], 50_000)
    out = rounded(values, 1e12, 1.0, SeededRandomness(9)).reshape(4, -1)
    assert np.abs(out.mean(axis=1) - values.reshape(4, -1)[:, 0]).max() < 5 * 0.5 / math.sqrt(50_000)
    assert set(np.unique(out[0])) == {0.0, 1.0} and set(np.unique(out[1])) == {-3.0, -2.0} and not out[3].any()


def test_a_sum_beyond_the_limit_is_drawn_in_and_keeps_its_direction() -> None:
    values = np.array([3e6, -4e6])
    out = rounded(values, 5e5, 1.0, SeededRandomness(9))
    assert np.allclose(out, [3e5, -4e5], atol=1.0)


def test_events_state_the_shares_that_are_left() -> None:
    (event,) = round_events(PLAN)
    assert event.shares is not None and event.shares.count == 2 and event.steps == 1
    assert event.shares.points > 2**16  # hundreds of patients: a fine lattice
    assert plan_events(PLAN)[0].steps == 10
    assert plan_epsilon(PLAN) <= 8.0


def test_calibrated_noise_costs_what_was_asked_and_hardly_less() -> None:
    for rate in (1.0, 0.2):
        terms = calibrated_terms(
            epsilon=3.0,
            delta=1e-4,
            clip=0.5,
            sampling_rate=rate,
            steps=10,
            max_noise_multiplier=100.0,
            mode="distributed",
            patients=200,
            quorum=3,
            colluding=1,
        )
        cost = plan_epsilon(dataclasses.replace(PLAN, privacy=terms))
        assert 2.99 < cost <= 3.0
        assert terms.colluding == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"local_steps": 4}, "local_steps is 4"),
        ({"momentum": 0.9}, "momentum is 0.9"),
        ({"strategy": "fedprox", "proximal": 0.1, "server_momentum": 0.0}, "proximal"),
        ({"colluding": 3}, "no honest share"),
        ({"colluding": -1}, "colluding is -1"),
        ({"mode": "local"}, "mode 'local' with 1 colluding"),
        ({"strategy": "fedadam"}, "server_momentum"),
    ],
)
def test_a_plan_that_the_mode_cannot_carry_is_refused_with_its_fix(changes: dict, message: str) -> None:
    with pytest.raises(PlanError, match=message) as refused:
        changed(**changes)
    assert refused.value.fix


def test_more_colluders_than_the_masked_sum_withstands_are_refused() -> None:
    # Four sites, three of whom open a sum: with two colluders there could be two survivor lists.
    assert tolerated(PLAN) == 1
    with pytest.raises(UnaccountableError, match="two sums") as refused:
        round_events(changed(colluding=2))
    assert "colluding = 1" in str(refused.value)
    assert tolerated(changed(quorum=4)) == 3
    assert shares(changed(quorum=4, colluding=3)).count == 1


@pytest.mark.parametrize(
    ("changes", "length", "message"),
    [
        ({}, DIMENSIONS + 1, "train a smaller model"),
        ({"mode": "local", "colluding": 0}, 10, "shares no noise"),
        ({"noise_multiplier": 1e6, "max_noise_multiplier": 1e7}, DIMENSIONS, "no room"),
    ],
)
def test_what_has_no_lattice_is_refused(changes: dict, length: int, message: str) -> None:
    with pytest.raises(UnaccountableError, match=message):
        lattice(changed(**changes), length)


def test_small_and_sampled_sites_have_room_for_more_than_they_expect() -> None:
    few = changed(sampling_rate=0.01, delta=1e-6, sites=(PlanSite("a", 10), PlanSite("b", 10_000), PlanSite("c", 10)))
    assert limit(few, "a") == pytest.approx(0.5 * (0.15 + 8 * math.sqrt(0.15) + 8))
    assert limit(few, "b") == pytest.approx(0.5 * (150 + 8 * math.sqrt(150) + 8))
    assert limit(PLAN, "a") == 75.0
    assert lattices.limit(PLAN, "c") == 37.5
