"""Mode "distributed" with real nodes: the same model whether the sums are plain or encrypted, charged before each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import encrypted
import hospitals
import pytest
from encrypted import Network

from medquorum.client.node import Node
from medquorum.client.policy import Policy
from medquorum.models.checkpoint import Release
from medquorum.privacy.accounting import epsilon, plan_epsilon
from medquorum.privacy.events import plan_events
from medquorum.privacy.plan import Plan
from medquorum.server.errors import QuorumError
from medquorum.server.outcome import Outcome
from medquorum.simulations.engine import federate

SITES = {"a": 5, "b": 4, "c": 5, "d": 4}


def nodes(folder: Path, policy: Policy = hospitals.OPEN_POLICY) -> dict[str, Path]:
    """Four hospitals' folders, laid out alike each time."""
    for name, patients in SITES.items():
        hospitals.make_node(folder / name, name, patients, held_out=1, images=1, policy=policy).close()
    return {name: folder / name for name in SITES}


@pytest.fixture
def release() -> Release:
    return hospitals.make_release()


@pytest.fixture
def plan(release: Release) -> Plan:
    return hospitals.make_plan(
        release,
        SITES,
        quorum=3,
        rounds=2,
        training=hospitals.make_training(local_steps=1, server_momentum=0.5),
        privacy=hospitals.make_privacy(mode="distributed", colluding=1, noise_multiplier=1.5),
        evaluation=None,
    )


def run(plan: Plan, release: Release, folder: Path, network: Network | None) -> tuple[Outcome, dict[str, Path]]:
    folders = nodes(folder)
    return encrypted.run(plan, release, folders, folder, network), folders


def test_plain_and_encrypted_sums_end_in_the_same_model_bit_for_bit(
    tmp_path: Path, plan: Plan, release: Release
) -> None:
    plain, folders = run(plan, release, tmp_path / "plain", None)
    secure, _ = run(plan, release, tmp_path / "secure", Network(SITES))
    assert [log.survivors for log in secure.rounds] == [tuple(SITES)] * plan.rounds
    records = [one.release.card.training[-1] for one in (plain, secure)]
    assert [(one.mode, one.relation, one.colluding, one.aggregation) for one in records] == [
        ("distributed", "add_or_remove_one_patient", 1, "plain"),
        ("distributed", "add_or_remove_one_patient", 1, "secure"),
    ]
    assert plain.release.to_bytes()[1] == secure.release.to_bytes()[1] != release.to_bytes()[1]
    for name, folder in folders.items():
        with Node.open(folder, hospitals.RIGHTS) as node:
            spent = node.ledger.spent_on(plan.hash)
            assert spent == pytest.approx(plan_epsilon(plan)), name
            assert spent == pytest.approx(epsilon(plan_events(plan), plan.privacy.delta))


def test_a_round_without_a_site_carries_less_noise_but_never_less_than_the_quorums(
    tmp_path: Path, plan: Plan, release: Release
) -> None:
    """One of four never shows up: three shares are opened, which is what the plan was accounted for."""
    folders = nodes(tmp_path)
    outcome = federate(
        {name: folders[name] for name in "abc"}, plan, release, tmp_path / "run", rights=hospitals.RIGHTS
    )
    assert all(log.survivors == ("a", "b", "c") for log in outcome.rounds)


def test_below_the_quorum_nothing_is_opened_and_nothing_released(tmp_path: Path, plan: Plan, release: Release) -> None:
    folders = nodes(tmp_path)
    with pytest.raises(QuorumError):
        federate({name: folders[name] for name in "ab"}, plan, release, tmp_path / "run", rights=hospitals.RIGHTS)


def test_a_node_whose_policy_does_not_name_the_mode_refuses_it(tmp_path: Path, plan: Plan, release: Release) -> None:
    folders = nodes(tmp_path, replace(hospitals.OPEN_POLICY, modes=("local",)))
    with pytest.raises(QuorumError, match="'distributed' is not allowed"):
        federate(folders, plan, release, tmp_path / "run", rights=hospitals.RIGHTS)
