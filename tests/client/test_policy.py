"""The site's policy: its file and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from medquorum.client.policy import Policy, PolicyError, PolicyFileError
from medquorum.models.card import Architecture, InputTransform, ModelCard
from medquorum.privacy.plan import Plan, PlanSite, PrivacyTerms, TrainingTerms
from medquorum.task import Finding, Task

TASK = Task((Finding("nodule", "SCT", "27925004", "Nodule"),), "DX")
CARD = ModelCard(TASK, Architecture("small", "random", False, 8, "mean", 4.0), InputTransform(32, 0.5, 0.25), (1.0,))
PLAN = Plan(
    "tests",
    "plan",
    TASK,
    bytes(32),
    (PlanSite("a", 100), PlanSite("b", 100), PlanSite("c", 100)),
    3,
    2,
    TrainingTerms("fedavg", 1, 0.1, 0.0, 0.0, (1.0,), 0.0, False, 1.0, 0.9, 0.99, 0.001),
    PrivacyTerms("local", 8.0, 1e-5, 1.0, 2.0, 10.0, 1.0, "mean"),
    None,
    1,
)


def test_the_file_says_what_the_policy_is(tmp_path: Path) -> None:
    policy = Policy(plan_epsilon=2.5, modalities=("DX", "CR"), findings=("SCT:27925004",), minimum_quorum=4)
    policy = replace(policy, year_epsilon=6.0, hours="19:00-07:00")
    policy.write(tmp_path / "policy.toml")
    assert Policy.read(tmp_path / "policy.toml") == policy


def test_missing_keys_keep_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("plan_epsilon = 3\n")
    assert Policy.read(tmp_path / "policy.toml") == Policy(plan_epsilon=3.0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("epsilon = 3", "'epsilon'"),
        ('plan_epsilon = "3"', "plan_epsilon is not a number"),
        ("plan_epsilon = true", "plan_epsilon is not a number"),
        ("plan_epsilon = -1", "plan_epsilon is -1"),
        ("plan_epsilon = inf", "plan_epsilon is inf"),
        ("modes = [1]", "modes is not a list of texts"),
        ('modes = ["public"]', "public"),
        ('backbones = ["vgg"]', "vgg"),
        ("minimum_quorum = 0", "minimum_quorum is 0"),
        ("minimum_quorum = 1.5", "minimum_quorum is not a whole number"),
        ("plan_epsilon = ", "cannot be read"),
        ("year_epsilon = 0", "year_epsilon is 0"),
        ("hours = 7", "hours is not a text"),
        ('hours = "7-19"', "hours is '7-19'"),
        ('hours = "24:00-07:00"', "hours is '24:00-07:00'"),
        ('hours = "07:00-07:00"', "hours is '07:00-07:00'"),
    ],
)
def test_a_faulty_file_is_named_with_its_key(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "policy.toml").write_text(text)
    with pytest.raises(PolicyFileError) as caught:
        Policy.read(tmp_path / "policy.toml")
    assert named in str(caught.value)
    assert "policy.toml" in str(caught.value)


def test_what_the_defaults_allow() -> None:
    Policy().check(PLAN, CARD)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (Policy(plan_epsilon=7.9), "epsilon 8"),
        (Policy(backbones=("resnet18",)), "backbone 'small'"),
        (Policy(modalities=("MR",)), "modality 'DX'"),
        (Policy(findings=("SCT:1",)), "SCT:27925004"),
        (Policy(minimum_quorum=4), "quorum of 3"),
    ],
)
def test_what_a_policy_forbids(policy: Policy, reason: str) -> None:
    with pytest.raises(PolicyError, match=reason):
        policy.check(PLAN, CARD)


def test_no_privacy_is_not_among_the_defaults() -> None:
    open_plan = replace(PLAN, privacy=replace(PLAN.privacy, mode="none"))
    with pytest.raises(PolicyError, match="mode 'none'"):
        Policy().check(open_plan, CARD)
    Policy(modes=("none",)).check(open_plan, CARD)


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("19:00-07:00", ["19:00", "23:59", "00:00", "06:59"], ["07:00", "12:30", "18:59"]),
        ("07:30-08:00", ["07:30", "07:59"], ["07:29", "08:00", "00:00"]),
        ("", ["00:00", "12:00"], []),
    ],
)
def test_hours(hours: str, inside: list[str], outside: list[str]) -> None:
    policy = Policy(hours=hours)
    for clock in inside:
        policy.require_open(datetime.fromisoformat(f"2026-05-01T{clock}"))
    for clock in outside:
        with pytest.raises(PolicyError, match=f"between {hours} only, by its local time, and it is {clock}"):
            policy.require_open(datetime.fromisoformat(f"2026-05-01T{clock}"))
