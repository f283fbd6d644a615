"""Accounting against published figures, against closed forms, and one accountant against the other."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from medquorum.privacy.accounting import epsilon, gaussian_delta, gaussian_epsilon, rdp_epsilon
from medquorum.privacy.errors import UnaccountableError
from medquorum.privacy.events import GaussianSteps, merged
from medquorum.privacy.filters import ORDERS, divergence

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "accounting.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["source"].split(",")[0])
def test_figures_agree_with_published_ones(vector: dict[str, float]) -> None:
    events = [GaussianSteps(vector["noise_multiplier"], vector["sampling_rate"], int(vector["steps"]))]
    pld, rdp = epsilon(events, vector["delta"]), rdp_epsilon(events, vector["delta"])
    assert pld <= rdp
    if "pld" in vector:
        assert pld == pytest.approx(vector["pld"], abs=vector["pld_within"])
    if "rdp" in vector:
        assert rdp == pytest.approx(vector["rdp"], abs=vector["rdp_within"])
    if "moments_accountant" in vector:
        # Renyi accounting with the conversion of its day (Mironov 2017, proposition 3), which today's improves on.
        # Theirs tries fractional orders too, ours whole ones, which costs most where the best order is small.
        published, moments = vector["moments_accountant"], (divergence(events, order) for order in ORDERS)
        theirs = min(
            m + math.log(1.0 / vector["delta"]) / (order - 1) for order, m in zip(ORDERS, moments, strict=True)
        )
        assert published * 0.995 <= theirs <= published * 1.035
        assert rdp <= published


def test_the_gaussians_delta_is_the_integral_it_stands_for() -> None:
    """delta(epsilon) is the integral of the positive part of p - exp(epsilon) q (hockey-stick divergence)."""
    for mu, eps in ((0.3, 0.1), (1.0, 1.0), (2.5, 4.0)):
        start = eps / mu + mu / 2  # where p starts to exceed exp(epsilon) q
        exact, _ = integrate.quad(
            lambda x, mu=mu, eps=eps: stats.norm.pdf(x - mu) - math.exp(eps) * stats.norm.pdf(x), start, start + 40
        )
        assert gaussian_delta(mu, eps) == pytest.approx(exact, rel=1e-8)


def test_gaussian_differential_privacy_at_mu_one() -> None:
    """Dong, Roth and Su 2022, corollary 1: at mu = 1 and epsilon = 1 delta is Phi(-1/2) - e Phi(-3/2)."""
    assert gaussian_delta(1.0, 1.0) == pytest.approx(stats.norm.cdf(-0.5) - math.e * stats.norm.cdf(-1.5), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-3, 60.0), st.floats(-12.0, -1.5))
def test_the_gaussians_epsilon_inverts_its_delta_from_above(mu: float, log_delta: float) -> None:
    delta = 10.0**log_delta
    found = gaussian_epsilon(mu, delta)
    assert gaussian_delta(mu, found) <= delta
    if found > 0.0:
        assert gaussian_delta(mu, found * (1 - 1e-6)) > delta * (1 - 1e-9)


def test_full_batch_steps_compose_exactly() -> None:
    whole = epsilon([GaussianSteps(5.0, 1.0, 25)], 1e-5)
    assert whole == epsilon([GaussianSteps(1.0, 1.0, 1)], 1e-5)
    assert whole == pytest.approx(epsilon([GaussianSteps(math.sqrt(2.0), 1.0, 1)] * 2, 1e-5), rel=1e-9)


@pytest.mark.parametrize("noise", [0.8, 2.0, 10.0])
def test_the_exact_composition_and_the_loss_distribution_agree(noise: float) -> None:
    exact = epsilon([GaussianSteps(noise, 1.0, 20)], 1e-5)
    nearly = epsilon([GaussianSteps(noise, 1.0 - 1e-9, 20)], 1e-5)
    assert nearly == pytest.approx(exact, rel=2e-3)
    assert nearly >= exact * (1 - 1e-6)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.6, 5.0), st.sampled_from([0.01, 0.1, 0.5, 1.0]), st.integers(1, 500), st.floats(-8.0, -2.0))
def test_loss_distributions_are_never_above_renyi(noise: float, rate: float, steps: int, log_delta: float) -> None:
    events = [GaussianSteps(noise, rate, steps)]
    delta = 10.0**log_delta
    assert epsilon(events, delta) <= rdp_epsilon(events, delta) * (1 + 1e-3) + 1e-3


def test_sampled_and_full_batch_steps_compose_together() -> None:
    sampled, full = GaussianSteps(1.0, 0.01, 1000), GaussianSteps(5.0, 1.0, 20)
    both = epsilon([sampled, full], 1e-5)
    assert max(epsilon([sampled], 1e-5), epsilon([full], 1e-5)) < both
    assert both < epsilon([sampled], 5e-6) + epsilon([full], 5e-6)
    assert both == epsilon([full, sampled], 1e-5)


def test_more_noise_fewer_steps_and_rarer_sampling_cost_less() -> None:
    base = epsilon([GaussianSteps(1.0, 0.1, 100)], 1e-5)
    for cheaper in (GaussianSteps(1.1, 0.1, 100), GaussianSteps(1.0, 0.1, 90), GaussianSteps(1.0, 0.09, 100)):
        assert epsilon([cheaper], 1e-5) < base
    assert epsilon([GaussianSteps(1.0, 0.1, 100)], 1e-4) < base


def test_equal_mechanisms_are_counted_together() -> None:
    parts = (GaussianSteps(1.0, 0.1, 3), GaussianSteps(2.0, 1.0, 1), GaussianSteps(1.0, 0.1, 4))
    assert merged(parts) == (GaussianSteps(1.0, 0.1, 7), GaussianSteps(2.0, 1.0, 1))
    assert merged(()) == ()


@pytest.mark.parametrize(("noise", "rate", "steps"), [(0.01, 0.01, 10_000), (0.05, 0.9, 500), (0.02, 0.5, 2)])
def test_hopeless_figures_come_at_once_and_are_still_bounds(noise: float, rate: float, steps: int) -> None:
    unsampled = epsilon([GaussianSteps(noise, 1.0, steps)], 1e-5)
    assert 1000.0 < epsilon([GaussianSteps(noise, rate, steps)], 1e-5) <= unsampled * (1 + 1e-9)


def test_nothing_released_costs_nothing() -> None:
    assert epsilon([], 1e-5) == 0.0


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, float("nan")])
def test_a_delta_that_is_none_is_refused(delta: float) -> None:
    with pytest.raises(UnaccountableError, match="delta"):
        epsilon([GaussianSteps(1.0, 1.0, 1)], delta)


@pytest.mark.parametrize(
    ("noise", "rate", "steps"),
    [
        (0.0, 1.0, 1),
        (-1.0, 1.0, 1),
        (math.inf, 1.0, 1),
        (math.nan, 1.0, 1),
        (1.0, 0.0, 1),
        (1.0, 1.2, 1),
        (1.0, 1.0, 0),
    ],
)
def test_an_event_that_proves_nothing_is_refused(noise: float, rate: float, steps: int) -> None:
    with pytest.raises(UnaccountableError):
        GaussianSteps(noise, rate, steps)


def test_a_ledger_opens_without_loading_the_accountants_or_torch() -> None:
    heavy = ("dp_accounting", "opacus", "torch")
    code = f"import sys, medquorum.privacy.ledger; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
