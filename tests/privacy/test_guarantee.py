"""What a plan promises, in words: the figures are the accountant's, and every number of colluders has its line."""

from __future__ import annotations

import dataclasses

import pytest
from hospitals import make_plan, make_privacy, make_release, make_training

from medquorum.privacy.accounting import plan_epsilon
from medquorum.privacy.errors import UnaccountableError
from medquorum.privacy.guarantee import guarantee, lines

PLAN = make_plan(make_release(), {"a": 6, "b": 6, "c": 6})
SHARED = dataclasses.replace(
    PLAN,
    training=make_training(local_steps=1),
    privacy=make_privacy(mode="distributed", noise_multiplier=2.0),
)


def test_the_plans_epsilon_is_the_larger_of_training_and_evaluation() -> None:
    promised = guarantee(PLAN)
    assert max(promised.training, promised.evaluation) == plan_epsilon(PLAN) <= promised.stated
    assert promised.collusions == () and lines(promised)[-1] == "It holds against everyone."


def test_in_mode_distributed_each_number_of_colluders_has_its_line() -> None:
    promised = guarantee(SHARED)
    assert [one.colluding for one in promised.collusions] == [0, 1, 2]
    assert promised.collusions[0].epsilon == plan_epsilon(SHARED)
    said = lines(promised)[-3:]
    assert said[0].startswith("Against the coordinator alone") and "with 1 other site that tell" in said[1]
    assert "own vector opened" in said[2] and "own vector opened" not in said[0]
    assert promised.document()["quorum"] == 3


def test_without_privacy_nothing_is_promised() -> None:
    bare = dataclasses.replace(
        PLAN,
        privacy=make_privacy(mode="none", noise_multiplier=0.0),
        evaluation=dataclasses.replace(PLAN.evaluation, noise_multiplier=0.0),
    )
    assert lines(guarantee(bare)) == ["Mode none: nothing is private, and no real node takes part."]


@pytest.mark.parametrize(("noise", "fix"), [(0.3, "Fix: state epsilon"), (1e-160, "Fix: calibrate the noise")])
def test_a_plan_that_costs_more_than_it_states_promises_nothing(noise: float, fix: str) -> None:
    with pytest.raises(UnaccountableError, match=fix):
        guarantee(dataclasses.replace(PLAN, privacy=make_privacy(noise_multiplier=noise)))
