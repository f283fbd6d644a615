"""What a ledger holds and what it admits: pure data and rules, without the file (see ledger).

The guarantee. A plan is fixed before its first charge, so within it the accountant's figures hold, however often
rounds are retried: charges only ever cut off one fixed sequence of mechanisms at the plan's own epsilon. Plans are
chosen adaptively, one after the other, and across them stands basic composition, which stays valid when each next
(epsilon, delta) is chosen from what was seen before (Rogers, Roth, Ullman and Vadhan 2016, on privacy filters): all
releases together are (sum of the started plans' epsilons, sum of their deltas)-private. The cap bounds that sum, each
plan counted from its first charge on at the full epsilon that it may spend. A plan that stops early has spent less
(`spent_on`), but when it stopped may depend on what was released, so only the full figure (`committed`) is proved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .accounting import epsilon
from .calibration import most, steps_within
from .errors import BudgetError
from .events import GaussianSteps

# Two accountings of one budget may differ in their last bits.
SLACK = 1e-9
YEAR = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Opening:
    """The ledger's first link: whose it is, the cap on all plans' epsilon together, the largest delta of one plan."""

    site: str
    epsilon_cap: float
    delta: float


@dataclass(frozen=True, slots=True)
class Charge:
    """One link: what was charged for one (plan, purpose, round, attempt), whether or not it was ever released.

    plan_epsilon and plan_delta are the plan's own budget; at is UTC in ISO 8601, as the machine's clock said (see
    committed_in_year); previous is the hash of the link before (32 bytes).
    """

    sequence: int
    plan_hash: bytes
    purpose: str
    round: int
    attempt: int
    events: tuple[GaussianSteps, ...]
    plan_epsilon: float
    plan_delta: float
    at: str
    previous: bytes


def plans(charges: Sequence[Charge]) -> dict[bytes, Charge]:
    """Each plan's first charge, in the order in which the plans were started."""
    firsts: dict[bytes, Charge] = {}
    for charge in charges:
        firsts.setdefault(charge.plan_hash, charge)
    return firsts


def events_of(charges: Sequence[Charge], plan_hash: bytes) -> tuple[GaussianSteps, ...]:
    """Everything charged for one plan."""
    return tuple(event for charge in charges if charge.plan_hash == plan_hash for event in charge.events)


def spent_on(charges: Sequence[Charge], plan_hash: bytes) -> float:
    """Epsilon of everything charged for one plan, at its delta; 0.0 before its first charge."""
    first = plans(charges).get(plan_hash)
    return epsilon(events_of(charges, plan_hash), first.plan_delta) if first else 0.0


def committed(charges: Sequence[Charge]) -> float:
    """The sum of the started plans' full epsilons: what is proved of all releases together."""
    return math.fsum(charge.plan_epsilon for charge in plans(charges).values())


def committed_in_year(charges: Sequence[Charge], now: datetime) -> float:
    """The sum of the full epsilons of the plans that were charged anything in the 365 days up to `now` (aware).

    A charge counts as no older than those before it in the chain, and one whose time is still to come counts too, so
    that a clock that is or was set back frees nothing. A clock set forward cannot be told from time that passed.
    """
    counted: dict[bytes, float] = {}
    latest: datetime | None = None
    for charge in charges:
        at = datetime.fromisoformat(charge.at)
        latest = at if latest is None else max(latest, at)
        if latest > now - YEAR:
            counted[charge.plan_hash] = charge.plan_epsilon
    return math.fsum(counted.values())


def affordable(
    opening: Opening, charges: Sequence[Charge], event: GaussianSteps, plan_hash: bytes | None, delta: float
) -> int:
    """How many more rounds like `event` fit: within a started plan, or within what the cap leaves to a new one.

    Each round repeats event.steps steps. `delta` is the new plan's. Capped at 2^24.
    """
    first = None if plan_hash is None else plans(charges).get(plan_hash)
    if first is None:
        left = opening.epsilon_cap - committed(charges)
        if left <= 0.0:
            return 0
        return steps_within(left, delta, event.noise_multiplier, event.sampling_rate) // event.steps
    done = events_of(charges, first.plan_hash)

    def fits(rounds: int) -> bool:
        more = GaussianSteps(event.noise_multiplier, event.sampling_rate, event.steps * rounds)
        return epsilon((*done, more), first.plan_delta) <= first.plan_epsilon + SLACK

    return most(fits)


def admit(opening: Opening, charges: Sequence[Charge], wanted: Charge, year_cap: float = math.inf) -> None:
    """Raise BudgetError, with the figures that would work, unless `wanted` may be the next charge.

    year_cap bounds `committed_in_year`, this charge included.
    """
    name = (wanted.plan_hash, wanted.purpose, wanted.round, wanted.attempt)
    where = (
        f"ledger of {opening.site!r}, plan {wanted.plan_hash.hex()[:12]}, {wanted.purpose} round {wanted.round} "
        f"attempt {wanted.attempt}"
    )
    if any((one.plan_hash, one.purpose, one.round, one.attempt) == name for one in charges):
        raise BudgetError(
            "this was charged before, and what it paid for may have been released",
            where=where,
            fix="retry as a new attempt, with a new sample, new noise and a new charge",
        )
    if not wanted.events:
        raise BudgetError("a charge without events", where=where, fix="charge what will be released")
    if not 0.0 < wanted.plan_delta <= opening.delta:
        raise BudgetError(
            f"the plan's delta {wanted.plan_delta:g} is not within the {opening.delta:g} that this site allows",
            where=where,
            fix=f"plan with a delta above 0 and at most {opening.delta:g}",
        )
    first = plans(charges).get(wanted.plan_hash)
    if first is None:
        _admit_plan(opening, charges, wanted, where)
    elif (first.plan_epsilon, first.plan_delta) != (wanted.plan_epsilon, wanted.plan_delta):
        raise BudgetError(
            f"the plan started with epsilon {first.plan_epsilon:g} and delta {first.plan_delta:g}, not "
            f"{wanted.plan_epsilon:g} and {wanted.plan_delta:g}",
            where=where,
            fix="a plan's budget is fixed once countersigned; make a new plan",
        )
    _admit_year(charges, wanted, year_cap, where)
    done = events_of(charges, wanted.plan_hash)
    cost = epsilon((*done, *wanted.events), wanted.plan_delta)
    if cost > wanted.plan_epsilon + SLACK:
        raise BudgetError(
            f"this would bring the plan to epsilon {cost:.4g}, past its {wanted.plan_epsilon:g} "
            f"({epsilon(done, wanted.plan_delta):.4g} charged so far; every attempt counts)",
            where=where,
            fix="end the plan here and release what it has, or make a new plan within what the cap leaves",
        )


def _admit_year(charges: Sequence[Charge], wanted: Charge, year_cap: float, where: str) -> None:
    year = committed_in_year((*charges, wanted), datetime.fromisoformat(wanted.at))
    if year > year_cap + SLACK:
        raise BudgetError(
            f"with this plan's {wanted.plan_epsilon:g} the site would have committed epsilon {year:.4g} within 365 "
            f"days, and its cap for a year is {year_cap:g}",
            where=where,
            fix="wait until earlier plans are a year old, or plan with less epsilon",
        )


def _admit_plan(opening: Opening, charges: Sequence[Charge], wanted: Charge, where: str) -> None:
    """The rules for a plan's first charge: its whole epsilon must fit beside those of the plans before it."""
    if not 0.0 < wanted.plan_epsilon < math.inf:
        raise BudgetError(f"the plan's epsilon is {wanted.plan_epsilon}", where=where, fix="choose one above 0")
    left = max(0.0, opening.epsilon_cap - committed(charges))
    if wanted.plan_epsilon <= left + SLACK:
        return
    event = wanted.events[0]
    rounds = affordable(opening, charges, event, None, wanted.plan_delta)
    raise BudgetError(
        f"the plan may spend epsilon {wanted.plan_epsilon:g} and {left:.4g} of the cap of {opening.epsilon_cap:g} "
        f"is left",
        where=where,
        fix=f"plan with an epsilon of at most {left:.4g}: {rounds} rounds with this noise"
        if left > 0.0
        else "nothing is left to spend at this site",
    )
