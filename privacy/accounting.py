"""From events to epsilon: exact where the Gaussian composes exactly, else by privacy loss distributions.

Full-batch Gaussian steps compose into one Gaussian mechanism, whose (epsilon, delta) curve is known in closed form
(Balle and Wang 2018, theorem 8). Poisson-sampled steps are composed as privacy loss distributions (Koskela et al. 2020;
Doroshenko et al. 2022, "connect the dots") by dp-accounting, for both directions of add-or-remove. Both results are
upper bounds. Renyi differential privacy (Mironov 2017) is the second opinion; it is looser. Noise that several sites
share is accounted as the Gaussian that it stands for, plus an explicit slack, or by its own Renyi curve (see discrete).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from .discrete import as_continuous, renyi_epsilon, with_slack
from .errors import UnaccountableError
from .events import GaussianSteps, merged, plan_evaluation_events, plan_events
from .plan import Plan

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

# Width of the privacy-loss grid. "Connect the dots" rounds pessimistically: a finer grid only lowers the bound
# (6.1885 at q = 0.01, sigma = 1, T = 10,000, delta = 1e-5, where a grid of 1e-4 gives 6.1877 in five times the time).
GRID = 5e-4
COARSE_GRID = 4e-3
# Points that one step's distribution may have, and the expected total loss beyond which sampled steps are given the
# bound of unsampled ones (sampling only helps): figures that nobody would accept must not cost minutes and gigabytes.
_POINTS = 1 << 17
_HOPELESS = 1000.0
# Lattice points to a deviation from which on the Renyi curve cannot be the smaller bound: what the lattice costs the
# other is then below a relative 2^-12 of the noise.
_FINE = 256.0


def epsilon(events: Sequence[GaussianSteps], delta: float, *, grid: float = GRID) -> float:
    """Return an upper bound on epsilon at `delta` of all events together, under add-or-remove of one patient.

    0.0 for no events. `grid` is the privacy-loss grid of the sampled part. Raises UnaccountableError when delta is
    not in (0, 1).
    """
    if not 0.0 < delta < 1.0:
        raise UnaccountableError(f"a delta of {delta} is not in (0, 1)", fix="choose one well below 1/patients")
    alike = merged(tuple(events))
    shared = [event for event in alike if event.shares is not None]
    return _shared_epsilon(alike, delta, grid) if shared else _epsilon(alike, delta, grid)


@lru_cache(maxsize=4096)
def _shared_epsilon(events: tuple[GaussianSteps, ...], delta: float, grid: float) -> float:
    """The smaller of the two bounds that `discrete` gives, where both can be had."""
    plain = tuple(event for event in events if event.shares is None)
    shared = [event for event in events if event.shares is not None]
    if min(event.shares.points for event in shared if event.shares) >= _FINE:
        bounds = [lambda: _by_continuous(plain, shared, delta, grid)]
    else:
        bounds = [lambda: _by_continuous(plain, shared, delta, grid), lambda: renyi_epsilon(events, delta)]
    found: list[float] = []
    refused: UnaccountableError | None = None
    for bound in bounds:
        try:
            found.append(bound())
        except UnaccountableError as fault:
            refused = fault
    if not found and refused is not None:
        raise refused
    return min(found)


def _by_continuous(plain: tuple[GaussianSteps, ...], shared: list[GaussianSteps], delta: float, grid: float) -> float:
    standing = [as_continuous(event) for event in shared]
    ideal = merged((*plain, *(event for event, _ in standing)))
    return with_slack([slack for _, slack in standing], delta, lambda left: _epsilon(ideal, left, grid))


@lru_cache(maxsize=4096)
def _epsilon(events: tuple[GaussianSteps, ...], delta: float, grid: float) -> float:
    full = [event for event in events if event.sampling_rate == 1.0]
    sampled = [event for event in events if event.sampling_rate < 1.0]
    mu = math.sqrt(math.fsum(event.steps / event.noise_multiplier**2 for event in full))
    if not sampled:
        return gaussian_epsilon(mu, delta)
    expected = math.fsum(e.steps * e.sampling_rate / (2.0 * e.noise_multiplier**2) for e in sampled)
    if expected > _HOPELESS:
        return gaussian_epsilon(math.hypot(mu, *(math.sqrt(e.steps) / e.noise_multiplier for e in sampled)), delta)
    least = min([e.noise_multiplier for e in sampled] + ([1.0 / mu] if full else []))
    grid = max(grid, (0.5 / least**2 + 6.0 / least) / _POINTS)
    loss = _composed(sampled[0], grid)
    for event in sampled[1:]:
        loss = loss.compose(_composed(event, grid))
    if full:
        loss = loss.compose(_one_step(1.0 / mu, 1.0, grid))
    return float(loss.get_epsilon_for_delta(delta))


@lru_cache(maxsize=64)
def _one_step(noise_multiplier: float, sampling_rate: float, grid: float) -> PrivacyLossDistribution:
    from dp_accounting.pld import privacy_loss_distribution  # slow to import

    return privacy_loss_distribution.from_gaussian_mechanism(
        noise_multiplier,
        sensitivity=1.0,
        sampling_prob=sampling_rate,
        value_discretization_interval=grid,
        use_connect_dots=True,
    )


def _composed(event: GaussianSteps, grid: float) -> PrivacyLossDistribution:
    return _one_step(event.noise_multiplier, event.sampling_rate, grid).self_compose(event.steps)


def gaussian_delta(mu: float, epsilon: float) -> float:
    """The smallest delta at `epsilon` of a Gaussian mechanism with sensitivity / standard deviation = mu > 0.

    Phi(mu/2 - epsilon/mu) - exp(epsilon) Phi(-mu/2 - epsilon/mu): Balle and Wang 2018, theorem 8.
    """
    from scipy.special import log_ndtr

    first = float(log_ndtr(mu / 2.0 - epsilon / mu))
    second = epsilon + float(log_ndtr(-mu / 2.0 - epsilon / mu))
    return -math.exp(first) * math.expm1(second - first) if second < first else 0.0


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The smallest epsilon >= 0 at `delta` of that Gaussian mechanism, rounded up by less than 1e-9 relative."""
    if mu == 0.0:
        return 0.0
    if gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    low, high = 0.0, max(1.0, mu)
    while gaussian_delta(mu, high) > delta:
        low, high = high, 2.0 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2.0
        if gaussian_delta(mu, middle) > delta:
            low = middle
        else:
            high = middle
    return high * (1.0 + 1e-10)


def rdp_epsilon(events: Sequence[GaussianSteps], delta: float) -> float:
    """The second opinion: epsilon at `delta` by Renyi differential privacy over dp-accounting's grid of orders."""
    import dp_accounting
    from dp_accounting import rdp

    accountant = rdp.RdpAccountant()
    for event in merged(tuple(events)):
        step: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(event.noise_multiplier)
        if event.sampling_rate < 1.0:
            step = dp_accounting.PoissonSampledDpEvent(event.sampling_rate, step)
        accountant.compose(step, event.steps)
    return float(accountant.get_epsilon(delta))


def plan_epsilon(plan: Plan) -> float:
    """What taking part in the whole plan costs any of a site's patients at the plan's delta; 0 in mode "none".

    The larger of what training costs those trained on and what evaluation costs those held out, of whom nobody is both
    (see charges). Raises UnaccountableError, with the plan's and the true figure, when that is more than it states.
    """
    training, evaluation = plan_events(plan), plan_evaluation_events(plan)
    delta = plan.privacy.delta
    if not training:
        return 0.0
    cost, measured = epsilon(training, delta), epsilon(evaluation, delta) if evaluation else 0.0
    named = f"{plan.steps} steps with noise multiplier {plan.privacy.noise_multiplier:.6g}"
    if measured > cost:
        named = f"evaluations with noise multiplier {evaluation[0].noise_multiplier:.6g}"
    cost = max(cost, measured)
    if cost > plan.privacy.epsilon:
        # Hardly any noise proves nothing at all, and then there is no epsilon that could be stated.
        stated = f"state epsilon {math.ceil(cost * 1000) / 1000:g}, or " if math.isfinite(cost) else ""
        raise UnaccountableError(
            f"the plan states epsilon {plan.privacy.epsilon:g} but its {named} cost {cost:.4g} at delta {delta:g}",
            where=f"plan {plan.name!r}",
            fix=stated + "calibrate the noise to the plan's epsilon",
        )
    return cost
