"""Whole nodes over the encrypted sum: what they keep of each other's ledgers, and a node's folder brought back."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from coordinating import COORDINATOR, invite
from hospitals import make_node, make_plan, make_release

from medquorum.client.network.secure import secure_side
from medquorum.client.node import Node
from medquorum.client.policy import Policy
from medquorum.client.trust import Trust
from medquorum.models.checkpoint import Release
from medquorum.models.parameters import to_vector
from medquorum.privacy import roster as rosters
from medquorum.privacy import wire
from medquorum.privacy.errors import LedgerError
from medquorum.privacy.identity import Identity, fingerprint
from medquorum.privacy.messages import Step, StepAnswer
from medquorum.privacy.plan import Plan
from medquorum.privacy.ranges import value_range, whole_numbers
from medquorum.privacy.secure_aggregation import QuorumLostError, SecureCoordinator, Terms

SITES = {"a": 6, "b": 6, "c": 6}
IDENTITIES = {site: Identity.create() for site in SITES}


def roster() -> rosters.Roster:
    listed = rosters.found("tests", "a", IDENTITIES["a"].public, at=1)
    for site in ("b", "c"):
        key = IDENTITIES[site].public
        listed = rosters.admit_by_word(listed, site, key, " ".join(fingerprint(key)), at=2)
    return listed


def opened(folder: Path, site: str) -> Node:
    side = secure_side(IDENTITIES[site], roster, 3)
    return Node.open(folder / site, side=side, trust=Trust("tests", COORDINATOR.public, IDENTITIES[site]))


@pytest.fixture(scope="module")
def release() -> Release:
    return make_release()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for site, patients in SITES.items():
        policy = Policy(plan_epsilon=50.0, minimum_quorum=3)
        make_node(tmp_path / site, site, patients, 2, policy, rights=None, epsilon_cap=80.0, images=1).close()
    return tmp_path


def attempt(folder: Path, plan: Plan, release: Release, number: int) -> dict[str, str]:
    """One attempt at round 1 by the three nodes, each process new; returns the refusals by site."""
    model = to_vector(release.network().trainable()).numpy().astype("<f4")
    nodes = {site: opened(folder, site) for site in SITES}
    refusals: dict[str, str] = {}
    try:
        for node in nodes.values():
            word = invite(node, plan, release)
            assert word.accepted, word.reason
        content = hashlib.sha256(model.tobytes()).digest()
        terms = Terms(
            consortium=plan.consortium,
            plan_hash=plan.hash,
            purpose="update",
            round=1,
            attempt=number,
            sites=plan.sites,
            quorum=plan.quorum,
            length=model.size,
            value_range=value_range(plan, "update"),
            content=content,
            whole=whole_numbers(plan, "update"),
        )
        coordinator = SecureCoordinator(terms, tuple(SITES), roster())
        for step in range(5):
            answers: dict[str, bytes] = {}
            for site, payload in coordinator.requests().items():
                parameters = model.tobytes() if step == 0 else b""
                asked = wire.encode(Step(plan.hash, "update", 1, number, parameters, payload))
                answer = wire.decode(StepAnswer, nodes[site].answer("train", asked))
                if answer.refusal:
                    refusals[site] = answer.refusal
                else:
                    answers[site] = answer.payload
            coordinator.receive(answers)
        assert coordinator.opened is not None
    except QuorumLostError:
        assert refusals
    finally:
        for node in nodes.values():
            node.close()
    return refusals


def test_a_restored_node_says_so_and_counts_what_it_lost(folder: Path, release: Release) -> None:
    plan = make_plan(release, SITES, evaluation=None)
    shutil.copytree(folder / "a", folder / "backup")
    assert attempt(folder, plan, release, 1) == {}
    assert attempt(folder, plan, release, 2) == {}
    with opened(folder, "a") as node:
        truth = node.ledger.head().cost
    shutil.rmtree(folder / "a")
    shutil.move(folder / "backup", folder / "a")
    # The plan was agreed to after the backup, so to this copy it is new: it counts a second time.
    assert attempt(folder, plan, release, 3) == {}
    with opened(folder, "a") as node:
        assert node.ledger.committed() == 2 * plan.privacy.epsilon
        assert node.ledger.head().cost.divergence == pytest.approx(1.5 * truth.divergence)
        assert len(node.ledger.charges()) == 1
    shutil.copy(folder / "b" / "ledger.sqlite", folder / "kept")
    assert attempt(folder, plan, release, 4) == {}
    shutil.copy(folder / "kept", folder / "b" / "ledger.sqlite")
    refusals = attempt(folder, plan, release, 5)
    assert "counts as fully spent" in refusals["b"] and "make a new plan" in refusals["b"]


def test_a_node_with_another_nodes_ledger_or_half_of_its_own_does_not_open(folder: Path) -> None:
    whole = (folder / "a" / "ledger.sqlite").read_bytes()
    shutil.copy(folder / "b" / "ledger.sqlite", folder / "a" / "ledger.sqlite")
    with pytest.raises(LedgerError, match="of site 'b', not of 'a'"):
        opened(folder, "a")
    half = whole[: len(whole) // 2]
    (folder / "a" / "ledger.sqlite").write_bytes(half)
    with pytest.raises(LedgerError) as refusal:
        opened(folder, "a")
    assert "check it against the peers" in refusal.value.fix
    assert (folder / "a" / "ledger.sqlite").read_bytes() == half, "never repaired"
    (folder / "a" / "ledger.sqlite").unlink()
    with pytest.raises(LedgerError, match="there is no ledger"):
        opened(folder, "a")
