"""A node's evaluations: frozen with the plan, noised, charged first, refused past the cap; and its vote at the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import coordinating
import hospitals
import numpy as np
import pytest
from coordinating import TRUST, invite, model, vector

from medquorum.client import federation
from medquorum.client.evaluate import evaluated, verdicts
from medquorum.client.evaluate import vote as voted
from medquorum.client.node import Node
from medquorum.models.checkpoint import Release
from medquorum.privacy import evaluation
from medquorum.privacy.accounting import epsilon
from medquorum.privacy.events import evaluation_events
from medquorum.privacy.messages import Step, StepAnswer
from medquorum.privacy.plan import EvaluationTerms, Gate, Plan, PlanSite
from medquorum.privacy.randomness import SeededRandomness

PATIENTS, HELD_OUT = 4, 4


@pytest.fixture(scope="module")
def release() -> Release:
    return hospitals.make_release()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "a"
    hospitals.make_node(folder, "a", PATIENTS, HELD_OUT, images=1, epsilon_cap=900.0).close()
    return folder


@pytest.fixture
def node(folder: Path) -> Iterator[Node]:
    with Node.open(folder, hospitals.RIGHTS) as node:
        yield node


@pytest.fixture
def plan(release: Release, request: pytest.FixtureRequest) -> Plan:
    return hospitals.make_plan(release, {"a": PATIENTS, "b": 8}, name=request.node.name, quorum=1)


def ask(node: Node, plan: Plan, release: Release, round: int = 0, attempt: int = 1) -> StepAnswer:
    return coordinating.ask(node, Step(plan.hash, "evaluation", round, attempt, model(release), b""))


def charged(node: Node, plan: Plan) -> list[tuple[str, int, int]]:
    return [(one.purpose, one.round, one.attempt) for one in node.ledger.charges() if one.plan_hash == plan.hash]


def test_the_answer_is_noised_whole_units_and_charged(node: Node, plan: Plan, release: Release) -> None:
    invite(node, plan, release)
    first, second = (vector(ask(node, plan, release, attempt=attempt)) for attempt in (1, 2))
    assert first.size == evaluation.length(plan) == 20
    assert np.array_equal(first, np.rint(first)) and not np.array_equal(first, second)
    assert bool(np.any(first % evaluation.UNIT))
    assert charged(node, plan) == [("evaluation", 0, 1), ("evaluation", 0, 2)]
    assert node.ledger.spent_on(plan.hash) == pytest.approx(epsilon([*evaluation_events(plan, 0)] * 2, 1e-3))


def test_it_is_charged_before_an_image_is_looked_at(
    node: Node, plan: Plan, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def dies(*arguments: Any) -> None:
        seen.append(len(charged(node, plan)))
        raise RuntimeError("patient Miller, born 1950")

    monkeypatch.setattr(federation, "group_histograms", dies)
    invite(node, plan, release)
    refusal = ask(node, plan, release).refusal
    assert seen == [1]
    assert "RuntimeError" in refusal and "Miller" not in refusal
    monkeypatch.undo()
    assert "answered already" in ask(node, plan, release).refusal
    assert ask(node, plan, release, attempt=2).refusal == ""


def test_it_is_refused_past_the_plans_epsilon(node: Node, plan: Plan, release: Release) -> None:
    """Five evaluations of noise 1, the planned four and the spare, cost about 8.9 and training as much as 9.93."""
    exact = replace(plan, privacy=replace(plan.privacy, epsilon=9.93))
    assert invite(node, exact, release).accepted
    refusals = [ask(node, exact, release, attempt=attempt).refusal for attempt in range(1, 8)]
    assert refusals[:5] == [""] * 5
    assert "past its 9.93" in refusals[6]
    assert node.ledger.spent_on(exact.hash) <= 9.93


def test_a_node_of_a_real_hospital_answers_with_noise_that_nobody_can_repeat(
    folder: Path, plan: Plan, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources: list[bool] = []
    made: list[np.ndarray] = []

    def spy(*arguments: Any) -> Any:
        sources.append(arguments[4].reproducible)
        return evaluated(*arguments)

    class Masked:
        def answer(self, payload: bytes, contribution: Callable[[], np.ndarray]) -> bytes:
            made.append(contribution())
            return b"masked"

    monkeypatch.setattr(federation, "evaluated", spy)
    with Node.open(folder, side=lambda part: Masked(), trust=TRUST) as node:
        assert invite(node, plan, release).accepted
        assert ask(node, plan, release).payload == b"masked"
        assert charged(node, plan) == [("evaluation", 0, 1)]
    assert sources == [False]
    assert bool(np.any(made[0] % evaluation.UNIT))


def test_only_what_the_plan_asks_for_is_answered(node: Node, plan: Plan, release: Release) -> None:
    rare = replace(plan, evaluation=EvaluationTerms(10, 0, 1.0))
    small = replace(
        plan,
        name="small cell",
        sites=(PlanSite("a", PATIENTS, 4), PlanSite("b", 8, 20)),
        evaluation=EvaluationTerms(10, 1, 1.0, minimum_patients=10),
    )
    never = replace(plan, name="never", evaluation=None)
    for one in (rare, small, never):
        assert invite(node, one, release).accepted
    assert "no evaluation after round 1" in ask(node, rare, release, round=1).refusal
    assert ask(node, rare, release, round=3).refusal == ""
    assert "declare 10 or more held-out patients, and this one does not" in ask(node, small, release).refusal
    assert "asks for no evaluation" in ask(node, never, release).refusal
    assert charged(node, small) == charged(node, never) == []


def test_who_is_measured_is_frozen_with_the_plan_and_never_trained_on(node: Node, plan: Plan, release: Release) -> None:
    exact = replace(plan, privacy=replace(plan.privacy, mode="none"))
    invite(node, exact, release)
    trained = {record.patient for record in node.store.frozen(exact.hash)}
    measured = {record.patient for record in node.store.frozen_held_out(exact.hash)}
    assert (len(trained), len(measured)) == (PATIENTS, HELD_OUT) and not trained & measured
    swapped = [min(trained)], [min(measured)]
    try:
        node.store.set_held_out(swapped[0], True)
        node.store.set_held_out(swapped[1], False)
        invite(node, exact, release)
        assert {record.patient for record in node.store.frozen(exact.hash)} == trained
        assert {record.patient for record in node.store.frozen_held_out(exact.hash)} == measured
        counts = vector(ask(node, exact, release)) / evaluation.UNIT
        assert counts.sum() == HELD_OUT
    finally:
        node.store.set_held_out(swapped[0], False)
        node.store.set_held_out(swapped[1], True)
    node.store.verify()


def test_a_held_out_patient_who_proves_to_be_one_trained_on_is_measured_no_more(
    tmp_path: Path, plan: Plan, release: Release
) -> None:
    with hospitals.make_node(tmp_path / "a", "a", 2, 2, images=1) as node:
        invite(node, plan, release)
        trained, measured = node.store.frozen(plan.hash), node.store.frozen_held_out(plan.hash)
        node.store.merge(measured[0].patient, trained[0].patient)
        assert [record.patient for record in node.store.frozen_held_out(plan.hash)] == [measured[1].patient]
        assert len(node.store.frozen(plan.hash)) == len(trained)


GATED = EvaluationTerms(10, 0, 0.5, gate=Gate(0.05, 0))


def copy_of(absent: int, present: int, patients: int, seed: int, plan: Plan) -> np.ndarray:
    """A noised copy of histograms with all patients of each class in one bin."""
    counts = np.zeros((1, 2, 10))
    counts[0, 0, absent], counts[0, 1, present] = patients, patients
    return evaluation.hidden(plan, counts.reshape(-1), SeededRandomness(seed))


def vote(plan: Plan, before: np.ndarray, after: np.ndarray) -> bool | None:
    return voted(verdicts(plan, before, after))


def test_a_site_votes_against_a_fall_and_for_anything_that_noise_explains(plan: Plan) -> None:
    gated = replace(plan, evaluation=GATED)
    good, bad, as_good = (copy_of(2, one, 100, seed, gated) for one, seed in ((7, 1), (1, 2), (7, 3)))
    assert vote(gated, good, bad) is False
    assert vote(gated, good, as_good) is True
    assert vote(gated, bad, good) is True
    few = [copy_of(2, 7, 2, seed, gated) for seed in (1, 2)]
    assert vote(gated, *few) is None
    falsely = [vote(gated, copy_of(2, 3, 12, 2 * n, gated), copy_of(2, 3, 12, 2 * n + 1, gated)) for n in range(200)]
    assert sum(one is False for one in falsely) < 20
    assert vote(plan, good, bad) is None


def test_the_vote_rides_in_the_vector_and_reads_only_copies(node: Node, plan: Plan, release: Release) -> None:
    for mode, charges in (("local", [1, 1]), ("distributed", [2, 2])):
        training = hospitals.make_training(local_steps=1)
        privacy = hospitals.make_privacy(mode=mode)
        gated = replace(plan, name=f"gated {mode}", evaluation=GATED, privacy=privacy, training=training)
        assert invite(node, gated, release).accepted, mode
        first, last = vector(ask(node, gated, release)), vector(ask(node, gated, release, round=3))
        assert first.size == last.size == 22
        assert first[-2:].tolist() == [0.0, 0.0]
        assert last[-2:].tolist() in ([0.0, 0.0], [0.0, 1.0], [1.0, 1.0])
        made = [len(one.events) for one in node.ledger.charges() if one.plan_hash == gated.hash]
        assert made == charges


def test_the_votes_are_added_up_and_read_back(plan: Plan) -> None:
    gated = replace(plan, evaluation=GATED)
    nothing = np.zeros(evaluation.cells(gated))
    total = sum((evaluation.with_votes(gated, nothing, word) for word in (True, False, None, False)), np.zeros(22))
    counts, against, given = evaluation.opened(gated, total)
    assert counts.shape == (1, 2, 10) and (against, given) == (2, 3)
    made = evaluated(gated, nothing, 3, None, SeededRandomness(1))
    assert made.vector[-2:].tolist() == [0.0, 0.0]  # nothing was kept of the starting release
