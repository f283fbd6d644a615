"""Calibrated noise is enough, hardly more than enough, and a refusal says what would work."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.privacy.accounting import epsilon
from medquorum.privacy.calibration import calibrated_terms, most, noise_multiplier, steps_within, suggestions
from medquorum.privacy.errors import PlanError, UnaccountableError
from medquorum.privacy.events import GaussianSteps


@settings(max_examples=60, deadline=None)
@given(st.floats(0.05, 20.0), st.floats(-9.0, -1.5), st.integers(1, 5000))
def test_full_batch_noise_is_never_too_little_and_hardly_too_much(budget: float, log_delta: float, steps: int) -> None:
    delta = 10.0**log_delta
    noise = noise_multiplier(budget, delta, 1.0, steps)
    assert epsilon([GaussianSteps(noise, 1.0, steps)], delta) <= budget
    assert epsilon([GaussianSteps(noise * (1 - 1e-3), 1.0, steps)], delta) > budget


@pytest.mark.parametrize(
    ("budget", "delta", "rate", "steps"),
    [(3.0, 1e-5, 0.1, 300), (8.0, 1e-3, 0.5, 20), (0.5, 1e-5, 0.01, 2000), (1.0, 1e-6, 0.3, 1)],
)
def test_sampled_noise_is_never_too_little_and_hardly_too_much(
    budget: float, delta: float, rate: float, steps: int
) -> None:
    noise = noise_multiplier(budget, delta, rate, steps)
    assert epsilon([GaussianSteps(noise, rate, steps)], delta) <= budget
    assert epsilon([GaussianSteps(noise * (1 - 1e-3), rate, steps)], delta) > budget
    assert noise < noise_multiplier(budget, delta, 1.0, steps)


def test_a_budget_that_asks_for_no_noise_gets_some() -> None:
    """At a delta above the chance of ever being drawn, the definition alone would let anything out."""
    assert noise_multiplier(8.0, 0.1, 0.02, 3) == 0.2
    assert noise_multiplier(1e6, 1e-3, 1.0, 1) == 0.2


def test_a_published_setting_is_found_again() -> None:
    """The yardstick of tests/vectors read backwards: epsilon 6.1886 allows a noise multiplier of 1."""
    assert noise_multiplier(6.1886, 1e-5, 0.01, 10_000) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("rate", [1.0, 0.2])
def test_steps_within_a_budget_fit_and_one_more_does_not(rate: float) -> None:
    steps = steps_within(3.0, 1e-4, 6.0, rate)
    assert steps > 1
    assert epsilon([GaussianSteps(6.0, rate, steps)], 1e-4) <= 3.0
    assert epsilon([GaussianSteps(6.0, rate, steps + 1)], 1e-4) > 3.0
    assert steps_within(0.01, 1e-9, 0.5, rate) == 0


@given(st.integers(0, 1 << 20))
def test_most_finds_the_last_that_fits(limit: int) -> None:
    assert most(lambda n: n <= limit) == limit


def test_terms_are_ready_for_a_plan() -> None:
    terms = calibrated_terms(
        epsilon=8, delta=1e-3, clip=1, sampling_rate=1, steps=60, max_noise_multiplier=20, patients=300
    )
    assert (terms.mode, terms.epsilon, terms.clip, terms.patient_images) == ("local", 8.0, 1.0, "mean")
    assert epsilon([GaussianSteps(terms.noise_multiplier, 1.0, 60)], 1e-3) <= 8.0
    # An int that slipped into a plan would come back from the wire as a fault.
    assert all(type(value) is float for value in (terms.epsilon, terms.delta, terms.clip, terms.sampling_rate))


def test_terms_without_privacy_carry_no_noise() -> None:
    terms = calibrated_terms(
        mode="none", epsilon=0.0, delta=0.0, clip=1.0, sampling_rate=1.0, steps=9, max_noise_multiplier=1.0
    )
    assert (terms.mode, terms.noise_multiplier) == ("none", 0.0)


def test_noise_above_the_maximum_is_refused_with_figures_that_work() -> None:
    wanted = {"delta": 1e-3, "clip": 1.0, "sampling_rate": 1.0, "max_noise_multiplier": 5.0}
    with pytest.raises(PlanError, match=r"noise multiplier of 19\.9\d?, above the maximum of 5") as refusal:
        calibrated_terms(epsilon=1.0, steps=60, **wanted)
    offered = suggestions(1.0, 1e-3, 1.0, 60, 5.0)
    assert f"epsilon {offered.epsilon:g}" in refusal.value.fix
    assert f"{offered.steps} steps" in refusal.value.fix
    assert calibrated_terms(epsilon=offered.epsilon, steps=60, **wanted).noise_multiplier <= 5.0
    assert calibrated_terms(epsilon=1.0, steps=offered.steps, **wanted).noise_multiplier <= 5.0


def test_a_refusal_says_when_not_even_one_step_fits() -> None:
    assert suggestions(0.01, 1e-9, 1.0, 5, 0.5).steps == 0
    assert "not even one step" in str(suggestions(0.01, 1e-9, 1.0, 5, 0.5))


@pytest.mark.parametrize("delta", [0.1, 1 / 300])
def test_a_delta_at_or_above_one_in_patients_is_refused_with_one_that_works(delta: float) -> None:
    with pytest.raises(PlanError, match="1/300") as refusal:
        calibrated_terms(
            epsilon=8.0, delta=delta, clip=1.0, sampling_rate=1.0, steps=6, max_noise_multiplier=20.0, patients=300
        )
    assert "0.0003" in refusal.value.fix


@pytest.mark.parametrize(("budget", "delta"), [(0.0, 1e-5), (-1.0, 1e-5), (float("inf"), 1e-5), (1.0, 0.0), (1.0, 1.0)])
def test_a_budget_that_is_none_is_refused(budget: float, delta: float) -> None:
    with pytest.raises(UnaccountableError):
        noise_multiplier(budget, delta, 1.0, 10)
    with pytest.raises(UnaccountableError):
        steps_within(budget, delta, 1.0, 1.0)
