"""A whole federation by the real nodes and the real coordinator, in one process and in Flower's simulation engine."""

from __future__ import annotations

import inspect
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import hospitals
import numpy as np
import pytest
import torch

from medquorum.client import training_set
from medquorum.client.aggregation import Part
from medquorum.client.node import Node
from medquorum.models.checkpoint import Release, load, save
from medquorum.models.loss import image_losses
from medquorum.models.parameters import from_vector, to_vector
from medquorum.privacy import wire
from medquorum.privacy.accounting import epsilon
from medquorum.privacy.aggregation import Opened, PlainCoordinator, PlainSite, Vector
from medquorum.privacy.errors import AggregationError
from medquorum.privacy.plan import Plan
from medquorum.server import progress
from medquorum.server.aggregation import Gathering
from medquorum.server.errors import QuorumError, RunError
from medquorum.simulations.engine import federate
from medquorum.simulations.engine.federate import SETTINGS
from medquorum.simulations.errors import SimulationError

PATIENTS = {"a": 4, "b": 6, "c": 8}


@pytest.fixture(scope="module")
def release() -> Release:
    return hospitals.make_release()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three hospitals' closed folders, laid out once; each test uses plans of its own name."""
    root = tmp_path_factory.mktemp("hospitals")
    for site, patients in PATIENTS.items():
        hospitals.make_node(root / site, site, patients=patients, epsilon_cap=1000.0).close()
    return {site: root / site for site in PATIENTS}


@pytest.fixture
def nodes(folders: dict[str, Path]) -> Iterator[dict[str, Node]]:
    opened = {site: Node.open(folder, hospitals.RIGHTS) for site, folder in folders.items()}
    yield opened
    for node in opened.values():
        node.close()


@pytest.fixture
def plan(release: Release, request: pytest.FixtureRequest) -> Plan:
    return hospitals.make_plan(release, PATIENTS, name=request.node.name)


def charged(node: Node, plan: Plan) -> list[tuple[int, int]]:
    mine = [one for one in node.ledger.charges() if one.plan_hash == plan.hash]
    return [(one.round, one.attempt) for one in mine if one.purpose == "update"]


def test_a_private_federation_from_invitation_to_release(
    folders: dict[str, Path], plan: Plan, release: Release, tmp_path: Path
) -> None:
    events: list[progress.Event] = []
    settings = replace(SETTINGS, synthetic=True)
    outcome = federate(folders, plan, release, tmp_path, "inprocess", hospitals.RIGHTS, events.append, settings)
    assert [log.round for log in outcome.rounds] == [1, 2, 3]
    assert all(log.survivors == ("a", "b", "c") and log.missing == () for log in outcome.rounds)
    assert all(log.evaluation is not None for log in outcome.rounds)
    assert outcome.before is not None
    assert load(tmp_path / "final").hash == outcome.release.hash != release.hash
    record = outcome.release.card.training[-1]
    assert (record.sites, record.nominal_patients) == (("a", "b", "c"), (4, 6, 8))
    assert (record.synthetic, record.aggregation, record.epsilon) == (True, "plain", plan.privacy.epsilon)
    assert isinstance(events[-1], progress.RunFinished)
    for site, folder in folders.items():
        with Node.open(folder) as node:
            assert charged(node, plan) == [(1, 1), (2, 1), (3, 1)], site
            mine = [one for one in node.ledger.charges() if one.plan_hash == plan.hash]
            trained, measured = (
                epsilon([event for one in mine if one.purpose == side for event in one.events], plan.privacy.delta)
                for side in ("update", "evaluation")
            )
            assert node.ledger.spent_on(plan.hash) == pytest.approx(max(trained, measured))
            assert 0.0 < min(trained, measured) < max(trained, measured) <= plan.privacy.epsilon


def test_the_same_seed_gives_the_same_release_twice(
    nodes: dict[str, Node], plan: Plan, release: Release, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The second time in freshly made hospitals, so that nothing but the seed can be what they have in common."""
    short = replace(plan, rounds=1)
    first = federate(nodes, short, release, tmp_path / "one")
    root = tmp_path_factory.mktemp("again")
    again = {site: hospitals.make_node(root / site, site, patients=count) for site, count in PATIENTS.items()}
    second = federate(again, short, release, tmp_path / "two")
    for node in again.values():
        node.close()
    assert first.release.hash == second.release.hash
    assert first.rounds[0].evaluation == second.rounds[0].evaluation


def test_one_full_batch_step_a_round_equals_pooled_gradient_descent(
    nodes: dict[str, Node], plan: Plan, release: Release, tmp_path: Path
) -> None:
    """Without privacy, FedAvg over one local step is descent on the mean over all hospitals' patients, each the mean
    over their images. The pooled figures come from autograd on all rows at once, without any of our trainer."""
    plan = replace(
        plan,
        privacy=hospitals.make_privacy(mode="none"),
        training=hospitals.make_training(local_steps=1, learning_rate=0.2, region_weight=0.5),
    )
    outcome = federate(nodes, plan, release, tmp_path)
    inputs, targets, weights = [], [], []
    for node in nodes.values():
        rows = training_set.build(node.store, node.store.frozen(plan.hash), release)
        counts = np.bincount(rows.patients)
        inputs.append(rows.inputs)
        targets.append(rows.targets)
        weights.append(1.0 / (sum(PATIENTS.values()) * counts[rows.patients]))
    network = release.network()
    pooled = torch.from_numpy(np.concatenate(weights))
    vector = to_vector(network.trainable()).double()
    for _ in range(plan.rounds):
        from_vector(network.trainable(), vector.float())
        network.zero_grad()
        losses = [image_losses(network(x), y, torch.ones(1), 0.5) for x, y in zip(inputs, targets, strict=True)]
        (torch.cat(losses).double() * pooled).sum().backward()
        parameters = dict(sorted(network.named_parameters()))
        gradient = torch.cat([parameter.grad.reshape(-1) for parameter in parameters.values()])
        vector = vector - 0.2 * gradient.double()
    ours = to_vector(outcome.release.network().trainable()).double()
    moved = (vector - to_vector(release.network().trainable()).double()).norm()
    assert moved > 0.01
    assert float((ours - vector).norm() / moved) < 1e-4
    for node in nodes.values():
        assert charged(node, plan) == []


def test_a_hospital_that_refuses_is_named_and_the_others_go_on(
    nodes: dict[str, Node], plan: Plan, release: Release, tmp_path: Path
) -> None:
    plan = replace(plan, quorum=2, rounds=1, sites=(*plan.sites[:2], replace(plan.sites[2], name="d")))
    outcome = federate(nodes, plan, release, tmp_path)
    assert outcome.rounds[0].survivors == ("a", "b")
    assert [one.site for one in outcome.rounds[0].missing] == ["d"]


def test_a_plan_above_every_cap_is_refused_with_the_figures(
    nodes: dict[str, Node], plan: Plan, release: Release, tmp_path: Path
) -> None:
    plan = replace(plan, privacy=replace(plan.privacy, epsilon=60.0))
    with pytest.raises(QuorumError) as caught:
        federate(nodes, plan, release, tmp_path)
    for site in PATIENTS:
        assert f"{site} (refused: the plan may spend epsilon 60" in str(caught.value)


def test_a_node_without_rights_takes_no_part_in_a_simulation(
    folders: dict[str, Path], plan: Plan, release: Release, tmp_path: Path
) -> None:
    with pytest.raises(QuorumError, match="has joined no consortium"):
        federate(folders, plan, release, tmp_path)


def test_a_changed_plan_does_not_continue_a_run(
    nodes: dict[str, Node], plan: Plan, release: Release, tmp_path: Path
) -> None:
    federate(nodes, replace(plan, rounds=1), release, tmp_path)
    with pytest.raises(RunError, match="another plan"):
        federate(nodes, replace(plan, rounds=2), release, tmp_path)


_COORDINATOR = """
import os, signal, sys
from pathlib import Path
from medquorum.client.rights import SimulationRights
from medquorum.models.checkpoint import load
from medquorum.privacy import wire
from medquorum.privacy.plan import Plan
from medquorum.server.progress import SiteAnswered
from medquorum.simulations.engine import federate

root, out = Path(sys.argv[1]), Path(sys.argv[2])

def watch(event):
    if event == SiteAnswered("b", "update", 2):
        os.kill(os.getpid(), signal.SIGKILL)

federate(
    {site: root / site for site in "abc"},
    wire.decode(Plan, (out / "plan").read_bytes()),
    load(out / "release"),
    out / "run",
    rights=SimulationRights(seed=11),
    on_event=watch,
)
"""


def test_killed_inside_a_round_a_run_goes_on(
    folders: dict[str, Path], plan: Plan, release: Release, tmp_path: Path
) -> None:
    """kill -9 inside round 2, when two of three hospitals had trained: it ends with three rounds, round 1 is not
    repeated, and what was charged for the lost attempt stays charged."""
    (tmp_path / "plan").write_bytes(wire.encode(plan))
    save(release, tmp_path / "release")
    command = [sys.executable, "-c", _COORDINATOR, str(folders["a"].parent), str(tmp_path)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    events: list[progress.Event] = []
    outcome = federate(folders, plan, release, tmp_path / "run", rights=hospitals.RIGHTS, on_event=events.append)
    assert progress.Resumed(1) in events
    assert [log.round for log in outcome.rounds] == [1, 2, 3]
    assert [log.attempts for log in outcome.rounds] == [1, 2, 1]
    expected = {
        "a": [(1, 1), (2, 1), (2, 2), (3, 1)],
        "b": [(1, 1), (2, 1), (2, 2), (3, 1)],
        "c": [(1, 1), (2, 2), (3, 1)],
    }
    for site, folder in folders.items():
        with Node.open(folder) as node:
            assert charged(node, plan) == expected[site]


def test_flower_keeps_what_the_ray_engine_stands_on() -> None:
    """The private entry that `flwr run` uses; the engine passes these by name."""
    from flwr.simulation.run_simulation import _run_simulation

    names = inspect.signature(_run_simulation).parameters
    assert {"num_supernodes", "exit_event", "client_app", "server_app", "server_app_context", "backend_config"} <= set(
        names
    )


def test_ray_takes_no_open_nodes(nodes: dict[str, Node], plan: Plan, release: Release, tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="open nodes"):
        federate(nodes, plan, release, tmp_path, engine="ray")


class ReadySite:
    """A site's side of a made-up protocol: it says that it is ready, and gives its vector in the next step.

    It remembers the first step only in memory, so it ends a run whose node does not stay in one process.
    """

    def __init__(self, part: Part) -> None:
        self._ready = False

    def answer(self, payload: bytes, contribution: Callable[[], Vector]) -> bytes:
        if payload == b"ready?":
            self._ready = True
            return b"yes"
        if not self._ready:
            raise AggregationError("nobody asked whether this site is ready")
        return PlainSite().answer(payload, contribution)


class ReadyCoordinator:
    """The coordinator's side of it."""

    def __init__(self, gathering: Gathering) -> None:
        self._cohort = gathering.cohort
        self._asked = False
        self._plain = PlainCoordinator(gathering.cohort, gathering.plan.quorum, gathering.length)

    @property
    def opened(self) -> Opened | None:
        return self._plain.opened

    def requests(self) -> Mapping[str, bytes]:
        return self._plain.requests() if self._asked else dict.fromkeys(self._cohort, b"ready?")

    def receive(self, answers: Mapping[str, bytes]) -> None:
        if self._asked:
            self._plain.receive(answers)
        self._asked = True


def test_an_aggregation_of_several_steps_gives_the_plain_ones_release(
    folders: dict[str, Path], plan: Plan, release: Release, tmp_path: Path
) -> None:
    plan = replace(plan, privacy=hospitals.make_privacy(mode="none"), rounds=2)
    simple = federate(folders, plan, release, tmp_path / "plain", rights=hospitals.RIGHTS)
    again = replace(plan, name=f"{plan.name} again")
    settings = replace(SETTINGS, aggregation="ready")
    sides = {"ready": ReadyCoordinator}
    stepped = federate(
        folders,
        again,
        release,
        tmp_path / "ready",
        "inprocess",
        hospitals.RIGHTS,
        progress.silent,
        settings,
        sides,
        ReadySite,
    )
    one, two = (to_vector(one.release.network().trainable()) for one in (simple, stepped))
    assert torch.equal(one, two)
    assert stepped.release.card.training[-1].aggregation == "ready"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_flowers_simulation_engine_gives_the_same_release(
    folders: dict[str, Path], release: Release, plan: Plan, tmp_path: Path
) -> None:
    """Ray and the loop in one process run the same nodes with the same seed, here by the protocol of two steps, so
    that a node that moved between processes would be found out. Each Ray process has its own number of threads, so
    sums differ in their last bits, and an activation within a bit of zero may fall on its other side: that was seen to
    move weights by 5e-5. Another draw of the noise, whose deviation is about 0.02, moves them a hundred times more."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes cannot import a test
    plan = replace(plan, rounds=2)
    settings = replace(SETTINGS, aggregation="ready")
    sides = {"ready": ReadyCoordinator}
    remote = federate(
        folders, plan, release, tmp_path / "ray", "ray", hospitals.RIGHTS, progress.silent, settings, sides, ReadySite
    )
    assert [log.survivors for log in remote.rounds] == [("a", "b", "c")] * 2
    root = tmp_path / "again"
    for site, count in PATIENTS.items():
        hospitals.make_node(root / site, site, patients=count).close()
    copies = {site: root / site for site in PATIENTS}
    local = federate(
        copies,
        plan,
        release,
        tmp_path / "local",
        "inprocess",
        hospitals.RIGHTS,
        progress.silent,
        settings,
        sides,
        ReadySite,
    )
    one, two = (to_vector(one.release.network().trainable()) for one in (remote, local))
    assert torch.allclose(one, two, rtol=0, atol=1e-3)
    assert remote.traffic == local.traffic


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_refusal_in_flowers_simulation_engine_comes_out_as_ours(
    folders: dict[str, Path], release: Release, plan: Plan, tmp_path: Path
) -> None:
    with pytest.raises(QuorumError, match="has joined no consortium"):
        federate(folders, plan, release, tmp_path, "ray")
