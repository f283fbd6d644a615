"""What a node remembers of plans and attempts, across restarts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.client.agreements import AgreementError, Agreements
from medquorum.privacy.plan import Plan, PlanSite, PrivacyTerms, TrainingTerms
from medquorum.task import Finding, Task

PLAN = Plan(
    "tests",
    "plan",
    Task((Finding("nodule", "SCT", "27925004", "Nodule"),), "DX"),
    bytes(32),
    (PlanSite("a", 100),),
    1,
    2,
    TrainingTerms("fedavg", 1, 0.1, 0.0, 0.0, (1.0,), 0.0, False, 1.0, 0.9, 0.99, 0.001),
    PrivacyTerms("local", 8.0, 1e-5, 1.0, 2.0, 10.0, 1.0, "mean"),
    None,
    1,
)


def test_a_countersigned_plan_outlives_the_process(tmp_path: Path) -> None:
    first = Agreements(tmp_path / "a.sqlite")
    assert first.find(PLAN.hash) is None
    first.countersign(PLAN, 8.0)
    first.countersign(PLAN, 9.0)
    first.close()
    second = Agreements(tmp_path / "a.sqlite")
    assert second.find(PLAN.hash) == PLAN
    assert second.find(bytes(32)) is None
    second.close()


def test_an_attempt_is_begun_once_even_across_processes(tmp_path: Path) -> None:
    first = Agreements(tmp_path / "a.sqlite")
    first.countersign(PLAN, 8.0)
    first.begin(PLAN.hash, "update", 1, 2)
    first.close()
    second = Agreements(tmp_path / "a.sqlite")
    with pytest.raises(AgreementError, match="round 1, attempt 2"):
        second.begin(PLAN.hash, "update", 1, 2)
    with pytest.raises(AgreementError):
        second.begin(PLAN.hash, "update", 1, 1)
    second.begin(PLAN.hash, "evaluation", 1, 1)
    second.begin(PLAN.hash, "update", 1, 3)
    second.begin(PLAN.hash, "update", 2, 1)
    second.close()


_numbers = st.tuples(st.integers(0, 4), st.integers(1, 4))


@settings(max_examples=60, deadline=None)
@given(st.lists(_numbers, max_size=12))
def test_whatever_is_asked_begun_attempts_only_rise(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[int, int]]
) -> None:
    agreements = Agreements(tmp_path_factory.mktemp("agreements") / "a.sqlite")
    agreements.countersign(PLAN, 8.0)
    begun: list[tuple[int, int]] = []
    for numbers in asked:
        if begun and numbers <= begun[-1]:
            with pytest.raises(AgreementError):
                agreements.begin(PLAN.hash, "update", *numbers)
        else:
            agreements.begin(PLAN.hash, "update", *numbers)
            begun.append(numbers)
    agreements.close()
