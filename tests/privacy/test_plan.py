"""A plan refuses what contradicts itself before any site sees it, and says what would do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from medquorum.privacy import wire
from medquorum.privacy.accounting import plan_epsilon
from medquorum.privacy.calibration import calibrated_terms
from medquorum.privacy.errors import PlanError, UnaccountableError
from medquorum.privacy.events import GaussianSteps, plan_events, round_events
from medquorum.privacy.plan import EvaluationTerms, Gate, Plan, PlanSite, PrivacyTerms, TrainingTerms
from medquorum.task import Finding, Task

TRAINING = TrainingTerms(
    strategy="fedavg",
    local_steps=2,
    learning_rate=0.1,
    momentum=0.0,
    proximal=0.0,
    finding_weights=(1.0,),
    region_weight=0.0,
    augmentation=False,
    server_learning_rate=1.0,
    server_beta1=0.9,
    server_beta2=0.99,
    server_tau=1e-3,
)
PRIVACY = calibrated_terms(epsilon=8.0, delta=1e-3, clip=0.1, sampling_rate=1.0, steps=20, max_noise_multiplier=10.0)
PLAN = Plan(
    consortium="consortium",
    name="plan",
    task=Task((Finding("mass", "SCT", "4147007", "Mass"),), "DX"),
    release=bytes(32),
    sites=(PlanSite("north", 300), PlanSite("south", 5)),
    quorum=2,
    rounds=10,
    training=TRAINING,
    privacy=PRIVACY,
    evaluation=None,
    seed=1,
)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"consortium": ""}, "consortium"),
        ({"name": ""}, "name"),
        ({"release": b"short"}, "SHA-256"),
        ({"sites": ()}, "no site"),
        ({"sites": (PlanSite("a", 4), PlanSite("a", 5)), "quorum": 1}, "share a name"),
        ({"sites": (PlanSite("a", 3), PlanSite("b", 90)), "quorum": 1}, "a site with 3 training patients"),
        ({"quorum": 3}, "quorum of 3 out of 2"),
        ({"quorum": 0}, "quorum of 0"),
        ({"rounds": 0}, "rounds is 0"),
        ({"evaluation": EvaluationTerms(10, 1, 1.0)}, "0 sites declare 1 or more held-out patients and the quorum is"),
        ({"sites": (PlanSite("a", 9, 2000),), "quorum": 1, "evaluation": EvaluationTerms(9, 1, 1.0)}, "1/2000"),
        ({"sites": (PlanSite("a", 9, 9),), "quorum": 1, "evaluation": EvaluationTerms(9, 1, 0.0)}, "only mode 'none'"),
        (
            {"sites": (PlanSite("a", 9, 9),), "quorum": 1, "evaluation": EvaluationTerms(9, 1, 1.0, gate=Gate(0.1, 1))},
            "tolerates 1 sites of the 1",
        ),
        ({"task": Task((Finding("a", "S", "1", "A"), Finding("b", "S", "2", "B")), "DX")}, "1 finding weights for 2"),
        ({"sites": (PlanSite("north", 1000),), "quorum": 1}, "not below 1/1000"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(PlanError, match=named) as refusal:
        dataclasses.replace(PLAN, **change)
    assert refusal.value.fix


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"clip": 0.0}, "clip"),
        ({"clip": -1.0}, "clip"),
        ({"clip": float("inf")}, "clip"),
        ({"sampling_rate": 0.0}, "sampling_rate"),
        ({"sampling_rate": 1.5}, "sampling_rate"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"delta": 0.0}, "delta"),
        ({"delta": 1.0}, "delta"),
        ({"noise_multiplier": 0.0}, "noise multiplier is 0"),
        ({"noise_multiplier": 11.0}, "above the plan's maximum of 10"),
    ],
)
def test_privacy_terms_out_of_range_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(PlanError, match=named):
        dataclasses.replace(PRIVACY, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"local_steps": 0},
        {"learning_rate": 0.0},
        {"momentum": 1.0},
        {"proximal": -1.0},
        {"region_weight": -1.0},
        {"server_learning_rate": 0.0},
        {"server_beta1": 1.0},
        {"server_beta2": -0.1},
        {"server_tau": 0.0},
        {"finding_weights": (0.0,)},
        {"strategy": "fedprox"},
        {"proximal": 0.1},
    ],
)
def test_training_terms_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PlanError):
        dataclasses.replace(TRAINING, **change)


def test_a_site_without_patients_or_name_is_refused() -> None:
    for name, patients in (("", 3), ("north", 0)):
        with pytest.raises(PlanError):
            PlanSite(name, patients)


def test_a_refused_delta_comes_with_one_that_works() -> None:
    with pytest.raises(PlanError) as refusal:
        dataclasses.replace(PLAN, privacy=dataclasses.replace(PRIVACY, delta=0.1))
    assert "0.0003 would do" in refusal.value.fix
    dataclasses.replace(PLAN, privacy=dataclasses.replace(PRIVACY, delta=0.0003))


def test_a_site_is_found_by_name() -> None:
    assert PLAN.nominal("south") == 5
    with pytest.raises(PlanError, match="'west'"):
        PLAN.nominal("west")


def test_a_plan_costs_what_its_steps_cost() -> None:
    assert PLAN.steps == 20
    assert round_events(PLAN) == (GaussianSteps(PRIVACY.noise_multiplier, 1.0, 2),)
    assert plan_events(PLAN) == (GaussianSteps(PRIVACY.noise_multiplier, 1.0, 20),)
    assert 7.99 < plan_epsilon(PLAN) <= 8.0


def test_a_plan_that_costs_more_than_it_states_is_refused_with_what_it_costs() -> None:
    with pytest.raises(UnaccountableError, match=r"states epsilon 8 but its 40 steps") as refusal:
        plan_epsilon(dataclasses.replace(PLAN, rounds=20))
    stated = float(refusal.value.fix.split()[2].rstrip(","))
    honest = dataclasses.replace(PRIVACY, epsilon=stated)
    assert plan_epsilon(dataclasses.replace(PLAN, rounds=20, privacy=honest)) <= stated


def test_a_plan_without_privacy_releases_no_accountable_event() -> None:
    open_plan = dataclasses.replace(PLAN, privacy=PrivacyTerms("none", 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, "mean"))
    assert round_events(open_plan) == plan_events(open_plan) == ()
    assert plan_epsilon(open_plan) == 0.0


def test_whole_numbers_given_for_real_ones_hash_alike() -> None:
    whole = PrivacyTerms("local", 8, 1e-3, 1, 2, 100, 1, "mean")  # pyright: ignore[reportArgumentType]
    assert wire.encode(whole) == wire.encode(PrivacyTerms("local", 8.0, 1e-3, 1.0, 2.0, 100.0, 1.0, "mean"))
    assert wire.decode(PrivacyTerms, wire.encode(whole)) == whole
