"""Mode "distributed", both ends: a site hides its clipped sum under its share of the noise, the coordinator reads the
opened sum.

One round is one step. A site's contribution is the *sum* of its sampled patients' clipped gradients (a gradient, not a
change of the model), counted in whole steps of the round's lattice, with its share of discrete Gaussian noise added,
all before masking. The opened sum then carries the noise of every survivor and nothing else is ever seen. The
coordinator divides by the public expected number of patients and descends: with noise and rounding away this is
pooled, clipped SGD to float tolerance. Sizes, limits and proofs of the rounding stand in `lattice`, the accounting in
`discrete`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .accounting import epsilon
from .errors import UnaccountableError
from .events import GaussianSteps, plan_evaluation_events, plan_events
from .lattice import Lattice, Shares, lattice, tolerated
from .noise import integer_gaussian
from .plan import Plan
from .randomness import Randomness, uniforms

if TYPE_CHECKING:
    from .clipping import ClippedSum

Vector = NDArray[np.float64]

_POINTS = 2.0**16


def contribution(total: ClippedSum, limit: float, lattice: Lattice, source: Randomness) -> Vector:
    """A site's vector: its clipped sum in whole steps of the lattice, under its share of the noise.

    limit: the largest norm of the sum, `lattice.limit`. Returns whole numbers as float64 (d,). The caller has charged
    the ledger. Raises UnaccountableError when the sum was clipped to another norm than the lattice was made for.
    """
    if total.sensitivity > lattice.clip:
        raise UnaccountableError(
            f"a sum clipped to {total.sensitivity:g} does not fit a lattice made for {lattice.clip:g}"
        )
    return rounded(total.total, limit, lattice.step, source) + integer_gaussian(total.size, lattice.share, source)


def rounded(values: Vector, limit: float, step: float, source: Randomness) -> Vector:
    """`values` (d,) drawn in to norm `limit`, in whole steps, each up or down at random so that the mean is exact."""
    norm = float(np.linalg.norm(values))
    inside = values if norm <= limit else values * (limit / norm)
    return np.floor(inside / step + uniforms(values.size, source))


def mean_gradient(plan: Plan, total: Vector, survivors: tuple[str, ...], round: int) -> Vector:
    """The noised mean gradient (d,) behind a round's opened sum (d,) in whole steps: over the survivors' nominal
    patients, as many as a step samples of them on average."""
    expected = plan.privacy.sampling_rate * sum(plan.nominal(site) for site in survivors)
    return total * (lattice(plan, total.size, round).step / expected)


def gradient_variance(plan: Plan, size: int, survivors: tuple[str, ...], round: int) -> float:
    """The variance of the noise in each of the `size` values of `mean_gradient`: every survivor's share of it."""
    expected = plan.privacy.sampling_rate * sum(plan.nominal(site) for site in survivors)
    unit = lattice(plan, size, round)
    return len(survivors) * (unit.share * unit.step / expected) ** 2


@dataclass(frozen=True, slots=True)
class Collusion:
    """What the whole plan costs a site's patients at its delta when `colluding` sites tell the coordinator their noise
    and share what they saw. alone: whether so many could have the site's own vector opened, under its share only."""

    colluding: int
    epsilon: float
    alone: bool


def collusions(plan: Plan) -> tuple[Collusion, ...]:
    """One line for each number of colluding sites from the plan's own to all but one of the quorum.

    Each costs the larger of what training tells about a patient trained on and evaluation about one held out. The first
    is the plan's guarantee, which the ledger is charged for; the others are only shown. () in other modes.
    """
    if plan.privacy.mode != "distributed":
        return ()
    released = [events for events in (plan_events(plan), plan_evaluation_events(plan)) if events]
    lines: list[Collusion] = []
    for colluding in range(plan.privacy.colluding, plan.quorum):
        # All others of a cohort can take their own vectors off its sum.
        alone = colluding > tolerated(plan) or colluding == plan.quorum - 1
        left = 1 if alone else plan.quorum - colluding
        costs = [epsilon([_under(event, left) for event in events], plan.privacy.delta) for events in released]
        lines.append(Collusion(colluding, max(costs), alone))
    return tuple(lines)


def _under(event: GaussianSteps, left: int) -> GaussianSteps:
    """The event when only `left` shares of its noise are unknown; a site's own copy stands under one share anyway."""
    promised = event.shares or Shares(1, _POINTS)
    count = min(left, promised.count)
    noise = event.noise_multiplier * math.sqrt(count / promised.count)
    return replace(event, noise_multiplier=noise, shares=Shares(count, promised.points))


@dataclass(frozen=True, slots=True)
class Beside:
    """What the same noise on the same opened sum costs a patient in either mode. sites take part, all stay; quorum is
    the fewest that may, and colluding how many of those may tell their noise."""

    sites: int
    quorum: int
    colluding: int
    distributed: float
    local: float


def beside_local(
    sites: int, quorum: int, colluding: int, *, noise: float, sampling_rate: float, steps: int, delta: float
) -> Beside:
    """Both modes at equal accuracy: `noise` (in clips) on the opened sum of all `sites`, an equal part from each.

    In mode "local" a patient is protected by the own site's part alone, in mode "distributed" by the parts of all but
    the colluders among the quorum. Raises UnaccountableError for numbers that prove nothing.
    """
    left = quorum - colluding
    if not 0 < left <= quorum <= sites:
        raise UnaccountableError(f"{colluding} of a quorum of {quorum} among {sites} sites leave no noise")
    alone = GaussianSteps(noise / math.sqrt(sites), sampling_rate, steps)
    shared = GaussianSteps(noise * math.sqrt(left / sites), sampling_rate, steps, Shares(left, _POINTS))
    return Beside(sites, quorum, colluding, epsilon((shared,), delta), epsilon((alone,), delta))
