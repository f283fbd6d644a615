"""What a node answers and what it refuses, with a real store, ledger and network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hospitals
import numpy as np
import pytest
from coordinating import TRUST, ask, invite, model, vector

from medquorum.client.aggregation import Part, plain
from medquorum.client.node import Node
from medquorum.client.policy import Policy
from medquorum.client.rights import SimulationRights
from medquorum.models.checkpoint import Release
from medquorum.privacy import dpsgd, wire
from medquorum.privacy.aggregation import SiteAggregation
from medquorum.privacy.errors import WireError
from medquorum.privacy.evaluation import UNIT
from medquorum.privacy.messages import Countersignature, Greeting, Introduction, Invitation, Step
from medquorum.privacy.plan import Plan

PATIENTS = 6


@pytest.fixture(scope="module")
def release() -> Release:
    return hospitals.make_release()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed node's folder, laid out once; each test opens it and uses plans of its own name."""
    folder = tmp_path_factory.mktemp("site") / "a"
    hospitals.make_node(folder, "a", patients=PATIENTS, held_out=4, epsilon_cap=500.0).close()
    return folder


@pytest.fixture
def node(folder: Path) -> Iterator[Node]:
    with Node.open(folder, hospitals.RIGHTS) as node:
        yield node


@pytest.fixture
def plan(release: Release, request: pytest.FixtureRequest) -> Plan:
    return hospitals.make_plan(release, {"a": PATIENTS, "b": 8}, name=request.node.name, quorum=1)


def step(plan: Plan, parameters: bytes, **changes: Any) -> Step:
    return replace(Step(plan.hash, "update", 1, 1, parameters, b""), **changes)


def test_a_greeting_is_answered_with_site_and_version(node: Node) -> None:
    said = wire.decode(Introduction, node.answer("query", wire.encode(Greeting())))
    assert said.site == "a"
    assert said.version


def test_a_plan_is_countersigned_and_trained(node: Node, plan: Plan, release: Release) -> None:
    assert invite(node, plan, release) == Countersignature(plan.hash, "a", True, 50.0, "")
    update = vector(ask(node, step(plan, model(release))))
    assert update.size == len(model(release)) // 4
    assert np.abs(update).max() > 0.0
    assert [(c.round, c.attempt, c.purpose) for c in node.ledger.charges() if c.plan_hash == plan.hash] == [
        (1, 1, "update")
    ]


def test_the_same_seed_gives_the_same_update_and_another_attempt_another(
    folder: Path, plan: Plan, release: Release
) -> None:
    plan = replace(plan, privacy=replace(plan.privacy, epsilon=40.0))
    vectors: list[np.ndarray] = []
    for attempt, seed in ((1, 5), (2, 5), (3, 6)):
        with Node.open(folder, SimulationRights(seed=seed)) as node:
            invite(node, plan, release)
            vectors.append(vector(ask(node, step(plan, model(release), attempt=attempt))))
    assert not np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[1], vectors[2])


def test_the_ledger_is_charged_before_training(
    node: Node, plan: Plan, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def dies(*arguments: Any, **named: Any) -> None:
        seen.append(len([charge for charge in node.ledger.charges() if charge.plan_hash == plan.hash]))
        raise RuntimeError("patient Miller, born 1950")

    monkeypatch.setattr(dpsgd, "train", dies)
    invite(node, plan, release)
    refusal = ask(node, step(plan, model(release))).refusal
    assert seen == [1]
    assert "RuntimeError" in refusal
    assert "Miller" not in refusal
    monkeypatch.undo()
    assert "was answered already" in ask(node, step(plan, model(release))).refusal
    assert ask(node, step(plan, model(release), attempt=2)).refusal == ""


def test_a_replayed_step_is_refused_also_after_a_restart(folder: Path, plan: Plan, release: Release) -> None:
    asked = step(plan, model(release), round=2)
    with Node.open(folder, hospitals.RIGHTS) as node:
        invite(node, plan, release)
        assert ask(node, asked).refusal == ""
        assert "answered already" in ask(node, asked).refusal
        assert "already" in ask(node, replace(asked, parameters=b"")).refusal
        assert "not after round 2" in ask(node, replace(asked, round=1)).refusal
    with Node.open(folder, hospitals.RIGHTS) as node:
        assert "not after round 2, attempt 1" in ask(node, asked).refusal
        assert "does not know that attempt" in ask(node, replace(asked, parameters=b"")).refusal
        assert len([charge for charge in node.ledger.charges() if charge.plan_hash == plan.hash]) == 1
        assert ask(node, replace(asked, attempt=2)).refusal == ""


def test_a_plan_that_was_not_countersigned_is_not_answered(node: Node, plan: Plan, release: Release) -> None:
    assert "did not countersign" in ask(node, step(plan, model(release))).refusal
    invite(node, plan, release)
    changed = replace(plan, training=replace(plan.training, local_steps=1))
    assert "did not countersign" in ask(node, step(changed, model(release))).refusal


def test_a_refused_plan_is_not_answered(node: Node, plan: Plan, release: Release) -> None:
    greedy = replace(plan, privacy=replace(plan.privacy, epsilon=51.0))
    assert not invite(node, greedy, release).accepted
    assert "did not countersign" in ask(node, step(greedy, model(release))).refusal


def _changed(plan: Plan, **terms: Any) -> Plan:
    return replace(plan, privacy=replace(plan.privacy, **terms))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda plan: _changed(plan, epsilon=51.0), "this site's cap for one plan is 50"),
        (lambda plan: _changed(plan, epsilon=1.0), "cost 9.928"),
        (lambda plan: replace(plan, sites=plan.sites[1:]), "does not name site 'a'"),
        (lambda plan: replace(plan, release=bytes(32)), "not the one that the plan names"),
        (lambda plan: replace(plan, task=replace(plan.task, modality="CT")), "another task"),
    ],
    ids=["above the cap", "understated", "stranger", "other release", "other task"],
)
def test_plans_that_are_refused(
    node: Node, plan: Plan, release: Release, change: Callable[[Plan], Plan], reason: str
) -> None:
    asked = change(plan)
    word = invite(node, asked, release)
    assert not word.accepted
    assert word.plan_hash == asked.hash
    assert reason in word.reason


def test_a_delta_not_below_one_patient_is_refused(node: Node, plan: Plan, release: Release) -> None:
    """A Plan object refuses such a delta itself; these are the bytes of one that does not."""
    honest = wire.encode(plan)
    forged = honest.replace(wire.encode(plan.privacy), wire.encode(replace(plan.privacy, delta=0.2)))
    assert forged != honest
    invitation = Invitation(forged, *release.to_bytes())
    word = wire.decode(Countersignature, node.answer("query", wire.encode(invitation)))
    assert not word.accepted
    assert "not below 1/6" in word.reason


def test_a_release_whose_bytes_were_changed_is_refused(node: Node, plan: Plan, release: Release) -> None:
    card, tensors = release.to_bytes()
    damaged = tensors[:-1] + bytes([tensors[-1] ^ 1])
    for tensor_bytes in (damaged, tensors[:100], b""):
        word = wire.decode(
            Countersignature,
            node.answer("query", wire.encode(Invitation(wire.encode(plan), card, tensor_bytes))),
        )
        assert not word.accepted


def test_a_ledger_that_is_nearly_full_refuses_the_plan(tmp_path: Path, plan: Plan, release: Release) -> None:
    with hospitals.make_node(tmp_path / "a", "a", patients=2, held_out=0, images=1, epsilon_cap=29.0) as node:
        word = invite(node, plan, release)
        assert not word.accepted
        assert "29 of the cap of 29 is left" in word.reason and "rounds with this noise" in word.reason


def test_retries_stop_at_the_plans_epsilon(node: Node, plan: Plan, release: Release) -> None:
    """Noise for three rounds exactly: a fourth attempt is refused by the ledger, and nothing is trained."""
    exact = replace(plan, privacy=replace(plan.privacy, epsilon=9.93))
    assert invite(node, exact, release).accepted
    refusals = [ask(node, step(exact, model(release), attempt=attempt)).refusal for attempt in (1, 2, 3, 4)]
    assert refusals[:3] == ["", "", ""]
    assert "past its 9.93" in refusals[3]
    assert len([charge for charge in node.ledger.charges() if charge.plan_hash == exact.hash]) == 3


def test_a_site_without_reviewed_patients_refuses(tmp_path: Path, plan: Plan, release: Release) -> None:
    with hospitals.make_node(tmp_path / "a", "a", patients=0, held_out=1, images=1) as node:
        word = invite(node, plan, release)
        assert "no reviewed patient" in word.reason


def test_what_only_a_simulation_may_do(folder: Path, plan: Plan, release: Release) -> None:
    open_plan = replace(plan, name="without privacy", privacy=replace(plan.privacy, mode="none"))
    with Node.open(folder, hospitals.RIGHTS) as node:
        assert invite(node, open_plan, release).accepted
    with Node.open(folder, trust=TRUST) as node:
        assert "only in simulation" in invite(node, open_plan, release).reason
        assert "only in simulation" in ask(node, step(open_plan, model(release))).refusal
        assert invite(node, plan, release).accepted
        assert "only to encrypted sums" in ask(node, step(plan, model(release))).refusal
        assert "only to encrypted sums" in ask(node, step(plan, model(release), purpose="evaluation")).refusal
        assert not [charge for charge in node.ledger.charges() if charge.plan_hash == plan.hash]
    with Node.open(folder, side=plain, trust=TRUST) as node:
        assert "only to encrypted sums" in ask(node, step(plan, model(release))).refusal


def test_without_a_simulation_noise_comes_from_the_operating_system(folder: Path, plan: Plan, release: Release) -> None:
    """A node of a real federation, given some other side of aggregation, draws from a source nobody can repeat."""
    sources: list[bool] = []
    original = dpsgd.train

    def spy(*arguments: Any, **named: Any) -> None:
        sources.append(arguments[6].reproducible)
        original(*arguments, **named)

    class Masked:
        def answer(self, payload: bytes, contribution: Callable[[], np.ndarray]) -> bytes:
            contribution()
            return b"masked"

    def side(part: Part) -> SiteAggregation:
        assert (part.site, part.round, part.length) == ("a", 1, len(model(release)) // 4)
        return Masked()

    with Node.open(folder, side=side, trust=TRUST) as node, pytest.MonkeyPatch.context() as patch:
        patch.setattr(dpsgd, "train", spy)
        invite(node, plan, release)
        assert ask(node, step(plan, model(release))).payload == b"masked"
    assert sources == [False]


def test_without_privacy_evaluation_adds_exactly_one_for_each_held_out_patient(
    node: Node, plan: Plan, release: Release
) -> None:
    plan = _changed(plan, mode="none")
    invite(node, plan, release)
    histogram = vector(ask(node, step(plan, model(release), purpose="evaluation", round=0))).reshape(2, 10)
    assert (histogram.sum(axis=1) / UNIT).tolist() == [2.0, 2.0]


def test_rounds_and_models_outside_the_plan_are_refused(node: Node, plan: Plan, release: Release) -> None:
    invite(node, plan, release)
    good = step(plan, model(release))
    assert "outside the plan" in ask(node, replace(good, round=0)).refusal
    assert "outside the plan" in ask(node, replace(good, round=4)).refusal
    assert "outside the plan" in ask(node, replace(good, attempt=0)).refusal
    assert "bytes where this plan's has" in ask(node, replace(good, parameters=b"1234")).refusal
    assert "not finite" in ask(node, replace(good, parameters=model(release, float("nan")))).refusal
    assert ask(node, good).refusal == ""


def test_frozen_records_do_not_change_after_countersigning(node: Node, plan: Plan, release: Release) -> None:
    invite(node, plan, release)
    before = node.store.frozen(plan.hash)
    assert len({record.patient for record in before}) == PATIENTS
    node.store.set_held_out([before[0].patient], True)
    try:
        invite(node, plan, release)
        assert node.store.frozen(plan.hash) == before
    finally:
        node.store.set_held_out([before[0].patient], False)


def test_bytes_that_are_no_message_of_the_kind_are_not_answered(node: Node, plan: Plan, release: Release) -> None:
    for kind, body in (
        ("query", b""),
        ("query", b"\xff" * 40),
        ("train", wire.encode(Greeting())),
        ("evaluate", wire.encode(step(plan, model(release)))),
        ("train", wire.encode(step(plan, model(release), purpose="evaluation"))),
    ):
        with pytest.raises(WireError):
            node.answer(kind, body)


def test_a_node_is_laid_out_once(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="holds a node already"):
        Node.create(folder, "a")
    with pytest.raises(Exception, match="holds no node"):
        Node.open(tmp_path)
    with Node.open(folder) as node:
        assert node.site == "a"
        assert node.policy == hospitals.OPEN_POLICY
        assert node.policy != Policy()


def test_the_adopted_release_proposes_from_then_on(folder: Path, release: Release) -> None:
    with Node.open(folder) as node:
        assert node.releases.current() is None
        node.releases.adopt(release)
    with Node.open(folder) as node:
        current = node.releases.current()
        assert current is not None
        assert current.hash == release.hash
