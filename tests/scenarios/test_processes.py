"""A federation of real processes: a coordinator and nodes, TLS on loopback, enrolment, the encrypted sum."""

from __future__ import annotations

from pathlib import Path

import pytest
from hospitals import make_node, make_plan, make_release

from medquorum.client.node import Node
from medquorum.client.policy import Policy
from medquorum.server.progress import RoundFinished, RunFinished
from medquorum.simulations.engine.processes import federate_in_processes

POLICY = Policy(plan_epsilon=50.0, minimum_quorum=3)


@pytest.fixture
def nodes(tmp_path: Path) -> dict[str, Path]:
    folders = {site: tmp_path / site for site in ("east", "north", "south", "west")}
    for site, folder in folders.items():
        make_node(folder, site, policy=POLICY, rights=None).close()
    return folders


def test_four_hospitals_federate_over_tls_and_only_their_sum_is_opened(nodes: dict[str, Path], tmp_path: Path) -> None:
    release = make_release()
    plan = make_plan(release, dict.fromkeys(nodes, 10), quorum=3, evaluation=None)
    events: list[object] = []
    outcome = federate_in_processes(nodes, plan, release, tmp_path / "coordinator", events.append)

    assert [log.round for log in outcome.rounds] == [1, 2, 3]
    assert all(log.survivors == tuple(sorted(nodes)) and log.attempts == 1 for log in outcome.rounds)
    assert [event.log.round for event in events if isinstance(event, RoundFinished)] == [1, 2, 3]
    assert isinstance(events[-1], RunFinished)
    assert outcome.release.card.training[-1].aggregation == "secure"
    for site, folder in nodes.items():
        with Node.open(folder) as node:
            charged = [(charge.round, charge.attempt) for charge in node.ledger.charges()]
            assert charged == [(1, 1), (2, 1), (3, 1)], site
