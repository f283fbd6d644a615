"""The filter across plans: a valid budget, one order fixed in advance, and what it buys over adding up."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from medquorum.privacy.accounting import epsilon, gaussian_delta
from medquorum.privacy.calibration import noise_multiplier
from medquorum.privacy.charges import Book, Charge, Opening
from medquorum.privacy.errors import BudgetError
from medquorum.privacy.events import GaussianSteps
from medquorum.privacy.filters import ORDERS, Cost, best_order, divergence, filter_budget, renyi_budget
from medquorum.privacy.lattice import Shares
from medquorum.privacy.ledger import Ledger

CAP, DELTA = 8.0, 1e-5


@pytest.mark.parametrize(("rate", "noise", "order"), [(0.01, 1.0, 8), (0.1, 0.8, 3), (0.5, 5.0, 40), (0.9, 2.0, 2)])
def test_a_sampled_steps_divergence_is_the_integral_it_stands_for(rate: float, noise: float, order: int) -> None:
    """D_a(P || Q) = log E_Q[(P/Q)^a] / (a - 1), in both directions; ours bounds the larger."""

    def moment(x: float, sign: int) -> float:
        ratio = (1 - rate) + rate * math.exp((2 * x - 1) / (2 * noise**2))
        power = order if sign > 0 else 1 - order
        return stats.norm.pdf(x, 0, noise) * ratio**power

    exact = [
        math.log(integrate.quad(moment, -40 * noise, 60 * noise, args=(sign,), limit=2000)[0]) / (order - 1)
        for sign in (1, -1)
    ]
    ours = divergence([GaussianSteps(noise, rate, 1)], order)
    assert ours == pytest.approx(max(exact), rel=1e-6)
    assert ours >= max(exact) * (1 - 1e-9)


def test_divergences_add_up_and_agree_with_dp_accounting() -> None:
    import dp_accounting
    from dp_accounting import rdp

    events = [GaussianSteps(1.1, 0.02, 300), GaussianSteps(6.0, 1.0, 20)]
    theirs = rdp.RdpAccountant([2, 5, 30])
    theirs.compose(dp_accounting.PoissonSampledDpEvent(0.02, dp_accounting.GaussianDpEvent(1.1)), 300)
    theirs.compose(dp_accounting.GaussianDpEvent(6.0), 20)
    for order, expected in zip((2, 5, 30), theirs._rdp, strict=True):
        assert divergence(events, order) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.05, 50.0), st.floats(-9.0, -2.0), st.integers(2, 256))
def test_the_budget_implies_the_epsilon(cap: float, log_delta: float, order: int) -> None:
    """The Gaussian whose divergence is exactly the budget has, by its own exact curve, at most this epsilon, delta."""
    delta = 10.0**log_delta
    budget = renyi_budget(order, cap, delta)
    if budget > 0.0:
        assert gaussian_delta(math.sqrt(2.0 * budget / order), cap) <= delta


def test_the_order_is_the_best_whole_one_for_the_caps() -> None:
    for cap in (0.5, 1.0, 3.0, 8.0, 16.0):
        best = best_order(cap, DELTA)
        worth = [renyi_budget(order, cap, DELTA) / order for order in ORDERS]
        assert renyi_budget(best, cap, DELTA) / best == max(worth) > 0.0


def small_plans(plan_epsilon: float) -> tuple[int, int]:
    """How many plans of ten rounds adding up admits, and how many the ledger does."""
    noise = noise_multiplier(plan_epsilon, DELTA, 1.0, 10)
    event = GaussianSteps(noise, 1.0, 10)
    book = Book(Opening("north", CAP, DELTA, 2e-3, best_order(CAP, DELTA)))
    return int(CAP / plan_epsilon), book.renyi_rounds(event)


@pytest.mark.parametrize(
    ("plan_epsilon", "added", "renyi"), [(0.1, 80, 2322), (0.5, 16, 121), (1.0, 8, 34), (2.0, 4, 9), (8.0, 1, 0)]
)
def test_many_small_plans_are_worth_the_filter(plan_epsilon: float, added: int, renyi: int) -> None:
    """At a cap of epsilon 8, delta 1e-5: 34 plans of epsilon 1 instead of 8, and one of epsilon 8 only by adding up."""
    assert small_plans(plan_epsilon) == (added, renyi)


def test_the_ledger_admits_what_either_filter_admits_and_nothing_else(tmp_path: Path) -> None:
    """Sixteen plans of epsilon 1/2 fit by adding up; Renyi goes on to the 121st. (As one large plan 137 would fit.)"""
    event = GaussianSteps(noise_multiplier(0.5, DELTA, 1.0, 10), 1.0, 10)
    ledger = Ledger.create(tmp_path / "ledger", "north", CAP, DELTA)
    assert ledger.affordable(event) == 137
    for number in range(121):
        ledger.charge(number.to_bytes(32, "big"), "update", 1, 1, [event], 0.5)
    assert ledger.committed() == pytest.approx(60.5)
    assert ledger.affordable(event) == 0
    with pytest.raises(BudgetError, match="nothing is left"):
        ledger.charge(b"x" * 32, "update", 1, 1, [event], 0.5)
    assert epsilon([GaussianSteps(event.noise_multiplier, 1.0, 1210)], DELTA) <= CAP, "what really left is private"


def test_the_deltas_of_plans_have_a_cap_too(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "ledger", "north", 16.0, 1e-4, delta_cap=4e-4)
    loud = GaussianSteps(noise_multiplier(5.0, 1e-4, 1.0, 1), 1.0, 1)
    for number in range(3):
        ledger.charge(bytes([number]) * 32, "update", 1, 1, [loud], 5.0)
    with pytest.raises(BudgetError, match="0 of the cap of 16 is left"):
        ledger.charge(b"d" * 32, "update", 1, 1, [loud], 0.9, planned=[loud] * 9)


def admitted(book: Book, charges: list[tuple[int, GaussianSteps, float]]) -> Book:
    """Charge what the ledger's rules admit, as an analyst would who never gives up."""
    from medquorum.privacy.charges import admit

    for number, (plan, event, plan_epsilon) in enumerate(charges):
        wanted = Charge(
            len(book.links) + 1,
            bytes([plan]) * 32,
            "update",
            number,
            1,
            (event,),
            plan_epsilon,
            1e-5,
            "2026-01-01T00:00:00+00:00",
            bytes(32),
            bytes(16),
        )
        try:
            admit(book, wanted, ())
        except BudgetError:
            continue
        book = Book(book.opening, (*book.links, wanted))
    return book


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_is_asked_the_total_stays_within_one_of_the_budgets(seed: int) -> None:
    """What the proof in filters needs: every state ever reached lies within adding up's budget or within Renyi's."""
    draw = random.Random(seed)
    opening = Opening("north", 4.0, 1e-4, 1e-3, best_order(4.0, 1e-4))
    budgets = {plan: draw.choice([0.3, 1.0, 3.0]) for plan in range(6)}
    charges: list[tuple[int, GaussianSteps, float]] = []
    for _ in range(30):
        plan = draw.randrange(6)
        charges.append((plan, GaussianSteps(draw.choice([1.0, 3.0, 20.0]), 1.0, draw.choice([1, 4])), budgets[plan]))
    book = admitted(Book(opening), charges)
    assert book.links
    for upto in range(len(book.links) + 1):
        one = Book(opening, book.links[:upto])
        adding_up = one.cost.epsilon <= 4.0 + 1e-9 and one.cost.delta <= 9e-4 + 1e-12
        assert adding_up or one.cost.divergence <= renyi_budget(opening.order, 4.0, 1e-4)


def test_absurd_caps_leave_renyi_nothing_instead_of_too_much() -> None:
    for cap in (100.0, 1e6):
        assert filter_budget(2, cap, 1e-4) == 0.0
    assert 0.0 < filter_budget(3, 16.0, 1e-4) < renyi_budget(3, 16.0, 1e-4)


def test_shared_noise_is_counted_by_its_own_curve() -> None:
    alone = divergence([GaussianSteps(2.0, 1.0, 3)], 4)
    shared = divergence([GaussianSteps(2.0, 1.0, 3, Shares(3, 8.0))], 4)
    assert alone <= shared == pytest.approx(alone, rel=1e-3)


def test_costs_add_and_subtract_to_the_safe_side() -> None:
    assert Cost(1.0, 2.0, 3.0).plus(Cost(1.0, 0.0, 0.5)) == Cost(2.0, 2.0, 3.5)
    assert Cost(1.0, 2.0, 3.0).beyond(Cost(2.0, 1.0, 3.0)) == Cost(0.0, 1.0, 0.0)
