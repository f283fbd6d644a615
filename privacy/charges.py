"""What a ledger holds and what it admits: pure data and rules, without the file (see ledger).

The guarantee. A plan is fixed before its first charge, so within it the accountant's figures hold, however often
rounds are retried: charges only ever cut off one fixed sequence of mechanisms at the plan's own epsilon. Plans are
chosen adaptively, one after the other, and across them stand the two filters of `filters`: a charge is admitted when
either admits it, and all releases for ever are then (epsilon_cap, delta_cap)-private.

Two populations. A plan releases two kinds of things about a site: updates, computed from the patients it trains on, and
evaluations, computed from those it holds out. Both sets are frozen when the plan is countersigned and nobody is in
both (client.store freezes them together). So the plan costs a patient what was charged about *their* population, and
the plan the larger of the two, not the sum. Proof, for the interaction of all rounds with any adversary between them:
take neighbouring databases that differ in one patient p, trained on. Every evaluation is a randomised map of the
held-out patients, who are the same in both, and of what was released before; given the past its distribution is the
same under both databases. Factor the probability of a transcript round by round: the evaluations' factors cancel, what
is left is the product of the updates' factors, and whatever is proved of the adaptive composition of the updates alone
holds for the whole (evaluations are post-processing with randomness of their own). With p held out, the same with the
two exchanged. A patient in neither set changes nothing. This is parallel composition (McSherry 2009) of two adaptive
compositions. Were a patient in both sets, the two would have to be added. *Across* plans a patient may be on either
side each time, so there each plan counts with its larger side in both filters.

A ledger that was brought back from a backup lacks charges. What peers' kept heads prove of them is taken in as an
`Adoption`; the plans charged before it are closed, since what they spent in the lost part is known only in total.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal, get_args

from .accounting import epsilon
from .calibration import most
from .errors import BudgetError
from .events import GaussianSteps
from .filters import Cost, divergence, filter_budget
from .heads import SignedHead

# Two accountings of one budget may differ in their last bits.
SLACK = 1e-9
_DELTA_SLACK = 1e-15
YEAR = timedelta(days=365)
Population = Literal["trained on", "held out"]


@dataclass(frozen=True, slots=True)
class Opening:
    """The ledger's first link: whose it is, and what everything ever charged may cost.

    epsilon_cap, delta_cap: for all plans together. delta: the largest of one plan, and the Renyi filter's own share of
    delta_cap. order: the Renyi filter's, chosen here once (filters.best_order).
    """

    site: str
    epsilon_cap: float
    delta: float
    delta_cap: float
    order: int


@dataclass(frozen=True, slots=True)
class Charge:
    """One link: what was charged for one (plan, purpose, round, attempt), whether or not it was ever released.

    plan_epsilon and plan_delta are the plan's own budget; at is UTC in ISO 8601, as the machine's clock said (see
    committed_in_year); previous is the hash of the link before (32 bytes). nonce (16 random bytes) tells this charge
    from one of the same name and second in another copy of the ledger: both were spent.
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
    nonce: bytes

    @property
    def population(self) -> Population:
        """Whom it is about."""
        return "held out" if self.purpose == "evaluation" else "trained on"


@dataclass(frozen=True, slots=True)
class Adoption:
    """One link: charges that this file has lost, as a head that peers kept and the site itself signed proves them.

    sequence: above the adopted head's, so that later heads are the higher ones. lost: their cost, beyond what this
    ledger knew.
    """

    sequence: int
    evidence: SignedHead
    lost: Cost
    at: str
    previous: bytes


@dataclass(frozen=True)
class Book:
    """All links of a ledger, oldest first, and what follows from them."""

    opening: Opening
    links: tuple[Charge | Adoption, ...] = ()

    @cached_property
    def charges(self) -> tuple[Charge, ...]:
        """The charges among the links."""
        return tuple(link for link in self.links if isinstance(link, Charge))

    @cached_property
    def plans(self) -> dict[bytes, Charge]:
        """Each plan's first charge, in the order in which the plans were started."""
        firsts: dict[bytes, Charge] = {}
        for charge in self.charges:
            firsts.setdefault(charge.plan_hash, charge)
        return firsts

    @cached_property
    def closed(self) -> frozenset[bytes]:
        """The plans that were charged before an adoption: they are counted as fully spent."""
        last = max((i for i, link in enumerate(self.links) if isinstance(link, Adoption)), default=0)
        return frozenset(link.plan_hash for link in self.links[:last] if isinstance(link, Charge))

    @cached_property
    def costs(self) -> tuple[Cost, ...]:
        """What both filters count, after the opening and after each link."""
        running = [Cost()]
        sides: dict[bytes, dict[Population, float]] = {}
        for link in self.links:
            running.append(running[-1].plus(self._step(link, sides)))
        return tuple(running)

    def _step(self, link: Charge | Adoption, sides: dict[bytes, dict[Population, float]]) -> Cost:
        """What a link adds: of a charge, by how much it raises the larger side of its plan."""
        if isinstance(link, Adoption):
            return link.lost
        started = link.plan_hash in sides
        side = sides.setdefault(link.plan_hash, {})
        before = max(side.values(), default=0.0)
        side[link.population] = side.get(link.population, 0.0) + divergence(link.events, self.opening.order)
        raised = max(side.values()) - before
        return Cost(0.0, 0.0, raised) if started else Cost(link.plan_epsilon, link.plan_delta, raised)

    @property
    def cost(self) -> Cost:
        """The cost of everything so far."""
        return self.costs[-1]

    @property
    def left(self) -> float:
        """What adding up leaves to a new plan's epsilon (>= 0)."""
        return max(0.0, self.opening.epsilon_cap - self.cost.epsilon)

    @property
    def delta_left(self) -> float:
        """What adding up leaves to a new plan's delta (>= 0)."""
        return max(0.0, self.opening.delta_cap - self.opening.delta - self.cost.delta)

    @property
    def renyi_left(self) -> float:
        """What the Renyi filter leaves, as a divergence of the opening's order (>= 0)."""
        opening = self.opening
        return max(0.0, filter_budget(opening.order, opening.epsilon_cap, opening.delta) - self.cost.divergence)

    @property
    def adds_up(self) -> bool:
        """Whether what was started so far is within the filter that adds up; if not, it admits nothing any more."""
        opening, cost = self.opening, self.cost
        deltas = opening.delta_cap - opening.delta
        return cost.epsilon <= opening.epsilon_cap + SLACK and cost.delta <= deltas + _DELTA_SLACK

    def events_of(self, plan_hash: bytes, population: Population) -> tuple[GaussianSteps, ...]:
        """Everything charged for one plan about one of its populations."""
        charges = (one for one in self.charges if one.plan_hash == plan_hash and one.population == population)
        return tuple(event for charge in charges for event in charge.events)

    def spent_on(self, plan_hash: bytes) -> float:
        """Epsilon that one plan has cost any patient so far, at its delta; 0.0 before its first charge."""
        first = self.plans.get(plan_hash)
        if first is None:
            return 0.0
        return max(epsilon(self.events_of(plan_hash, side), first.plan_delta) for side in get_args(Population))

    def adopted(self) -> float:
        """The epsilon of plans that only adopted heads speak of."""
        return math.fsum(link.lost.epsilon for link in self.links if isinstance(link, Adoption))

    def renyi_rounds(self, event: GaussianSteps) -> int:
        """How many more rounds like `event` the Renyi filter admits; capped at 2^24."""
        left = self.renyi_left
        cost = divergence((event,), self.opening.order)
        return most(lambda rounds: rounds * cost <= left)


def committed_in_year(links: Sequence[Charge | Adoption], now: datetime) -> float:
    """The sum of the full epsilons of the plans that were charged anything in the 365 days up to `now` (aware).

    A link counts as no older than those before it in the chain, and one whose time is still to come counts too, so
    that a clock that is or was set back frees nothing. A clock set forward cannot be told from time that passed. What
    was adopted counts from its adoption.
    """
    counted: dict[bytes, float] = {}
    latest: datetime | None = None
    for link in links:
        at = datetime.fromisoformat(link.at)
        latest = at if latest is None else max(latest, at)
        if latest > now - YEAR:
            if isinstance(link, Charge):
                counted[link.plan_hash] = link.plan_epsilon
            else:
                counted[b"adopted" + link.evidence.head.hash] = link.lost.epsilon
    return math.fsum(counted.values())


def affordable(book: Book, event: GaussianSteps, plan_hash: bytes | None, delta: float) -> int:
    """How many more rounds like `event` fit: within a started plan, or within what the caps leave to a new one.

    Each round trains event.steps steps. `delta` is the new plan's. Capped at 2^24.
    """
    if plan_hash in book.closed:
        return 0
    first = None if plan_hash is None else book.plans.get(plan_hash)
    renyi = book.renyi_rounds(event)
    if first is None:
        if book.left <= 0.0 or delta > book.delta_left:
            return renyi
        return max(renyi, most(lambda rounds: epsilon((_times(event, rounds),), delta) <= book.left))
    done = book.events_of(first.plan_hash, "trained on")

    def fits(rounds: int) -> bool:
        return epsilon((*done, _times(event, rounds)), first.plan_delta) <= first.plan_epsilon + SLACK

    within = most(fits)
    return within if book.adds_up else min(within, renyi)


def admit(
    book: Book,
    wanted: Charge,
    planned: Sequence[GaussianSteps],
    year_cap: float = math.inf,
    evaluated: Sequence[GaussianSteps] = (),
) -> None:
    """Raise BudgetError, with the figures that would work, unless `wanted` may be the next charge.

    planned, evaluated: all that its plan means to release about patients trained on and held out, asked for room at
    the plan's first charge. year_cap bounds `committed_in_year`, this charge included.
    """
    name = (wanted.plan_hash, wanted.purpose, wanted.round, wanted.attempt)
    where = (
        f"ledger of {book.opening.site!r}, plan {wanted.plan_hash.hex()[:12]}, {wanted.purpose} round {wanted.round} "
        f"attempt {wanted.attempt}"
    )
    if any((one.plan_hash, one.purpose, one.round, one.attempt) == name for one in book.charges):
        raise BudgetError(
            "this was charged before, and what it paid for may have been released",
            where=where,
            fix="retry as a new attempt, with a new sample, new noise and a new charge",
        )
    if wanted.plan_hash in book.closed:
        raise BudgetError(
            "the ledger was brought back from a backup since this plan began, so the plan counts as fully spent",
            where=where,
            fix="make a new plan",
        )
    if not wanted.events:
        raise BudgetError("a charge without events", where=where, fix="charge what will be released")
    first = book.plans.get(wanted.plan_hash)
    if first is not None and (first.plan_epsilon, first.plan_delta) != (wanted.plan_epsilon, wanted.plan_delta):
        raise BudgetError(
            f"the plan started with epsilon {first.plan_epsilon:g} and delta {first.plan_delta:g}, not "
            f"{wanted.plan_epsilon:g} and {wanted.plan_delta:g}",
            where=where,
            fix="a plan's budget is fixed once countersigned; make a new plan",
        )
    if first is None:
        whole = (*planned,) or wanted.events
        require_room(book, whole, wanted.events[0], wanted.plan_epsilon, wanted.plan_delta, where, evaluated)
    _admit_year(book, wanted, year_cap, where)
    done = book.events_of(wanted.plan_hash, wanted.population)
    cost = epsilon((*done, *wanted.events), wanted.plan_delta)
    if cost > wanted.plan_epsilon + SLACK:
        raise BudgetError(
            f"this would bring the plan to epsilon {cost:.4g}, past its {wanted.plan_epsilon:g} "
            f"({epsilon(done, wanted.plan_delta):.4g} charged so far; every attempt counts)",
            where=where,
            fix="end the plan here and release what it has, or make a new plan within what the cap leaves",
        )
    after = Book(book.opening, (*book.links, wanted))
    if not after.adds_up and after.cost.divergence - book.cost.divergence > book.renyi_left:
        raise BudgetError(
            f"this would pass what all plans together may cost (epsilon {book.opening.epsilon_cap:g})",
            where=where,
            fix=f"{book.renyi_rounds(wanted.events[0])} more rounds with this noise are affordable",
        )


def require_room(
    book: Book,
    planned: Sequence[GaussianSteps],
    each: GaussianSteps,
    plan_epsilon: float,
    plan_delta: float,
    where: str,
    evaluated: Sequence[GaussianSteps] = (),
) -> None:
    """Raise BudgetError, with the figures that would work, unless one of the filters has room for a whole new plan.

    planned, evaluated: all that it means to release about patients trained on and held out. each: one round's event,
    in which the figures are given.
    """
    opening = book.opening
    needed = max(divergence(events, opening.order) for events in (planned, evaluated))
    if not 0.0 < plan_delta <= opening.delta:
        raise BudgetError(
            f"the plan's delta {plan_delta:g} is not within the {opening.delta:g} that this site allows",
            where=where,
            fix=f"plan with a delta above 0 and at most {opening.delta:g}",
        )
    if not 0.0 < plan_epsilon < math.inf:
        raise BudgetError(f"the plan's epsilon is {plan_epsilon}", where=where, fix="choose one above 0")
    left = book.left if plan_delta <= book.delta_left + _DELTA_SLACK else 0.0
    # No plan may state more than all together may cost, even one that would not spend it.
    stated = plan_epsilon <= opening.epsilon_cap + SLACK
    if plan_epsilon <= left + SLACK or (stated and needed <= book.renyi_left):
        return
    ways: list[str] = []
    if left > 0.0:
        rounds = most(lambda rounds: epsilon((_times(each, rounds),), plan_delta) <= left)
        ways.append(f"plan with an epsilon of at most {left:.4g}: {rounds} rounds with this noise")
    if by_renyi := book.renyi_rounds(each):
        ways.append(f"plan at most {by_renyi} rounds with this noise")
    raise BudgetError(
        f"the plan may spend epsilon {plan_epsilon:g} and {left:.4g} of the cap of {opening.epsilon_cap:g} is left",
        where=where,
        fix=", or ".join(ways) or "nothing is left to spend at this site",
    )


def _admit_year(book: Book, wanted: Charge, year_cap: float, where: str) -> None:
    year = committed_in_year((*book.links, wanted), datetime.fromisoformat(wanted.at))
    if year > year_cap + SLACK:
        raise BudgetError(
            f"with this plan's {wanted.plan_epsilon:g} the site would have committed epsilon {year:.4g} within 365 "
            f"days, and its cap for a year is {year_cap:g}",
            where=where,
            fix="wait until earlier plans are a year old, or plan with less epsilon",
        )


def _times(event: GaussianSteps, rounds: int) -> GaussianSteps:
    return replace(event, steps=event.steps * rounds)
