"""How much noise a budget asks for, and what would work when it asks for too much.

Every figure here is checked with the same accountant that the ledger charges by, and rounded to the safe side: noise
upwards, steps downwards, a suggested epsilon upwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from . import evaluation
from .accounting import COARSE_GRID, GRID, epsilon, gaussian_delta
from .discrete import as_continuous
from .errors import PlanError, UnaccountableError
from .events import GaussianSteps
from .lattice import Shares
from .plan import EvaluationTerms, Gate, Mode, PrivacyTerms
from .subgroups import overlap

_DIGITS = 5
_MOST_STEPS = 1 << 24
# Where delta is so large, or so few are ever sampled, that the definition asks for hardly any noise, add this anyway.
_LEAST_NOISE = 0.2
# Lattice points to a share's deviation that shared noise is calibrated for. Plans have far more (see lattice), and
# what this few cost is one part in a million; a plan that has fewer is refused when it is accounted.
_POINTS = 1024.0


@dataclass(frozen=True, slots=True)
class Suggestions:
    """What would work at a given noise multiplier: this epsilon for all the steps, or this many steps (maybe 0)."""

    epsilon: float
    steps: int

    def __str__(self) -> str:
        rounds = f"or at most {self.steps} steps" if self.steps else "(not even one step fits as it is)"
        return f"epsilon {self.epsilon:g} {rounds}"


@lru_cache(maxsize=1024)
def noise_multiplier(target_epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """Return the least noise multiplier (to 5 digits, rounded up) whose `steps` cost at most `target_epsilon`.

    At least 0.2, whatever the budget allows. Never under-noised: the result has been put through
    `accounting.epsilon`. Raises UnaccountableError when epsilon is not above 0, delta not in (0, 1), the rate not in
    (0, 1] or steps below 1.
    """
    _require_budget(target_epsilon, delta)
    full = math.sqrt(steps) / _largest_mu(target_epsilon, delta)
    found = _round_up(max(full, _LEAST_NOISE))
    if sampling_rate < 1.0 and found > _LEAST_NOISE:
        found = _round_up(_sampled(target_epsilon, delta, sampling_rate, steps, full))
    while _cost(found, delta, sampling_rate, steps) > target_epsilon:
        found = _round_up(found * (1.0 + 10.0**-_DIGITS))
    return found


def steps_within(target_epsilon: float, delta: float, noise: float, sampling_rate: float) -> int:
    """Return the most steps at this noise multiplier and rate that cost at most `target_epsilon` (0 when none does).

    Capped at 2^24. Raises UnaccountableError as `noise_multiplier` does.
    """
    _require_budget(target_epsilon, delta)
    return most(lambda steps: _cost(noise, delta, sampling_rate, steps) <= target_epsilon)


def most(fits: Callable[[int], bool]) -> int:
    """Return the largest n in [0, 2^24] with fits(n), for a predicate that holds up to some n and not beyond."""
    low, high = 0, 1
    while high <= _MOST_STEPS and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def suggestions(
    target_epsilon: float, delta: float, sampling_rate: float, steps: int, most_noise: float
) -> Suggestions:
    """What would work when no more than `most_noise` may be added: a higher epsilon, or fewer steps."""
    cost = _cost(most_noise, delta, sampling_rate, steps)
    return Suggestions(_round_up(cost, 3), steps_within(target_epsilon, delta, most_noise, sampling_rate))


def calibrated_terms(
    *,
    epsilon: float,
    delta: float,
    clip: float,
    sampling_rate: float,
    steps: int,
    max_noise_multiplier: float,
    patient_images: Literal["mean", "one"] = "mean",
    mode: Mode = "local",
    patients: int | None = None,
    quorum: int = 1,
    colluding: int = 0,
) -> PrivacyTerms:
    """Return a plan's privacy terms with the noise that `steps` (rounds x local steps) at this budget need.

    patients: the largest nominal count of the plan's sites, to refuse a delta at or above its inverse here already.
    quorum, colluding: of mode "distributed", whose noise is calibrated for what is left of it then. Mode "none" gives
    terms without noise. Raises PlanError, with the figures that would work, when the noise would be above the maximum
    or the delta too large, and UnaccountableError for a budget that is none.
    """
    noise = 0.0
    if mode != "none":
        if patients is not None and delta >= 1.0 / patients:
            raise PlanError(
                f"delta {delta:g} is not below 1/{patients}, the inverse of the patients",
                where="privacy.delta",
                fix=f"choose a delta below {1.0 / patients:.2g}; {0.1 / patients:.1g} would do",
            )
        if mode == "distributed":
            noise = _shared_noise(epsilon, delta, sampling_rate, steps, Shares(max(1, quorum - colluding), _POINTS))
        else:
            noise = noise_multiplier(epsilon, delta, sampling_rate, steps)
        if noise > max_noise_multiplier:
            raise PlanError(
                f"{steps} steps at epsilon {epsilon:g} and delta {delta:g} need a noise multiplier of {noise:.4g}, "
                f"above the maximum of {max_noise_multiplier:g}",
                where="privacy.max_noise_multiplier",
                fix=f"with {max_noise_multiplier:g} this would work: "
                f"{suggestions(epsilon, delta, sampling_rate, steps, max_noise_multiplier)}; "
                f"or raise the maximum to {_round_up(noise, 3):g}",
            )
    return PrivacyTerms(
        mode=mode,
        epsilon=float(epsilon),
        delta=float(delta),
        clip=float(clip),
        noise_multiplier=noise,
        max_noise_multiplier=float(max_noise_multiplier),
        sampling_rate=float(sampling_rate),
        patient_images=patient_images,
        colluding=colluding,
    )


def calibrated_evaluation(
    privacy: PrivacyTerms,
    *,
    findings: int,
    rounds: int,
    quorum: int,
    bins: int,
    every: int = 0,
    minimum_patients: int = 1,
    gate: Gate | None = None,
) -> EvaluationTerms:
    """Return a plan's evaluation terms with the noise that its evaluations need within the plan's epsilon and delta.

    Held-out patients are others than those trained on, so evaluation may cost them as much as training costs the rest
    (see charges). Calibrated for every evaluation once, evaluation.SPARE lost attempts and the gate's copies. Raises
    PlanError for terms out of range, UnaccountableError for a budget that is none.
    """
    terms = EvaluationTerms(bins, every, 0.0, minimum_patients, gate)
    if privacy.mode == "none":
        return terms
    sums = sum(terms.due(round, rounds) for round in range(rounds + 1)) + evaluation.SPARE
    groups = evaluation.copied(privacy.mode, gate)
    copies = 2 + evaluation.SPARE if groups else 0
    count = max(1, quorum - privacy.colluding) if privacy.mode == "distributed" else 1

    def cost(noise: float) -> float:
        events = [GaussianSteps(noise, 1.0, sums, evaluation.shares_for(noise, findings, count))]
        if copies:
            alone = evaluation.shares_for(noise, findings, 1, overlap(groups))
            events.append(GaussianSteps(noise, 1.0, copies, alone))
        return epsilon(events, privacy.delta)

    found = noise_multiplier(privacy.epsilon, privacy.delta, 1.0, sums + copies)
    while cost(found) > privacy.epsilon:
        found = _round_up(found * (1.0 + 10.0**-_DIGITS))
    return replace(terms, noise_multiplier=found)


def _shared_noise(target: float, delta: float, sampling_rate: float, steps: int, shares: Shares) -> float:
    """The noise multiplier whose shared noise costs at most `target`, slack included: hardly more than a Gaussian's."""
    _, slack = as_continuous(GaussianSteps(1.0, sampling_rate, steps, shares))
    found = noise_multiplier(target - slack.epsilon, delta - slack.delta, sampling_rate, steps)
    while epsilon((GaussianSteps(found, sampling_rate, steps, shares),), delta) > target:
        found = _round_up(found * (1.0 + 10.0**-_DIGITS))
    return found


def _require_budget(target_epsilon: float, delta: float) -> None:
    if not (target_epsilon > 0.0 and math.isfinite(target_epsilon)):
        raise UnaccountableError(f"an epsilon of {target_epsilon} is no budget", fix="choose one above 0")
    if not 0.0 < delta < 1.0:
        raise UnaccountableError(f"a delta of {delta} is not in (0, 1)", fix="choose one well below 1/patients")


def _cost(noise: float, delta: float, sampling_rate: float, steps: int, grid: float = GRID) -> float:
    return epsilon((GaussianSteps(noise, sampling_rate, steps),), delta, grid=grid)


def _largest_mu(target_epsilon: float, delta: float) -> float:
    """The largest sensitivity / deviation whose Gaussian mechanism is (epsilon, delta)-private, rounded down."""
    low, high = 0.0, 1.0
    while gaussian_delta(high, target_epsilon) <= delta:
        low, high = high, 2.0 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2.0
        low, high = (middle, high) if gaussian_delta(middle, target_epsilon) <= delta else (low, middle)
    return low


def _sampled(target_epsilon: float, delta: float, sampling_rate: float, steps: int, full: float) -> float:
    """The noise at which sampled steps cost the target, to a relative 2e-5; the full batch's, `full`, is more.

    Bracketed and found first on a coarse grid, which overstates epsilon a little, then below it on the true grid.
    """
    from scipy.optimize import root_scalar

    def excess(log_noise: float, grid: float) -> float:
        cost = _cost(math.exp(log_noise), delta, sampling_rate, steps, grid)
        return math.log(max(cost, 1e-12) / target_epsilon)

    def crossing(grid: float, low: float, high: float, tolerance: float) -> float:
        return float(root_scalar(excess, args=(grid,), method="brentq", bracket=(low, high), xtol=tolerance).root)

    high = math.log(full)
    low = high - math.log(2.0)
    while excess(low, COARSE_GRID) <= 0.0:
        if low <= math.log(_LEAST_NOISE):
            return _LEAST_NOISE
        low, high = low - math.log(2.0), low
    high = crossing(COARSE_GRID, low, high, 1e-3) + 1e-3
    width = 0.01
    while excess(high, GRID) > 0.0:
        high += width
    low = high - width
    while excess(low, GRID) <= 0.0:
        low, high, width = low - 2.0 * width, low, 2.0 * width
    return math.exp(crossing(GRID, low, high, 1e-5))


def _round_up(value: float, digits: int = _DIGITS) -> float:
    scale = 10.0 ** (digits - 1 - math.floor(math.log10(value)))
    rounded = math.ceil(value * scale) / scale
    return rounded if rounded >= value else math.nextafter(rounded, math.inf)
