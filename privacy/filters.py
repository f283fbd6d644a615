"""What all plans together may cost: two privacy filters, either of which may admit the next release.

Plans are chosen one after the other, each after looking at what the ones before released, so their noise, their length
and even their number depend on the data. Ordinary composition theorems fix those in advance; a *filter* does not: it is
told the cost of each next release before it is made and admits it or not, so that everything ever admitted together
is (epsilon, delta)-private (Rogers, Roth, Ullman and Vadhan 2016). Two are held here, for one epsilon, `epsilon_cap`.

**Adding up.** Admits while the sum of the started plans' epsilons is at most epsilon_cap and the sum of their deltas at
most delta_cap - delta; a plan counts in full from its first charge on. Basic composition is a filter (the same paper,
theorem 3.6). Rounds of several plans may interleave: a valid filter for (epsilon, delta) stays one under concurrent
composition of interactive mechanisms (Haney et al. 2023).

**Renyi.** At one order a, chosen with the ledger (`Opening.order`) and never again, admits while the sum of all
charges' Renyi divergences of order a is at most B. Everything admitted is then (a, B)-Renyi private, however it was
chosen (Feldman and Zrnic 2021, the filter that follows from their adaptive composition theorem; Lecuyer 2021), and so
(epsilon_cap, delta)-private for

    B = epsilon_cap + (log delta + log a)/(a - 1) - log((a - 1)/a)

(Canonne, Kamath and Steinke 2020, proposition 12). Here a plan that stopped early counts for what it was charged, since
stopping is a choice like any other. The order must not be picked by looking at the releases: taking the best of
several orders needs a share of delta for each, by the argument below, and one is enough.

**Either.** Admitting what either admits is valid for the *sum* of the two deltas, and not for the larger. Write M for
the whole interaction and M1, M2 for it with one of the two filters alone. Costs only grow, so a transcript of M whose
total lies within filter i's budget lay within it at every step, and M and Mi give it the same probability, on either of
two neighbouring databases. Every transcript lies within at least one of the two budgets. Split a set S of transcripts
into S1, those within the first, and S2, the rest: P[M in S] = P[M1 in S1] + P[M2 in S2], which is at most
exp(epsilon) (P'[M1 in S1] + P'[M2 in S2]) + delta1 + delta2 = exp(epsilon) P'[M in S] + delta1 + delta2. So all
releases of a ledger, for ever, are (epsilon_cap, delta_cap)-private, with delta_cap - delta for adding up and delta
for Renyi.

Adding up is the better one for a few large plans (it takes the exact figure of each), Renyi for many small ones: the
cost of k equal small plans grows with the root of k instead of with k.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from .discrete import renyi
from .events import GaussianSteps, merged

# Whole orders only: sampled mechanisms have a closed form at them.
ORDERS = range(2, 257)
# What samplers leave of the distributions they stand for (see discrete), as a probability: 2^40 steps of 2^-98 each.
_SAMPLERS = 2.0**-58


@dataclass(frozen=True, slots=True)
class Cost:
    """What both filters count. epsilon, delta: of the started plans, in full. divergence: of all charges, at the order
    of the ledger's opening."""

    epsilon: float = 0.0
    delta: float = 0.0
    divergence: float = 0.0

    def plus(self, other: Cost) -> Cost:
        """The cost of both."""
        return Cost(
            math.fsum((self.epsilon, other.epsilon)),
            math.fsum((self.delta, other.delta)),
            math.fsum((self.divergence, other.divergence)),
        )

    def beyond(self, other: Cost) -> Cost:
        """What this costs more than the other, never less than nothing."""
        return Cost(
            max(0.0, self.epsilon - other.epsilon),
            max(0.0, self.delta - other.delta),
            max(0.0, self.divergence - other.divergence),
        )


def renyi_budget(order: int, epsilon: float, delta: float) -> float:
    """The largest Renyi divergence of `order` that still implies (epsilon, delta); negative where none does."""
    return epsilon + (math.log(delta) + math.log(order)) / (order - 1) - math.log((order - 1) / order)


def filter_budget(order: int, epsilon: float, delta: float) -> float:
    """`renyi_budget` after delta has paid for the samplers; 0 where nothing is left of it (absurd epsilons)."""
    left = delta - (1.0 + math.exp(epsilon)) * _SAMPLERS if epsilon < 700.0 else 0.0
    return max(0.0, renyi_budget(order, epsilon, left)) if left > 0.0 else 0.0


def best_order(epsilon: float, delta: float) -> int:
    """The order at which this budget affords the most full-batch Gaussian steps, whose divergence is proportional to
    the order. It depends on the budget alone, so choosing it looks at nobody's data."""
    return max(ORDERS, key=lambda order: renyi_budget(order, epsilon, delta) / order)


def divergence(events: Iterable[GaussianSteps], order: int) -> float:
    """The Renyi divergence of `order` of all events together, under add-or-remove of one patient: their sum."""
    return math.fsum(_divergence(event, order) for event in merged(tuple(events)))


@lru_cache(maxsize=4096)
def _divergence(event: GaussianSteps, order: int) -> float:
    """Shared discrete noise: see discrete. Gaussian: order / (2 sigma^2). Poisson-sampled Gaussian at a whole order:
    the binomial sum of Mironov, Talwar and Zhang 2019, section 3.3, for the direction that they show to be the larger
    (theorem 5)."""
    if event.shares is not None:
        return renyi(event, order)
    variance = event.noise_multiplier**2
    rate = event.sampling_rate
    if rate == 1.0:
        return event.steps * order / (2.0 * variance)
    terms = [
        math.lgamma(order + 1)
        - math.lgamma(k + 1)
        - math.lgamma(order - k + 1)
        + (order - k) * math.log1p(-rate)
        + k * math.log(rate)
        + k * (k - 1) / (2.0 * variance)
        for k in range(order + 1)
    ]
    largest = max(terms)
    moment = largest + math.log(math.fsum(math.exp(term - largest) for term in terms))
    # Rounded up: the sum above is exact to about 1e-13 times its largest logarithm.
    return event.steps * (max(0.0, moment) + 1e-12 * (1.0 + abs(largest))) / (order - 1)
