"""Evaluations as releases: the noise of the opened sum, what the plan is calibrated and charged for, and refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hospitals import TASK, make_privacy, make_training
from scipy import stats

from medquorum.privacy import evaluation
from medquorum.privacy.accounting import epsilon, gaussian_epsilon, plan_epsilon
from medquorum.privacy.calibration import calibrated_evaluation
from medquorum.privacy.errors import BudgetError, PlanError, UnaccountableError
from medquorum.privacy.events import GaussianSteps, evaluation_events, plan_evaluation_events, plan_events
from medquorum.privacy.filters import divergence
from medquorum.privacy.ledger import Ledger
from medquorum.privacy.plan import EvaluationTerms, Gate, Mode, Plan, PlanSite
from medquorum.privacy.randomness import SeededRandomness
from medquorum.privacy.subgroups import SubgroupGate, parsed

DRAWS = 4000
FINDINGS = len(TASK.findings)


def plan_of(mode: Mode, **changes: Any) -> Plan:
    """Four sites of whom three are needed; in mode "distributed" one of them may collude. Twenty cells in all."""
    plain = Plan(
        consortium="tests",
        name="evaluated",
        task=TASK,
        release=bytes(32),
        sites=tuple(PlanSite(name, 100, 50) for name in "abcd"),
        quorum=3,
        rounds=3,
        training=make_training(local_steps=1),
        privacy=make_privacy(mode=mode, colluding=int(mode == "distributed"), noise_multiplier=3.0),
        evaluation=EvaluationTerms(10, 1, 1.5),
        seed=1,
    )
    return replace(plain, **changes)


def opened_noise(plan: Plan, sites: int, make: Callable[..., np.ndarray] = evaluation.hidden) -> np.ndarray:
    """The noise of the opened sum over so many sites, in patients, cell after cell of many draws."""
    nothing = np.zeros(evaluation.cells(plan))
    source = SeededRandomness(3, plan.privacy.mode, sites)
    rounds = DRAWS // nothing.size
    sums = [sum(make(plan, nothing, source) for _ in range(sites)) for _ in range(rounds)]
    return np.concatenate(sums) / evaluation.UNIT


def looks_like(noise: np.ndarray, deviation: float) -> bool:
    """By its shape (Kolmogorov and Smirnov) and by its variance (chi-square), each at one in a thousand."""
    shape = stats.kstest(noise, stats.norm(scale=deviation).cdf).pvalue
    scaled = float((noise**2).sum()) / deviation**2
    low, high = stats.chi2.ppf([0.0005, 0.9995], noise.size)
    return shape > 1e-3 and low < scaled < high


@pytest.mark.parametrize(("mode", "sites"), [("local", 1), ("local", 4), ("distributed", 3), ("distributed", 4)])
def test_the_opened_noise_is_as_large_as_claimed(mode: Mode, sites: int) -> None:
    """Every site adds the full noise in mode "local"; shared, what the colluder cannot take from the quorum is full."""
    plan = plan_of(mode)
    full = 1.5 * math.sqrt(FINDINGS)
    assert evaluation.deviation(plan, evaluation.share_count(plan)) == pytest.approx(full)
    noise = opened_noise(plan, sites)
    assert looks_like(noise, full * math.sqrt(sites / evaluation.share_count(plan)))
    assert evaluation.deviation(plan, sites) == pytest.approx(full * math.sqrt(sites / evaluation.share_count(plan)))
    assert np.array_equal(noise * evaluation.UNIT, np.rint(noise * evaluation.UNIT))


def test_half_the_noise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, draw = plan_of("local"), evaluation.integer_gaussian
    monkeypatch.setattr(evaluation, "integer_gaussian", lambda size, scale, source: draw(size, scale / 2.0, source))
    assert not looks_like(opened_noise(plan, 1), 1.5 * math.sqrt(FINDINGS))


# One sex, and three ranges of age of which two can hold one patient: at most three of these do.
GROUPS = tuple(group for text in ("sex", "age<40", "age>=65", "age>=80") for group in parsed(text))
ALONE, WITH_SUBGROUPS = Gate(0.05, 1), Gate(0.05, 1, SubgroupGate(GROUPS, 0.05))


def gated(mode: Mode, gate: Gate = WITH_SUBGROUPS, every: int = 1) -> Plan:
    return plan_of(mode, evaluation=EvaluationTerms(10, every, 1.5, gate=gate))


@pytest.mark.parametrize(
    ("mode", "gate", "most"),
    [("distributed", ALONE, 1), ("distributed", WITH_SUBGROUPS, 4), ("local", WITH_SUBGROUPS, 3)],
)
def test_a_copy_has_all_the_noise_that_one_patient_in_all_their_groups_needs(mode: Mode, gate: Gate, most: int) -> None:
    plan = gated(mode, gate)
    noise = copied_noise(plan)
    assert looks_like(noise, 1.5 * math.sqrt(FINDINGS * most))
    assert evaluation.judged_deviations(plan)[-1] == pytest.approx(1.5 * math.sqrt(FINDINGS * most))


def copied_noise(plan: Plan) -> np.ndarray:
    nothing = np.zeros(evaluation.copy_cells(plan))
    source = SeededRandomness(4, plan.privacy.mode)
    draws = [evaluation.noised_copy(plan, nothing, source) for _ in range(DRAWS // nothing.size)]
    return np.concatenate(draws) / evaluation.UNIT


def test_half_the_noise_of_a_copy_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, draw = gated("distributed"), evaluation.integer_gaussian
    monkeypatch.setattr(evaluation, "integer_gaussian", lambda size, scale, source: draw(size, scale / 2.0, source))
    assert not looks_like(copied_noise(plan), 1.5 * math.sqrt(4 * FINDINGS))


def test_a_copy_is_of_all_its_groups_or_of_none() -> None:
    with pytest.raises(UnaccountableError, match="whole numbers"):
        evaluation.noised_copy(gated("local"), np.zeros(evaluation.cells(gated("local"))), SeededRandomness(1))


def test_subgroups_cost_a_copy_at_the_first_and_the_last_evaluation() -> None:
    """In mode "local", where everybody's copy is the contribution, the subgroups' is charged beside it; distributed
    there is one copy of all. Nothing else is charged, and nothing less."""
    for mode, gate, copies in (("local", ALONE, 0), ("local", WITH_SUBGROUPS, 1), ("distributed", WITH_SUBGROUPS, 1)):
        plan = gated(mode, gate)
        assert [len(evaluation_events(plan, round)) for round in range(4)] == [1 + copies, 1, 1, 1 + copies]
        for event in evaluation_events(plan, 0):
            assert event.noise_multiplier == 1.5 and event.steps == 1 and event.sampling_rate == 1.0
    whole = epsilon(evaluation_events(gated("local", ALONE), 0), 1e-4)
    both = epsilon(evaluation_events(gated("local"), 0), 1e-4)
    assert both == pytest.approx(gaussian_epsilon(math.sqrt(2.0) / 1.5, 1e-4), rel=1e-4) and both > whole
    shares = evaluation_events(gated("local"), 0)[1].shares
    assert shares is not None and shares.points == pytest.approx(evaluation.UNIT * 1.5 * math.sqrt(3 * FINDINGS))


def test_without_privacy_nothing_is_added_and_half_patients_are_no_histogram() -> None:
    plan = plan_of("none")
    counts = np.arange(float(evaluation.cells(plan)))
    assert np.array_equal(evaluation.hidden(plan, counts, SeededRandomness(1)), counts * evaluation.UNIT)
    with pytest.raises(UnaccountableError, match="whole numbers"):
        evaluation.hidden(plan_of("local"), counts + 0.5, SeededRandomness(1))


@pytest.mark.parametrize("mode", ["local", "distributed"])
@pytest.mark.parametrize("gate", [None, ALONE, WITH_SUBGROUPS], ids=["ungated", "alone", "subgroups"])
@pytest.mark.parametrize("target", [0.5, 3.0, 8.0])
def test_noise_is_calibrated_to_the_plans_epsilon_and_hardly_more(mode: Mode, gate: Gate | None, target: float) -> None:
    plan = plan_of(mode)
    privacy = replace(plan.privacy, epsilon=target, delta=1e-4, noise_multiplier=90.0, max_noise_multiplier=90.0)
    terms = calibrated_evaluation(privacy, findings=FINDINGS, rounds=3, quorum=3, bins=20, every=2, gate=gate)
    events = plan_evaluation_events(replace(plan, privacy=privacy, evaluation=terms))
    # The starting release, rounds 2 and 3, and a spare; shared or with subgroups, two copies and a spare of those.
    copies = gate is WITH_SUBGROUPS or (gate is ALONE and mode == "distributed")
    assert sum(event.steps for event in events) == 4 + 3 * copies
    cost = epsilon(events, 1e-4)
    assert 0.99 * target < cost <= target
    less = replace(terms, noise_multiplier=0.9 * terms.noise_multiplier)
    weak = replace(plan, privacy=privacy, evaluation=less)
    with pytest.raises(UnaccountableError, match="evaluations with noise"):
        plan_epsilon(weak)


def test_the_events_charged_add_up_to_the_plans() -> None:
    for mode in ("local", "distributed"):
        plan = plan_of(mode, evaluation=EvaluationTerms(10, 2, 1.5, gate=Gate(0.1, 1)))
        due = [round for round in range(4) if plan.evaluation and plan.evaluation.due(round, 3)]
        assert due == [0, 2, 3]
        charged = [event for round in due for event in evaluation_events(plan, round)]
        planned = sum(event.steps for event in plan_evaluation_events(plan))
        spare = 2 if mode == "distributed" else 1
        assert sum(event.steps for event in charged) == planned - spare
        assert epsilon(charged, 1e-3) < epsilon(plan_evaluation_events(plan), 1e-3)


def test_shared_whole_numbers_cost_what_a_gaussian_of_that_noise_does() -> None:
    for mode in ("local", "distributed"):
        (event,) = evaluation_events(plan_of(mode), 1)
        assert epsilon((event,), 1e-5) == pytest.approx(gaussian_epsilon(1.0 / 1.5, 1e-5), rel=1e-4)
        assert epsilon((event,), 1e-5) >= gaussian_epsilon(1.0 / 1.5, 1e-5)


ROUND, MEASURE = GaussianSteps(2.0, 1.0, 2), GaussianSteps(1.5, 1.0, 1)
PLAN, OTHER = b"p" * 32, b"q" * 32


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.create(tmp_path / "ledger.sqlite", "a", epsilon_cap=12.0, delta=1e-3)


def test_a_plan_costs_the_larger_of_its_two_populations(ledger: Ledger) -> None:
    ledger.charge(PLAN, "evaluation", 0, 1, [MEASURE], 6.0)
    assert ledger.spent_on(PLAN) == pytest.approx(epsilon([MEASURE], 1e-3))
    for number in (1, 2):
        ledger.charge(PLAN, "update", number, 1, [ROUND], 6.0)
        ledger.charge(PLAN, "evaluation", number, 1, [MEASURE], 6.0)
    both = epsilon([ROUND] * 2, 1e-3), epsilon([MEASURE] * 3, 1e-3)
    assert ledger.spent_on(PLAN) == pytest.approx(max(both))
    assert ledger.spent_on(PLAN) < epsilon([ROUND] * 2 + [MEASURE] * 3, 1e-3)


def test_each_population_is_refused_past_the_plans_epsilon_and_leaves_the_other_its_own(ledger: Ledger) -> None:
    cap = epsilon([MEASURE] * 2, 1e-3)
    for number in (0, 1):
        ledger.charge(PLAN, "evaluation", number, 1, [MEASURE], cap)
    with pytest.raises(BudgetError, match="past its"):
        ledger.charge(PLAN, "evaluation", 2, 1, [MEASURE], cap)
    ledger.charge(PLAN, "update", 1, 1, [GaussianSteps(2.0, 1.0, 1)], cap)
    assert ledger.spent_on(PLAN) == pytest.approx(cap)


def test_across_plans_each_counts_with_its_larger_side(ledger: Ledger) -> None:
    """A patient may be held out in one plan and trained on in the next: the sides' maxima add up, order by order."""
    order = ledger.book().opening.order
    ledger.charge(PLAN, "update", 1, 1, [ROUND], 3.0)
    ledger.charge(PLAN, "evaluation", 1, 1, [MEASURE], 3.0)
    ledger.charge(OTHER, "evaluation", 1, 1, [MEASURE] * 2, 4.0)
    ledger.charge(OTHER, "update", 1, 1, [ROUND], 4.0)
    larger = [max(divergence([ROUND], order), divergence([MEASURE] * times, order)) for times in (1, 2)]
    assert ledger.book().cost.divergence == pytest.approx(sum(larger))
    costs = [cost.divergence for cost in ledger.book().costs]
    assert costs == sorted(costs)


def test_whom_a_charge_is_about(ledger: Ledger) -> None:
    assert ledger.charge(PLAN, "evaluation", 1, 1, [MEASURE], 3.0).population == "held out"
    assert ledger.charge(PLAN, "update", 1, 1, [ROUND], 3.0).population == "trained on"


def test_only_sites_that_declare_enough_are_asked() -> None:
    sites = (*(PlanSite(name, 100, 50) for name in "abc"), PlanSite("d", 100, 9), PlanSite("e", 100))
    plan = plan_of("local", sites=sites, evaluation=EvaluationTerms(10, 1, 1.5, minimum_patients=10))
    assert plan.asked == ("a", "b", "c")
    with pytest.raises(PlanError, match="3 sites declare 10 or more"):
        replace(plan, quorum=4)
    assert replace(plan, evaluation=None).asked == ()


def test_training_is_charged_as_before() -> None:
    assert plan_events(plan_of("local")) == (GaussianSteps(3.0, 1.0, 3),)
    assert plan_evaluation_events(plan_of("local", evaluation=None)) == ()
    assert plan_evaluation_events(plan_of("none")) == ()
