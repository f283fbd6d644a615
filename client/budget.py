"""What a site's ledger has spent and what is left, as its people read it: in epsilon and in rounds still affordable."""

from __future__ import annotations

from dataclasses import dataclass

from ..privacy.accounting import epsilon
from ..privacy.distributed import Collusion, collusions
from ..privacy.events import round_events
from ..privacy.guarantee import against
from ..privacy.ledger import Ledger
from .agreements import Agreements
from .evaluate import Verdict


@dataclass(frozen=True, slots=True)
class PlanBudget:
    """One started plan. spent: epsilon charged so far, at the plan's delta. rounds: how many more like its own fit;
    None when this node no longer knows the plan. closed: it counts as fully spent since the ledger was brought back.
    collusions: what the whole plan costs against the coordinator with so many sites; shown, never charged. evaluated:
    epsilon charged so far about a patient held out; spent is the larger of this and what training was charged. gates:
    what each of its gates found here, under noise; never told outside."""

    name: str
    epsilon: float
    delta: float
    spent: float
    rounds: int | None
    closed: bool
    collusions: tuple[Collusion, ...]
    evaluated: float
    gates: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Budget:
    """The whole ledger. committed, committed_delta: the started plans' budgets in full. left: what adding up leaves to
    a new plan. renyi_used: the share (0 to 1) that is used of the other filter, which many small plans go by. adopted:
    epsilon that only peers' kept heads speak of."""

    site: str
    epsilon_cap: float
    delta_cap: float
    committed: float
    committed_delta: float
    in_year: float
    left: float
    renyi_used: float
    adopted: float
    plans: tuple[PlanBudget, ...]


def budget(ledger: Ledger, agreements: Agreements) -> Budget:
    """What `ledger` says now. Raises LedgerError when it cannot be trusted."""
    book = ledger.book()
    plans: list[PlanBudget] = []
    for plan_hash, first in book.plans.items():
        known = agreements.find(plan_hash)
        rounds = None if known is None else ledger.affordable(round_events(known)[0], plan_hash)
        plans.append(
            PlanBudget(
                plan_hash.hex()[:12] if known is None else known.name,
                first.plan_epsilon,
                first.plan_delta,
                book.spent_on(plan_hash),
                rounds,
                plan_hash in book.closed,
                () if known is None else collusions(known),
                epsilon(book.events_of(plan_hash, "held out"), first.plan_delta),
                agreements.verdicts(plan_hash),
            )
        )
    used, left = book.cost.divergence, book.renyi_left
    return Budget(
        ledger.site,
        ledger.epsilon_cap,
        ledger.delta_cap,
        book.cost.epsilon,
        book.cost.delta,
        ledger.committed_in_year(),
        book.left,
        used / (used + left) if left > 0.0 else 1.0,
        book.adopted(),
        tuple(plans),
    )


def lines(budget: Budget) -> list[str]:
    """The same in words, one line each."""
    said = [
        f"Privacy ledger of {budget.site}: everything ever released is private with epsilon {budget.epsilon_cap:g}, "
        f"delta {budget.delta_cap:g}, under adding or removing one patient.",
        f"Committed to plans: epsilon {budget.committed:.4g} ({budget.in_year:.4g} within 365 days), delta "
        f"{budget.committed_delta:.2g}. A new plan may state {budget.left:.4g}, or be small: of what small plans share "
        f"(the Renyi filter), {budget.renyi_used:.0%} is used.",
    ]
    if budget.adopted:
        said.append(f"Of this, epsilon {budget.adopted:.4g} was lost with a backup and proved by peers.")
    for plan in budget.plans:
        if plan.closed:
            left = "closed since the ledger was brought back"
        else:
            left = "unknown here" if plan.rounds is None else f"{plan.rounds} more rounds are affordable"
        said.append(f"{plan.name}: {plan.spent:.4g} of epsilon {plan.epsilon:g} at delta {plan.delta:g}; {left}.")
        if plan.evaluated:
            said.append(f"    Evaluation, gates on subgroups included, costs a patient held out {plan.evaluated:.4g}.")
        said += [f"    Gate on {one.group}: {one.words()}." for one in plan.gates]
        said += [f"    {line}" for line in against(plan.collusions)]
    return said
