"""The audit's arithmetic against cases that can be computed exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from medquorum.privacy.accounting import gaussian_epsilon
from medquorum.simulations.audit import bounds
from medquorum.simulations.audit.membership import judged


@pytest.mark.parametrize("epsilon", [0.0, 0.7, 2.0])
def test_one_run_bound_is_exact_for_randomised_response(epsilon):
    """Each coin told with probability e^eps / (1 + e^eps): the tail is the binomial's own, and the bound is above the
    truth with a probability that can be added up."""
    canaries, confidence = 40, 0.95
    q = 1.0 / (1.0 + math.exp(-epsilon))
    for right in (20, 33, 40):
        assert bounds.one_run_tail(canaries, right, canaries, epsilon, 0.0) == pytest.approx(
            binom.sf(right - 1, canaries, q), rel=1e-12
        )
    wrong = sum(
        binom.pmf(right, canaries, q)
        for right in range(canaries + 1)
        if bounds.one_run_epsilon(canaries, right, canaries, 0.0, confidence) > epsilon
    )
    assert wrong <= 1.0 - confidence


def test_delta_is_paid_for():
    """With probability delta a coin is shown outright, so its guess is right with delta + (1 - delta) q."""
    canaries, delta, epsilon, confidence = 40, 0.002, 0.5, 0.9
    q = delta + (1.0 - delta) / (1.0 + math.exp(-epsilon))
    wrong = sum(
        binom.pmf(right, canaries, q)
        for right in range(canaries + 1)
        if bounds.one_run_epsilon(canaries, right, canaries, delta, confidence) > epsilon
    )
    assert wrong <= 1.0 - confidence
    # All coins shown at once with probability delta, none told otherwise: the extreme that the tail must cover.
    all_right = delta + (1.0 - delta) * 0.5**canaries
    assert bounds.one_run_tail(canaries, canaries, canaries, 0.0, delta) >= all_right


def test_all_right_refutes_what_it_must():
    # 100 of 100: q^100 = 0.001 at q = 0.9332, whose epsilon is 2.637.
    assert bounds.one_run_epsilon(100, 100, 100, 0.0) == pytest.approx(2.63, abs=0.011)
    assert bounds.one_run_epsilon(100, 50, 100, 0.0) == 0.0
    assert bounds.one_run_epsilon(100, 100, 100, 1e-3) == 0.0  # at such a delta nothing can be refuted


def test_scores_are_guessed_from_their_ends():
    generator = np.random.default_rng(1)
    included = generator.random(200) < 0.5
    certain = np.where(included, 1.0, -1.0) + 0.1 * generator.standard_normal(200)
    epsilon, guesses, right = bounds.one_run_bound(certain, included, 1e-6)
    assert epsilon > 2.5 and right >= 0.98 * guesses
    blind, _, _ = bounds.one_run_bound(generator.standard_normal(200), included, 1e-6)
    assert blind == 0.0


def test_share_intervals_are_the_binomials():
    low, high = bounds.share_interval(7, 50, 0.01)
    assert binom.sf(6, 50, low) == pytest.approx(0.01, rel=1e-6)
    assert binom.cdf(7, 50, high) == pytest.approx(0.01, rel=1e-6)
    assert bounds.share_interval(0, 9, 0.01)[0] == 0.0 and bounds.share_interval(9, 9, 0.01)[1] == 1.0


def test_free_bound_stays_below_a_gaussians_own_curve():
    generator = np.random.default_rng(2)
    truth = gaussian_epsilon(1.0, 1e-5)
    without, moved = generator.standard_normal(4000), 1.0 + generator.standard_normal(4000)
    assert 0.3 < bounds.free_epsilon(without, moved, 1e-5) < truth
    assert bounds.free_epsilon(without, generator.standard_normal(4000), 1e-5) < 0.2
    assert bounds.free_epsilon(without, without + 50.0, 1e-5) > 4.0


def test_deviation_bound_holds_and_is_tight():
    generator = np.random.default_rng(3)
    most = [bounds.largest_deviation([generator.normal(0, 2, 1000), generator.normal(5, 2, 1000)]) for _ in range(200)]
    assert min(most) > 1.99 and max(most) < 2.3


def test_membership_finds_members_that_stand_out_and_nobody_else():
    generator = np.random.default_rng(4)
    members = np.stack([generator.permutation(np.arange(8) < 4) for _ in range(200)], axis=1)
    difficulty = 3.0 * generator.standard_normal(200)
    noise = generator.standard_normal((8, 200))
    found = judged(difficulty + 4.0 * members + noise, members, np.random.default_rng(5))
    assert found.auc.low > 0.9 and found.hit_rates[1].value > 0.2
    blind = judged(difficulty + noise, members, np.random.default_rng(5))
    assert abs(blind.auc.value - 0.5) < 0.04
    assert blind.hit_rates[1].value < 0.05
