"""The strategies against figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hospitals import make_plan, make_privacy, make_release, make_training

from medquorum.privacy.aggregation import Opened
from medquorum.privacy.noise import gaussian
from medquorum.privacy.plan import TrainingTerms
from medquorum.privacy.randomness import SeededRandomness
from medquorum.privacy.recipe import Recipe
from medquorum.server.errors import RunError
from medquorum.server.strategy import FedAdam, FedAvg, FedProx, MeanUpdate, mean_update, strategy_for

TERMS = TrainingTerms("fedavg", 1, 0.1, 0.0, 0.0, (1.0,), 0.0, False, 0.5, 0.9, 0.99, 0.001)


def test_fedavg_adds_the_scaled_mean_update() -> None:
    parameters, update = np.array([1.0, -2.0]), np.array([0.5, 4.0])
    assert FedAvg(1.0).step(parameters, MeanUpdate(update)).tolist() == [1.5, 2.0]
    assert FedAvg(0.5).step(parameters, MeanUpdate(update)).tolist() == [1.25, 0.0]
    assert parameters.tolist() == [1.0, -2.0]


def test_fedavg_with_momentum_is_the_heavy_ball_and_goes_on_after_a_stop() -> None:
    """v = 0.5 v + u; the third step is made by a strategy that was restored from the second's state."""
    updates = [np.array([1.0, 0.0]), np.array([0.0, 4.0]), np.array([2.0, -1.0])]
    whole, after = FedAvg(0.1, 0.5), FedAvg(0.1, 0.5)
    place = np.zeros(2)
    for update in updates[:2]:
        place = whole.step(place, MeanUpdate(update))
    assert place == pytest.approx([0.15, 0.4])
    after.restore(whole.state())
    assert after.step(place, MeanUpdate(updates[2])) == pytest.approx([0.15 + 0.225, 0.4 + 0.1])
    assert np.array_equal(after.state()["velocity"], [2.25, 1.0]) and np.array_equal(updates[0], [1.0, 0.0])
    after.restore({})
    assert after.step(np.zeros(2), MeanUpdate(updates[0])) == pytest.approx([0.1, 0.0])
    with pytest.raises(RunError, match="velocity"):
        FedAvg(0.1).restore(whole.state())


def test_fedadam_follows_algorithm_2_of_reddi_et_al() -> None:
    """Two steps written out: b1 = 0.9, b2 = 0.99, eta = 0.1, tau = 0.01, v beginning at tau^2."""
    strategy = FedAdam(0.1, 0.9, 0.99, 0.01)
    first = strategy.step(np.array([0.0, 1.0]), MeanUpdate(np.array([1.0, -0.2])))
    # m = 0.1 u = (0.1, -0.02); v = 0.99e-4 + 0.01 u^2 = (0.010099, 0.000499)
    assert first == pytest.approx(
        [0.1 * 0.1 / (0.010099**0.5 + 0.01), 1.0 - 0.1 * 0.02 / (0.000499**0.5 + 0.01)], rel=1e-12
    )
    second = strategy.step(first, MeanUpdate(np.array([0.0, 0.4])))
    # m = 0.9 m + 0.1 u = (0.09, 0.022); v = 0.99 v + 0.01 u^2 = (0.00999801, 0.00209401)
    moved = np.array([0.1 * 0.09 / (0.00999801**0.5 + 0.01), 0.1 * 0.022 / (0.00209401**0.5 + 0.01)])
    assert second == pytest.approx(first + moved, rel=1e-12)


def test_fedadam_restored_goes_on_as_if_it_had_never_stopped() -> None:
    draw = np.random.default_rng(0)
    updates = draw.standard_normal((4, 7))
    whole, before, after = (FedAdam(0.1, 0.9, 0.99, 0.001) for _ in range(3))
    one = two = np.zeros(7)
    for update in updates:
        one = whole.step(one, MeanUpdate(update))
    for update in updates[:2]:
        two = before.step(two, MeanUpdate(update))
    after.restore(before.state())
    for update in updates[2:]:
        two = after.step(two, MeanUpdate(update))
    assert np.array_equal(one, two)


def test_another_strategys_state_is_refused() -> None:
    adam = FedAdam(0.1, 0.9, 0.99, 0.001)
    adam.step(np.zeros(2), MeanUpdate(np.ones(2)))
    with pytest.raises(RunError, match="momentum"):
        FedAvg(1.0).restore(adam.state())
    with pytest.raises(RunError):
        adam.restore({"momentum": np.zeros(2)})
    adam.restore({})
    assert adam.state() == {}


def test_a_plan_names_its_strategy() -> None:
    assert type(strategy_for(TERMS)) is FedAvg
    assert type(strategy_for(replace(TERMS, strategy="fedprox", proximal=0.1))) is FedProx
    adam = strategy_for(replace(TERMS, strategy="fedadam"))
    assert adam.step(np.zeros(1), MeanUpdate(np.ones(1)))[0] == pytest.approx(
        0.5 * 0.1 / ((0.99e-6 + 0.01) ** 0.5 + 0.001)
    )


def test_corrected_adam_sees_the_signal_under_the_noise() -> None:
    """Under noise of variance 1, v of the plain form is about 1 for every value; corrected it tells 0.3 from 0."""
    draw = np.random.default_rng(1)
    signal = np.repeat([0.0, 0.3], 500)
    plain, corrected = (FedAdam(1e-9, 0.9, 0.999, 1e-2, corrected) for corrected in (False, True))
    for _ in range(4000):
        update = MeanUpdate(signal + draw.standard_normal(1000), 1.0)
        for adam in (plain, corrected):
            adam.step(np.zeros(1000), update)
    seen = [adam.state()["variance"].reshape(2, 500).mean(axis=1) for adam in (plain, corrected)]
    assert seen[0] == pytest.approx([0.98, 1.07], abs=0.03)
    assert seen[1] == pytest.approx([0.0, 0.088], abs=0.02)


@pytest.mark.parametrize(("steps", "momentum"), [(1, 0.0), (3, 0.0), (3, 0.7)])
def test_the_noise_that_the_sites_put_into_a_mean_update_is_as_stated(steps: int, momentum: float) -> None:
    training = make_training(local_steps=steps, momentum=momentum, learning_rate=0.5, recipe=Recipe(schedule="linear"))
    privacy = make_privacy(sampling_rate=0.5, noise_multiplier=2.0, clip=0.1)
    plan = make_plan(make_release(), {"a": 20, "b": 30}, rounds=4, training=training, privacy=privacy)
    source, size, total = SeededRandomness(3), 20_000, np.zeros(20_000)
    for site in ("a", "b"):
        velocity = position = np.zeros(size)
        for step in range(steps):  # pure noise, as dpsgd adds it, at round 2 of the plan
            noise = gaussian(size, 2.0 * 0.1, source) / (plan.nominal(site) * 0.5)
            velocity = momentum * velocity + noise
            position = position - 0.5 * (1.0 - (steps + step) / plan.steps) * velocity
        total += plan.nominal(site) * position
    mean = mean_update(plan, Opened(total, ("a", "b")), 2)
    assert mean.noise_variance == pytest.approx(float(mean.values.var()), rel=0.05)
