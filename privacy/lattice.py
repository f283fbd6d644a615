"""The whole numbers of mode "distributed": from public figures alone, the lattice that a round's sum is counted on.

A site's clipped sum is counted in steps of a public size and its share of the noise drawn in whole steps, so that the
masked ring (uint32) carries exactly what the accountant assumed. The step is as small as the ring allows: the whole
cohort at its limits, with 9.5 deviations of everybody's noise, stays inside (-2^31, 2^31), so that a sum of up to 2^24
values wraps round with probability below 2^-40.

Limits. A site's clipped sum of M patients has norm at most M C. M is half as many again as the site declares (its
declared count is rounded), and with Poisson sampling no more than the expected draw and eight deviations beyond. A
sum that is longer all the same is drawn in to that norm. Drawing in to a ball is a projection on a convex set, which
never moves two vectors apart, so the sensitivity stands whatever the site truly holds.

Rounding. x steps become floor(x + u) with u uniform in [0, 1), which is x on average. For neighbouring data take the
same u: floor(x + u) - floor(x' + u) differs from x - x' by less than 1 in every coordinate, so over d coordinates the
norm grows by less than sqrt(d). With u fixed it is a deterministic map with sensitivity C + sqrt(d) step, u does not
depend on the data, and a mixture over u is no less private than its worst part. The clip's own margin of a thousandth
stays for the floats (see clipping).

Shares. With at least `quorum` survivors of whom `colluding` tell their noise, quorum - colluding shares are left, and
each has the deviation noise_multiplier x sensitivity / sqrt(quorum - colluding). Further survivors add noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .errors import UnaccountableError
from .plan import Plan

DIMENSIONS = 1 << 24
"""The most values of a vector under shared noise: probabilities and slack are counted for so many."""
_HALF_RING = 2**31
_DEVIATIONS = 9.5


@dataclass(frozen=True, slots=True)
class Shares:
    """Noise that is the sum of `count` independent discrete Gaussians, each of `points` lattice points' deviation."""

    count: int
    points: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", float(self.points))
        if self.count < 1 or not (self.points > 0.0 and math.isfinite(self.points)):
            raise UnaccountableError(f"{self.count} shares of {self.points} lattice points are no noise")


@dataclass(frozen=True, slots=True)
class Lattice:
    """One sum's lattice. step: the value of one unit, in the gradient's. clip: the round's C. sensitivity: what adding
    or removing one patient changes, rounding included, in the gradient's unit. share: the deviation of one site's
    noise, in steps."""

    step: float
    clip: float
    sensitivity: float
    share: float


def lattice(plan: Plan, length: int, round: int = 1) -> Lattice:
    """The lattice of a round (from 1 on) of a plan in mode "distributed" for vectors of `length` values.

    Where the recipe lets the clip fall, the whole lattice shrinks with it: limits, step and noise are all multiples of
    the round's clip, so the share is the same number of steps in every round, and the ring as full.

    UnaccountableError for another mode, a longer vector than DIMENSIONS, or numbers that leave the ring no room.
    """
    _require_distributed(plan)
    if not 1 <= length <= DIMENSIONS:
        raise UnaccountableError(
            f"noise is shared over at most {DIMENSIONS} values and the model trains {length}",
            where=f"plan {plan.name!r}",
            fix="train a smaller model or fewer of its layers, or plan mode 'local'",
        )
    terms, honest = plan.privacy, plan.quorum - plan.privacy.colluding
    most = _DEVIATIONS * terms.noise_multiplier * math.sqrt(len(plan.sites) / honest)
    root = math.sqrt(length)
    # half ring x step >= all limits + most x (clip + root x step), solved for the step.
    room = _HALF_RING - 1 - 2 * len(plan.sites) - most * root
    if room < 1.0:
        raise UnaccountableError(
            f"a noise multiplier of {terms.noise_multiplier:.4g} over {length} values leaves the ring no room",
            where=f"plan {plan.name!r}",
            fix="raise epsilon, or plan fewer rounds",
        )
    step = (sum(limit(plan, site.name) for site in plan.sites) + most * terms.clip) / room
    sensitivity = terms.clip + root * step
    share = terms.noise_multiplier * sensitivity / (step * math.sqrt(honest))
    left = plan.training.recipe.clipped_to(round - 1, plan.rounds)
    return Lattice(step * left, terms.clip * left, sensitivity * left, share)


def limit(plan: Plan, site: str, round: int = 1) -> float:
    """The largest norm of `site`'s clipped sum in a round, in the gradient's unit; PlanError when the plan does not
    name it."""
    patients = 1.5 * plan.nominal(site)
    drawn = plan.privacy.sampling_rate * patients
    if plan.privacy.sampling_rate < 1.0:
        patients = min(patients, drawn + 8.0 * math.sqrt(drawn) + 8.0)
    return patients * plan.privacy.clip * plan.training.recipe.clipped_to(round - 1, plan.rounds)


def shares(plan: Plan) -> Shares:
    """What is left of the noise when only the quorum survives and the plan's colluders tell theirs.

    The deviation is the least over all lengths up to DIMENSIONS (it is linear in the length's root). Raises
    UnaccountableError as `lattice` does, and when the masked sum could not withstand so many colluders.
    """
    _require_distributed(plan)
    most = tolerated(plan)
    if plan.privacy.colluding > most:
        raise UnaccountableError(
            f"{plan.privacy.colluding} colluding sites are stated, and with {len(plan.sites)} sites and a quorum of "
            f"{plan.quorum} more than {most} could have two sums of one round opened",
            where=f"plan {plan.name!r}",
            fix=f"state colluding = {most} or fewer, or raise the quorum",
        )
    points = min(lattice(plan, 1).share, lattice(plan, DIMENSIONS).share)
    return Shares(plan.quorum - plan.privacy.colluding, points)


def tolerated(plan: Plan) -> int:
    """How many colluding sites cannot have two survivor lists signed, in any cohort that the plan allows.

    c < 2t - n for a cohort of n whose sum t sites can open (see secure_aggregation.thresholds). A site alone is no
    cohort, and has no others.
    """
    # Not at the top: the masked sum's messages carry ledger heads, whose cost is accounted by events that name shares.
    from .secure_aggregation.thresholds import threshold

    cohorts = range(max(2, plan.quorum), len(plan.sites) + 1)
    return min((2 * threshold(n, plan.quorum) - n - 1 for n in cohorts), default=0)


def _require_distributed(plan: Plan) -> None:
    if plan.privacy.mode != "distributed":
        raise UnaccountableError(f"mode {plan.privacy.mode!r} shares no noise", where=f"plan {plan.name!r}")
