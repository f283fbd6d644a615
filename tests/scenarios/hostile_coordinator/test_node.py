"""Attacks on a whole node of a real federation: no simulation rights, a pinned coordinator, a real store and ledger.

The attacker is the coordinator itself: it holds the TLS endpoint and, where the attack says so, the signing key that
the node pinned. Each attack runs against the node, which refuses and says so in its log, and against the node without
the check, where it succeeds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import coordinating
import numpy as np
import pytest
from coordinating import COORDINATOR, SITE, TRUST, model, vector
from hospitals import make_node, make_plan, make_release
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medquorum import __version__
from medquorum.client import trust as trusts
from medquorum.client.aggregation import Part, plain
from medquorum.client.agreements import Agreements
from medquorum.client.federation import Federation
from medquorum.client.node import Node
from medquorum.client.policy import Policy
from medquorum.models.checkpoint import Release
from medquorum.privacy import charges as ledger_rules
from medquorum.privacy import evaluation as evaluations
from medquorum.privacy import wire
from medquorum.privacy.errors import WireError
from medquorum.privacy.evaluation import UNIT
from medquorum.privacy.identity import Identity
from medquorum.privacy.messages import Countersignature, Greeting, Introduction, Invitation, Step, StepAnswer
from medquorum.privacy.plan import EvaluationTerms, Plan
from medquorum.privacy.plan_signatures import is_word_of, sign_plan

STRANGER = Identity.create()
PATIENTS = 6


class Masked:
    """Stands for the encrypted sum, which has its own attack suite: makes the vector and gives none of it away."""

    def answer(self, payload: bytes, contribution: Callable[[], np.ndarray]) -> bytes:
        contribution()
        return b"masked"


def masked(part: Part) -> Masked:
    return Masked()


@pytest.fixture(scope="module")
def release() -> Release:
    return make_release()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed node's folder; every test uses plans of its own name."""
    folder = tmp_path_factory.mktemp("hospital") / "a"
    policy = Policy(plan_epsilon=50.0, minimum_quorum=3)
    make_node(folder, "a", PATIENTS, 4, policy, rights=None, epsilon_cap=1000.0).close()
    return folder


@pytest.fixture
def node(folder: Path) -> Iterator[Node]:
    with Node.open(folder, side=masked, trust=TRUST) as node:
        yield node


@pytest.fixture
def plan(release: Release, request: pytest.FixtureRequest) -> Plan:
    return make_plan(release, {"a": PATIENTS, "b": 8, "c": 8}, name=request.node.name)


def invite(node: Node, plan: Plan, release: Release, by: Identity | None = COORDINATOR) -> Countersignature:
    word = coordinating.invite(node, plan, release, by)
    assert word.plan_hash == plan.hash
    assert is_word_of(SITE.public, word), "refusals are signed too"
    return word


def ask(node: Node, plan: Plan, release: Release, **changes: Any) -> StepAnswer:
    return coordinating.ask(node, replace(Step(plan.hash, "update", 1, 1, model(release), b""), **changes))


def charged(node: Node, plan: Plan) -> int:
    return sum(charge.plan_hash == plan.hash for charge in node.ledger.charges())


def test_a_plan_changed_after_countersigning(
    node: Node, plan: Plan, release: Release, monkeypatch: Any, caplog: Any
) -> None:
    """The steps of a plan with less noise under the name of the agreed one: the node knows no such plan."""
    assert invite(node, plan, release).accepted
    changed = replace(plan, privacy=replace(plan.privacy, noise_multiplier=0.5))
    refusal = ask(node, changed, release).refusal
    assert "did not countersign that plan" in refusal and "MQ308" in refusal
    assert "did not countersign that plan" in caplog.text
    assert charged(node, changed) == 0

    def whatever_is_asked(self: Agreements, plan_hash: bytes) -> Plan:
        self.countersign(changed, 50.0)
        return changed

    monkeypatch.setattr(Agreements, "find", whatever_is_asked)
    node.store.freeze(changed.hash, datetime.now(UTC))
    assert ask(node, changed, release).payload == b"masked"


def test_a_raised_epsilon_under_the_same_name(
    node: Node, plan: Plan, release: Release, monkeypatch: Any, caplog: Any
) -> None:
    """Signed by the coordinator and within the site's policy, but not what was agreed under that name."""
    assert invite(node, plan, release).accepted
    raised = replace(plan, privacy=replace(plan.privacy, epsilon=45.0))
    word = invite(node, raised, release)
    assert not word.accepted and "another plan under the name" in word.reason
    assert "another plan under the name" in caplog.text
    assert "did not countersign" in ask(node, raised, release).refusal
    monkeypatch.setattr(Agreements, "named", lambda *_: ())
    assert invite(node, raised, release).accepted


def test_an_epsilon_above_the_sites_policy(
    node: Node, plan: Plan, release: Release, monkeypatch: Any, caplog: Any
) -> None:
    raised = replace(plan, privacy=replace(plan.privacy, epsilon=60.0))
    word = invite(node, raised, release)
    assert not word.accepted and "this site's cap for one plan is 50" in word.reason
    assert "cap for one plan" in caplog.text
    monkeypatch.setattr(Policy, "check", lambda *_: None)
    assert invite(node, raised, release).accepted


def test_more_in_a_year_than_the_site_allows(
    folder: Path, plan: Plan, release: Release, monkeypatch: Any, caplog: Any
) -> None:
    second, third = (replace(plan, name=f"in the same year, {number}") for number in (2, 3))
    with Node.open(folder, side=masked, trust=TRUST) as node:
        before = node.ledger.committed_in_year()
        assert invite(node, plan, release).accepted and invite(node, second, release).accepted
        assert ask(node, plan, release).payload == b"masked"
    tight = replace(Policy.read(folder / "policy.toml"), year_epsilon=before + 45.0)
    monkeypatch.setattr(Policy, "read", lambda *_: tight)
    with Node.open(folder, side=masked, trust=TRUST) as node:
        word = invite(node, third, release)
        assert not word.accepted and "cap for a year" in word.reason
        assert "cap for a year" in caplog.text
        assert "cap for a year" in ask(node, second, release).refusal, "countersigned before the cap was lowered"
        assert charged(node, second) == 0
        monkeypatch.setattr(ledger_rules, "committed_in_year", lambda *_: 0.0)
        assert invite(node, third, release).accepted
        assert ask(node, second, release, attempt=2).payload == b"masked"


def test_steps_outside_the_sites_hours(
    folder: Path, plan: Plan, release: Release, monkeypatch: Any, caplog: Any
) -> None:
    later = [f"{datetime.now() + timedelta(hours=hours):%H:%M}" for hours in (2, 4)]
    closed = replace(Policy.read(folder / "policy.toml"), hours="-".join(later))
    monkeypatch.setattr(Policy, "read", lambda *_: closed)
    with Node.open(folder, side=masked, trust=TRUST) as node:
        assert invite(node, plan, release).accepted, "a plan may be agreed to at any hour"
        assert f"takes part between {closed.hours} only" in ask(node, plan, release).refusal
        assert "takes part between" in caplog.text
        assert charged(node, plan) == 0
        monkeypatch.setattr(Policy, "require_open", lambda *_: None)
        assert ask(node, plan, release).payload == b"masked"


@pytest.mark.parametrize("by", [STRANGER, SITE, None], ids=["a stranger", "another member", "nobody"])
def test_an_invitation_that_the_pinned_coordinator_did_not_sign(
    node: Node, plan: Plan, release: Release, by: Identity | None, monkeypatch: Any, caplog: Any
) -> None:
    word = invite(node, plan, release, by)
    assert not word.accepted and "is not signed" in word.reason
    assert "is not signed" in caplog.text
    assert "did not countersign" in ask(node, plan, release).refusal
    monkeypatch.setattr(trusts, "is_signed_by", lambda *_: True)
    assert invite(node, plan, release, by).accepted


def test_a_signature_that_was_given_for_another_plan(node: Node, plan: Plan, release: Release) -> None:
    other = replace(plan, name="another", rounds=2)
    body = Invitation(wire.encode(plan), *release.to_bytes(), sign_plan(COORDINATOR, other))
    word = wire.decode(Countersignature, node.answer("query", wire.encode(body)))
    assert not word.accepted and "not signed by the coordinator" in word.reason


def test_a_plan_of_another_consortium(node: Node, plan: Plan, release: Release) -> None:
    """One operator may run two consortia with one key; the sites' roster is for one."""
    word = invite(node, replace(plan, consortium="others"), release)
    assert not word.accepted and "this node joined 'tests'" in word.reason


def test_a_node_that_joined_no_consortium_takes_no_plan(folder: Path, plan: Plan, release: Release) -> None:
    with Node.open(folder, side=masked) as node:
        word = coordinating.invite(node, plan, release)
    assert not word.accepted and "joined no consortium" in word.reason


def test_a_plain_sum(folder: Path, plan: Plan, release: Release, monkeypatch: Any, caplog: Any) -> None:
    """Even a node that was opened with the plain side by mistake gives no plain vector away."""
    with Node.open(folder, side=plain, trust=TRUST) as node:
        assert invite(node, plan, release).accepted
        answer = ask(node, plan, release)
        assert "only to encrypted sums" in answer.refusal and not answer.payload
        assert "only to encrypted sums" in caplog.text
        assert charged(node, plan) == 0
        monkeypatch.setattr(Federation, "_side_for", lambda self, part: plain(part))
        stolen = vector(ask(node, plan, release))
        assert np.abs(stolen).max() > 0.0


def test_an_exact_evaluation(node: Node, plan: Plan, release: Release, monkeypatch: Any, caplog: Any) -> None:
    """A plan may not ask for one, and what a node answers is noised before the mask, whatever opens it."""
    exact_plan = replace(plan, name="exact", privacy=replace(plan.privacy, mode="none"))
    assert "'none' is not allowed here" in invite(node, exact_plan, release).reason
    assert "'none' is not allowed here" in caplog.text
    assert invite(node, plan, release).accepted
    monkeypatch.setattr(Federation, "_side_for", lambda self, part: plain(part))

    def opened(attempt: int) -> np.ndarray:
        return vector(ask(node, plan, release, purpose="evaluation", round=0, attempt=attempt)) / UNIT

    assert np.any(opened(1) % 1.0) and charged(node, plan) == 1
    monkeypatch.setattr(evaluations, "hidden", lambda plan, histograms, source: UNIT * histograms)
    assert opened(2).sum() == 4.0 and not np.any(opened(3) % 1.0)


def test_an_evaluation_that_the_plan_does_not_ask_for(
    node: Node, plan: Plan, release: Release, monkeypatch: Any, caplog: Any
) -> None:
    rare = replace(plan, evaluation=EvaluationTerms(10, 0, 1.0))
    assert invite(node, rare, release).accepted
    asked = {"purpose": "evaluation", "round": 1}
    assert "no evaluation after round 1" in ask(node, rare, release, **asked).refusal
    assert "no evaluation after round 1" in caplog.text
    assert charged(node, rare) == 0
    monkeypatch.setattr(Federation, "_require_asked", lambda *_: None)
    assert ask(node, rare, release, **asked).payload == b"masked"


def test_a_version_that_is_not_spoken(node: Node, plan: Plan, release: Release, caplog: Any) -> None:
    """Two minor releases apart: said at the first message, and no plan is taken until a greeting says otherwise."""
    assert wire.decode(Introduction, node.answer("query", wire.encode(Greeting("0.3.0")))).version == __version__
    assert "MQ305" in caplog.text and "0.3.0" in caplog.text
    word = invite(node, plan, release)
    assert not word.accepted and "more than one minor release apart" in word.reason and "MQ305" in word.reason
    node.answer("query", wire.encode(Greeting("0.2.7")))
    assert invite(node, plan, release).accepted


@pytest.mark.parametrize("where", ["countersigning", "beginning", "charging"])
def test_a_full_disk_is_said_and_survived(
    folder: Path, plan: Plan, release: Release, where: str, monkeypatch: Any, caplog: Any
) -> None:
    """Each of the three writes that an answer waits for meets SQLite's own word for a full disk."""

    def full(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with Node.open(folder, side=masked, trust=TRUST) as node:
        if where == "countersigning":
            with monkeypatch.context() as patch:
                patch.setattr(Agreements, "countersign", full)
                word = invite(node, plan, release)
                assert not word.accepted and "disk is full" in word.reason and "MQ307" in word.reason
        assert invite(node, plan, release).accepted
        if where != "countersigning":
            target: Any = Agreements if where == "beginning" else ledger_rules
            with monkeypatch.context() as patch:
                patch.setattr(target, "begin" if where == "beginning" else "admit", full)
                answer = ask(node, plan, release)
                assert "MQ307" in answer.refusal and not answer.payload
            assert charged(node, plan) == 0
        assert "MQ307" in caplog.text
        assert ask(node, plan, release, attempt=2).payload == b"masked", "it goes on once there is space"


def test_a_disk_that_really_is_full(tmp_path: Path, plan: Plan) -> None:
    """SQLite's limit on its own file stands for the disk's end; what was there stays readable."""
    agreements = Agreements(tmp_path / "agreements.sqlite")
    agreements.countersign(plan, 1.0)
    database = sqlite3.connect(tmp_path / "agreements.sqlite")
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.close()
    agreements._database.execute(f"PRAGMA max_page_count = {pages}")  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        for number in range(200):
            agreements.countersign(replace(plan, name=f"more {number}"), 1.0)
    assert agreements.find(plan.hash) == plan
    agreements.close()


@pytest.fixture(scope="module")
def honest(folder: Path, release: Release) -> tuple[Plan, list[tuple[str, bytes]]]:
    """A countersigned plan and the messages of an honest coordinator about it."""
    plan = make_plan(release, {"a": PATIENTS, "b": 8, "c": 8}, name="honest", evaluation=None)
    step = Step(plan.hash, "update", 1, 1, model(release), b"")
    messages = [
        ("query", wire.encode(Greeting())),
        ("query", wire.encode(Invitation(wire.encode(plan), *release.to_bytes(), sign_plan(COORDINATOR, plan)))),
        ("train", wire.encode(step)),
        ("train", wire.encode(replace(step, round=2, parameters=b""))),
        ("evaluate", wire.encode(replace(step, purpose="evaluation"))),
    ]
    with Node.open(folder, side=masked, trust=TRUST) as node:
        for kind, body in messages[:3]:
            node.answer(kind, body)  # pyright: ignore[reportArgumentType]
    return plan, messages


def test_a_duplicated_and_a_stale_step(node: Node, honest: Any, release: Release, caplog: Any) -> None:
    plan, messages = honest
    before = charged(node, plan)
    assert before == 1
    assert "which this node has begun already" in wire.decode(StepAnswer, node.answer(*messages[2])).refusal
    assert ask(node, plan, release, round=3).payload == b"masked"
    assert "already" in ask(node, plan, release, round=2).refusal, "rounds do not go back"
    assert "has begun already" in caplog.text
    assert charged(node, plan) == before + 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutilated_messages(node: Node, honest: Any, data: st.DataObject) -> None:
    """Truncated, extended, flipped, spliced and random bytes under every type: never trained on, never a crash."""
    plan, messages = honest
    before = charged(node, plan)
    kind, body = data.draw(st.sampled_from(messages))
    other = data.draw(st.sampled_from(messages))[1]
    how = data.draw(st.sampled_from(["cut", "longer", "flip", "splice", "random", "kind"]))
    place = data.draw(st.integers(0, len(body) - 1))
    if how == "cut":
        body = body[:place]
    elif how == "longer":
        body += data.draw(st.binary(min_size=1, max_size=40))
    elif how == "flip":
        body = body[:place] + bytes([body[place] ^ (1 << data.draw(st.integers(0, 7)))]) + body[place + 1 :]
    elif how == "splice":
        body = body[:place] + other[data.draw(st.integers(0, len(other))) :]
    elif how == "random":
        body = data.draw(st.binary(max_size=300))
    else:
        kind = data.draw(st.sampled_from(["query", "train", "evaluate"]))
    try:
        answer = node.answer(kind, body)
    except WireError:
        answer = b""
    if answer and wire.kind_of(answer) == "StepAnswer":
        assert wire.decode(StepAnswer, answer).refusal
    elif answer and wire.kind_of(answer) == "Countersignature":
        word = wire.decode(Countersignature, answer)
        assert not word.accepted or word.plan_hash == plan.hash
    assert charged(node, plan) == before


def test_the_log_says_when(folder: Path) -> None:
    """Times in the ledger are UTC, whatever the machine's zone: what the cap for a year counts by."""
    with Node.open(folder) as node:
        stamps = [datetime.fromisoformat(charge.at) for charge in node.ledger.charges()]
    assert stamps and all(stamp.tzinfo == UTC for stamp in stamps)
