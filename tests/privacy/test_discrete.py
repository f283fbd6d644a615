"""The analysis of shared discrete noise against exact sums, published figures, and the continuous Gaussian's."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.privacy import discrete
from medquorum.privacy.accounting import epsilon, gaussian_epsilon, rdp_epsilon
from medquorum.privacy.errors import UnaccountableError
from medquorum.privacy.events import GaussianSteps, merged
from medquorum.privacy.lattice import Shares

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "accounting.json").read_text())


def pmf(scale: float, reach: int, centre: float = 0.0) -> np.ndarray:
    """The discrete Gaussian on -reach..reach."""
    weights = np.exp(-((np.arange(-reach, reach + 1) - centre) ** 2) / (2 * scale**2))
    return weights / weights.sum()


def exact_delta(scale: float, shift: int, eps: float, rate: float = 1.0) -> float:
    """The true delta at `eps` of one step with sensitivity `shift` lattice points, one coordinate, both directions."""
    reach = math.ceil(20 * scale) + shift
    near, far = pmf(scale, reach), np.roll(pmf(scale, reach), shift)
    mixed = (1 - rate) * near + rate * far
    return max(float(np.maximum(p - math.exp(eps) * q, 0).sum()) for p, q in ((mixed, near), (near, mixed)))


@given(st.floats(0.3, 3.0), st.floats(0.0, 1.0))
def test_poisson_summation_bounds_the_mass_of_every_shifted_lattice(scale: float, shift: float) -> None:
    points = np.arange(-60, 61) + shift
    mass = math.fsum(np.exp(-(points**2) / (2 * scale**2))) / (scale * math.sqrt(2 * math.pi))
    assert abs(mass - 1.0) <= discrete.eta(scale) * (1 + 1e-9) + 1e-13


@pytest.mark.parametrize(("scale", "count"), itertools.product((0.7, 1.0, 1.3), (2, 3, 6)))
def test_a_sum_of_shares_is_one_discrete_gaussian_up_to_the_stated_factor(scale: float, count: int) -> None:
    one = pmf(scale, 40)
    total = one
    for _ in range(count - 1):
        total = np.convolve(total, one)
    ideal = pmf(scale * math.sqrt(count), (total.size - 1) // 2)
    common = ideal > 1e-12
    worst = float(np.abs(np.log(total[common] / ideal[common])).max())
    bound = discrete.sum_factor(Shares(count, scale))
    assert worst <= bound + 1e-11
    # Not vacuous: for the coarsest lattice the truth is within a few times of the bound.
    if scale == 0.7:
        assert worst > bound / 20


@pytest.mark.parametrize(("rounding", "total"), [(0.5, 0.9), (0.6, 2.0), (0.8, 4.0)])
def test_a_gaussian_rounded_at_random_is_discrete_up_to_the_stated_factor(rounding: float, total: float) -> None:
    """The step from the continuous mechanism, with the integral over the hidden position taken numerically."""
    centre = 2
    x = np.linspace(centre - 9 * total, centre + 9 * total, 40_001)
    hidden = total**2 - rounding**2
    density = np.exp(-((x - centre) ** 2) / (2 * hidden)) / math.sqrt(2 * math.pi * hidden)
    lattice = np.arange(-60, 61)
    kernel = np.exp(-((lattice[:, None] - x[None, :]) ** 2) / (2 * rounding**2))
    out = np.trapezoid(kernel / kernel.sum(axis=0) * density, x, axis=1)
    ideal = pmf(total, 60, centre)
    common = ideal > 1e-10
    worst = float(np.abs(np.log(out[common] / ideal[common])).max())
    bound = sum(math.log1p(e) - math.log1p(-e) for e in (discrete.eta(rounding), discrete.eta(total)))
    assert worst <= bound + 1e-7


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([4.0, 8.0, 16.0, 40.0]), st.floats(0.7, 4.0), st.sampled_from([1.0, 0.3, 0.05]))
def test_the_bound_is_above_the_exact_epsilon_of_a_discrete_gaussian(scale: float, noise: float, rate: float) -> None:
    shift = max(1, round(scale / noise))
    event = GaussianSteps(scale / shift, rate, 1, Shares(1, scale))
    claimed = epsilon([event], 1e-5)
    assert exact_delta(scale, shift, claimed, rate) <= 1e-5 * (1 + 1e-6)
    # And tight where the lattice is fine: a twentieth less epsilon would be a lie.
    if scale >= 16.0 and claimed > 0.1:
        assert exact_delta(scale, shift, 0.95 * claimed, rate) > 1e-5


@pytest.mark.parametrize("order", [2, 5, 17])
def test_the_renyi_curve_is_above_the_exact_divergence(order: int) -> None:
    for scale, shift, rate in ((1.0, 1, 1.0), (3.0, 2, 1.0), (3.0, 2, 0.2), (6.0, 3, 0.02)):
        reach = math.ceil(30 * scale)
        near, far = pmf(scale, reach), np.roll(pmf(scale, reach), shift)
        mixed = (1 - rate) * near + rate * far
        claimed = discrete.renyi(GaussianSteps(scale / shift, rate, 1, Shares(1, scale)), order)
        kept = (near > 1e-250) & (mixed > 1e-250)
        for p, q in ((mixed[kept], near[kept]), (near[kept], mixed[kept])):
            exact = np.logaddexp.reduce(order * np.log(p) - (order - 1) * np.log(q)) / (order - 1)
            assert exact <= claimed + 1e-9


def test_without_sampling_the_curve_is_the_gaussians_and_so_is_epsilon_by_it() -> None:
    event = GaussianSteps(10.0, 1.0, 20)
    assert discrete.renyi(event, 8) == pytest.approx(20 * 8 / (2 * 100))
    assert discrete.renyi_epsilon([event], 1e-5) == pytest.approx(rdp_epsilon([event], 1e-5), rel=5e-3)


@pytest.mark.parametrize("known", VECTORS, ids=lambda known: known["source"][:40])
def test_fine_shared_noise_costs_what_is_published_of_the_gaussian(known: dict) -> None:
    plain = GaussianSteps(known["noise_multiplier"], known["sampling_rate"], known["steps"])
    shared = GaussianSteps(plain.noise_multiplier, plain.sampling_rate, plain.steps, Shares(5, 2.0**16))
    cost = epsilon([shared], known["delta"])
    continuous = epsilon([plain], known["delta"])
    assert continuous <= cost <= continuous + 5e-3 * max(1.0, continuous)
    if "pld" in known:
        assert cost == pytest.approx(known["pld"], abs=known["pld_within"])
    else:
        assert cost < known.get("moments_accountant", known.get("rdp"))
    if known["delta"] < 0.01 and known["sampling_rate"] < 0.02:
        # Zhu and Wang's bound for any mechanism is looser than the moments accountant's for the Gaussian: not wild at
        # small sampling rates, several times at large ones.
        general = discrete.renyi_epsilon([shared], known["delta"])
        assert cost < general < 1.5 * known.get("moments_accountant", known.get("rdp"))


def test_the_full_batch_costs_the_exact_gaussian_and_a_slack_of_a_millionth() -> None:
    shared = GaussianSteps(10.0, 1.0, 20, Shares(3, 2.0**14))
    exact = gaussian_epsilon(math.sqrt(20) / 10.0, 1e-5)
    assert exact < epsilon([shared], 1e-5) < exact + 1e-5


def test_the_smaller_bound_is_taken_and_both_are_above_the_continuous_one() -> None:
    ideal = epsilon([GaussianSteps(10.0, 1.0, 20)], 1e-5)
    costs = {
        points: epsilon([GaussianSteps(10.0, 1.0, 20, Shares(7, points))], 1e-5) for points in (2.0, 3.0, 8.0, 500.0)
    }
    # At two points the continuous stand-in would have lost half its noise: the Renyi curve is the smaller one.
    assert costs[2.0] == pytest.approx(discrete.renyi_epsilon([GaussianSteps(10.0, 1.0, 20, Shares(7, 2.0))], 1e-5))
    assert costs[2.0] >= costs[3.0] > costs[8.0] > costs[500.0] > ideal


def test_too_coarse_a_lattice_is_refused_not_guessed() -> None:
    with pytest.raises(UnaccountableError, match="lattice points"):
        epsilon([GaussianSteps(1.0, 1.0, 1, Shares(3, 0.4))], 1e-5)


def test_slack_that_eats_up_delta_is_no_guarantee() -> None:
    assert epsilon([GaussianSteps(0.01, 1.0, 1, Shares(3, 2.0**16))], 1e-5) == math.inf
    assert epsilon([GaussianSteps(1.0, 1.0, 100, Shares(3, 2.0**16))], 1e-11) == math.inf


def test_shared_and_plain_events_are_counted_together_and_apart() -> None:
    shared = GaussianSteps(2.0, 1.0, 3, Shares(3, 1e4))
    plain = GaussianSteps(2.0, 1.0, 3)
    other = GaussianSteps(2.0, 1.0, 3, Shares(4, 1e4))
    assert merged((shared, plain, shared, other)) == (plain, GaussianSteps(2.0, 1.0, 6, Shares(3, 1e4)), other)
    assert epsilon([shared, plain], 1e-5) == pytest.approx(epsilon([GaussianSteps(2.0, 1.0, 6)], 1e-5), rel=1e-5)
    assert epsilon([shared, shared], 1e-5) == epsilon([GaussianSteps(2.0, 1.0, 6, Shares(3, 1e4))], 1e-5)
