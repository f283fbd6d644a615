"""How large a site's update may be, from the plan's public numbers alone; the ring of an encrypted sum is sized by it.

Nothing private may decide the range, or the range would tell of it. A value beyond it saturates, after the noise, so
privacy is not touched; the count of saturated values rides inside the mask.
"""

from __future__ import annotations

from .aggregation import Purpose
from .errors import UnaccountableError
from .plan import Plan

# A Gaussian exceeds eight standard deviations once in 10^15 draws: saturation stays a rarity for every vector length.
NOISE_DEVIATIONS = 8.0


def whole_numbers(plan: Plan, purpose: Purpose) -> bool:
    """Whether the vectors are whole numbers that carry their noise already, which the ring sums as they are."""
    if purpose == "evaluation":
        return plan.privacy.mode != "none"
    return plan.privacy.mode == "distributed"


def value_range(plan: Plan, purpose: Purpose) -> float:
    """The bound on one value of a site's vector, for each nominal patient of the site.

    An update of S steps with learning rate r, momentum m and clip C moves a parameter by at most r S / (1 - m) times
    the mean gradient, which is C at the most, plus its noise; both are stated for the site with the fewest nominal
    patients, so that one figure serves all. For whole numbers, as evaluations are, the range does not matter and is 1.
    UnaccountableError without a clip in force.
    """
    if purpose == "evaluation" or whole_numbers(plan, purpose):
        return 1.0
    if plan.privacy.mode == "none":
        raise UnaccountableError(
            "an update that is not clipped has no public range, so it cannot be summed under encryption",
            where="plan.privacy.mode",
            fix='plan mode "local"',
        )
    privacy, training = plan.privacy, plan.training
    fewest = min(site.patients for site in plan.sites)
    noise = NOISE_DEVIATIONS * privacy.noise_multiplier / fewest
    travel = training.learning_rate * training.local_steps / (1.0 - training.momentum)
    return travel * privacy.clip * (1.0 + noise)
