"""What a sum of discrete Gaussians proves: two ways to epsilon, of which the accountant takes the smaller.

Write D_s for the discrete Gaussian on a lattice Z + a, P(x) proportional to exp(-x^2 / 2s^2), and
eta(s) = 2 (q + q^4 + q^9 + ...) with q = exp(-2 pi^2 s^2). Poisson's summation formula says that for every t
    sum over x in Z + t of exp(-x^2 / 2s^2)  lies in  s sqrt(2 pi) [1 - eta(s), 1 + eta(s)].          (*)

Sums. exp(-x^2/2a^2) exp(-(y - x)^2/2b^2) = exp(-y^2/2(a^2 + b^2)) exp(-(x - c)^2/2h^2) with 1/h^2 = 1/a^2 + 1/b^2 and
some c, so by (*) the probability of y under D_a + D_b is that under D_sqrt(a^2 + b^2) times a factor within
[(1 - eta(h))/(1 + eta(h)), (1 + eta(h))/(1 - eta(h))]: both normalised sums lie in that bracket. Adding up m copies of
D_s one by one gives h_k = s sqrt(k/(k+1)), which is theorem 5 of Kairouz, Liu and Steinke (2021, arXiv:2102.06387),
their tau, here with its constant from (*) instead of 10.

First way: from the continuous Gaussian. Let G = f + N(0, S^2 - r^2), a continuous Gaussian mechanism on a lattice-
valued f, and round it at random to the lattice: y with probability proportional to exp(-(y - G)^2 / 2r^2). That is
post-processing. The probability of y is the integral over x of phi(x - f; S^2 - r^2) exp(-(y - x)^2/2r^2) / sum, the
sum being r sqrt(2 pi) (1 +- eta(r)) by (*), hence phi(y - f; S^2) (1 +- eta(r)) (compare Peikert 2010, theorem 3.1).
So f + D_S is, up to that factor at *every* point, post-processing of the Gaussian mechanism of variance S^2 - r^2, and
whatever is proved of that one, by privacy loss distributions and after Poisson sampling too, holds for f + D_S with
the factor's logarithm, once for each neighbour, added to epsilon. With r = 3 the factor is within 10^-76 of 1, and
r^2 / S^2 is the whole price.

Second way: Renyi. D_S has the Gaussian's curve alpha sens^2 / 2S^2 for lattice-valued f (Canonne, Kamath and Steinke
2020, proposition 5), the sum of shares alters it by (2 alpha - 1)/(alpha - 1) times the factor's logarithm over all
coordinates, Poisson sampling amplifies it (Zhu and Wang 2019, the bound that asks nothing of the mechanism), and
Canonne, Kamath and Steinke (2020, proposition 12) give epsilon. It needs no fine lattice, and is looser.

Both are stated for any f with sensitivity in Euclidean norm; rounding belongs to f (see distributed). What our sampler
leaves of the exact distribution is counted too: relative 2^-50 at each point, 2^-126 beyond 13 deviations (see noise).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .errors import UnaccountableError
from .events import GaussianSteps
from .lattice import DIMENSIONS, Shares

_ROUNDING = 3.0
_LEAST_SHARE = 1.0
_SAMPLER = 2.0**-50
_TAIL = 2.0**-126
_WRAP = 2.0**-40
_ASSUMED = 30.0
_ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 384, 512, 1024)


@dataclass(frozen=True, slots=True)
class Slack:
    """What stands between an event and the ideal mechanism it is accounted as.

    epsilon: added to epsilon. delta: of delta. tail: probability, by which delta grows times e^epsilon.
    """

    epsilon: float
    delta: float
    tail: float


def eta(scale: float) -> float:
    """The bound of (*) at `scale` lattice points: 2 (q + q^4 + ...), q = exp(-2 pi^2 scale^2), rounded up."""
    q = math.exp(-2.0 * math.pi**2 * scale**2)
    return 2.0 * q / (1.0 - q) * (1.0 + 1e-9)


def _factor(bound: float) -> float:
    """ln((1 + bound) / (1 - bound)), rounded up; infinite where the bound says nothing."""
    return (math.log1p(bound) - math.log1p(-bound)) * (1.0 + 1e-9) if bound < 1.0 else math.inf


def sum_factor(shares: Shares) -> float:
    """Bound on |ln| of the ratio between the sum of the shares and one discrete Gaussian, for each coordinate."""
    scales = (shares.points * math.sqrt(k / (k + 1.0)) for k in range(1, shares.count))
    return math.fsum(_factor(eta(scale)) for scale in scales)


def _slack(event: GaussianSteps, shares: Shares, factor: float) -> Slack:
    """All steps' slack, for vectors of DIMENSIONS values. factor: of the analysis, a coordinate and neighbour."""
    values = float(DIMENSIONS * event.steps)
    draws = values * shares.count
    # A sum that wraps round is the true sum's remainder, so post-processing; it is counted all the same (2^-40 a step).
    return Slack(2.0 * (values * factor + draws * _SAMPLER), event.steps * _WRAP, draws * _TAIL)


def as_continuous(event: GaussianSteps) -> tuple[GaussianSteps, Slack]:
    """The first way: the continuous Gaussian event that stands for an event with shares, and the slack beside it.

    UnaccountableError when the lattice is too coarse for it.
    """
    shares = _shares(event)
    total = shares.points * math.sqrt(shares.count)
    if total <= 1.1 * _ROUNDING:
        raise UnaccountableError(
            f"noise of {total:.3g} lattice points is too coarse to stand for a continuous Gaussian",
            fix="plan with fewer nominal patients, a smaller sampling rate, or more noise",
        )
    noise = event.noise_multiplier * math.sqrt(1.0 - (_ROUNDING / total) ** 2) * (1.0 - 1e-15)
    factor = sum_factor(shares) + _factor(eta(_ROUNDING)) + _factor(eta(total))
    return GaussianSteps(noise, event.sampling_rate, event.steps), _slack(event, shares, factor)


def renyi(event: GaussianSteps, order: int) -> float:
    """The second way: the divergence of `order` >= 2 of all the event's steps, under either neighbour.

    With shares: of their sum. Zhu and Wang's bound is for integer orders. UnaccountableError when a share is below one
    lattice point.
    """
    factor = 0.0
    if event.shares is not None:
        if event.shares.points < _LEAST_SHARE:
            raise UnaccountableError(
                f"shares of {event.shares.points:.3g} lattice points prove nothing",
                fix="plan with fewer nominal patients, a smaller sampling rate, or more noise",
            )
        factor = DIMENSIONS * (sum_factor(event.shares) + event.shares.count * _SAMPLER)

    def unsampled(alpha: int) -> float:
        if alpha == 1:
            return 0.0
        return alpha / (2.0 * event.noise_multiplier**2) + (2 * alpha - 1) / (alpha - 1) * factor

    if event.sampling_rate == 1.0:
        return event.steps * unsampled(order)
    q = event.sampling_rate
    terms = [(order - 1) * math.log1p(-q) + math.log1p((order - 1) * q)]
    for k in range(2, order + 1):
        binomial = math.lgamma(order + 1) - math.lgamma(k + 1) - math.lgamma(order - k + 1)
        weight = binomial + k * math.log(q) + (order - k) * math.log1p(-q) + (k - 1) * unsampled(k)
        terms.append(weight + (math.log(3.0) if k > 2 else 0.0))
    return event.steps * _log_sum(terms) / (order - 1)


def renyi_epsilon(events: Sequence[GaussianSteps], delta: float) -> float:
    """Epsilon at `delta` of all events together by their Renyi curves; infinite where the slack eats up delta.

    Canonne, Kamath and Steinke 2020, proposition 12, least over the orders. Events without shares count too.
    """
    curves = [(order, math.fsum(renyi(one, order) for one in events)) for order in _ORDERS]

    def curve(left: float) -> float:
        return min(d + math.log1p(-1.0 / order) - math.log(left * order) / (order - 1) for order, d in curves)

    slacks = [_slack(one, one.shares, 0.0) for one in events if one.shares is not None]
    return max(0.0, with_slack(slacks, delta, curve))


def with_slack(slacks: Sequence[Slack], delta: float, curve: Callable[[float], float]) -> float:
    """Epsilon at `delta`, where curve(d) is that of the ideal mechanisms at d; infinite where nothing is left of delta.

    Were the ideal P and Q (e, d)-close, then P, Q with their tails cut off are (e, d + (1 + exp(e)) tail)-close.
    """
    extra = math.fsum(one.epsilon for one in slacks)
    lost = math.fsum(one.delta for one in slacks)
    tail = math.fsum(one.tail for one in slacks)
    assumed = _ASSUMED
    while True:
        left = delta - lost - 2.0 * tail * math.exp(min(assumed, 500.0))
        if left <= 0.0:
            return math.inf
        found = curve(left) + extra
        if found <= assumed:
            return found
        assumed = found + 1.0


def _log_sum(terms: Sequence[float]) -> float:
    most = max(terms)
    return most + math.log(math.fsum(math.exp(term - most) for term in terms))


def _shares(event: GaussianSteps) -> Shares:
    if event.shares is None:
        raise UnaccountableError("this event's noise is not shared")
    return event.shares
