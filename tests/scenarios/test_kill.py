"""kill -9 of whatever takes part, again and again, at random moments: the federation finishes and no charge is lost.

The test plays systemd: a killed node or coordinator is started again, and that is all that anybody does.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from hospitals import make_node, make_plan, make_privacy, make_release, make_training

from medquorum.client.policy import Policy
from medquorum.privacy.ledger import Ledger
from medquorum.server.network import requests
from medquorum.server.network.requests import Request
from medquorum.server.run_folder import Settings
from medquorum.simulations.engine.processes import Consorts, consortium, finished

KILLS = 50
ROUNDS = 60
SITES = ("east", "north", "south", "west")
# Which process dies: a node most often, since there are most of them.
VICTIMS = (*SITES, *SITES, *SITES, "service", "SuperLink", "ServerApp", "ServerApp")
SETTINGS = Settings(aggregation="secure", gather_seconds=60.0, step_seconds=20.0, attempts=3, wait_seconds=0.2)
PATIENCE = 240.0

Charged = set[tuple[str, int, int]]


def charged(folder: Path, site: str) -> Charged:
    return {(one.purpose, one.round, one.attempt) for one in Ledger.open(folder / "ledger.sqlite", site).charges()}


def descendants(root: int) -> dict[int, str]:
    """Process ids below `root` with their command lines."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                commands[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {root}
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return {pid: commands[pid] for pid in found - {root}}


class Reaper:
    """Kills processes of a consortium, and starts again those that systemd would."""

    def __init__(self, consorts: Consorts, nodes: dict[str, Path]) -> None:
        self.consorts = consorts
        self.nodes = nodes
        self.before: dict[str, Charged] = {site: set() for site in nodes}

    def kill(self, victim: str) -> bool:
        """Whether there was such a process to kill."""
        if victim in self.nodes:
            self._end(victim)
            # What the ledger held when the process died must be there for ever.
            self.before[victim] |= charged(self.nodes[victim], victim)
            self.consorts.start_node(victim, self.nodes[victim])
            return True
        if victim == "service":
            self._end("")
            self.consorts.start_coordinator()
            return True
        wanted = {"SuperLink": "flower-superlink", "ServerApp": "flwr-serverapp"}[victim]
        found = [pid for pid, line in descendants(self.consorts.processes[""].pid).items() if wanted in line]
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return bool(found)

    def _end(self, name: str) -> None:
        process = self.consorts.processes[name]
        process.kill()
        process.wait()


def wait_for_work(request: Request, journal: Path, since: float) -> Request:
    """Until a round is being attempted again, so that the next kill has something to interrupt."""
    deadline = time.monotonic() + PATIENCE
    size = journal.stat().st_size if journal.exists() else 0
    while time.monotonic() < deadline:
        request = requests.read(request.folder)
        if request.state in ("finished", "stopped") or (journal.exists() and journal.stat().st_size > size):
            return request
        time.sleep(0.05)
    pytest.fail(f"nothing happened in {PATIENCE:.0f} s after a kill")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_fifty_times_it_finishes_every_round_and_loses_no_charge(tmp_path: Path) -> None:
    nodes = {site: tmp_path / site for site in SITES}
    for site, folder in nodes.items():
        make_node(folder, site, policy=Policy(plan_epsilon=50.0), rights=None, patients=4, held_out=1, images=1).close()
    release = make_release()
    plan = make_plan(
        release,
        dict.fromkeys(nodes, 10),
        quorum=3,
        rounds=ROUNDS,
        evaluation=None,
        training=make_training(local_steps=1),
        privacy=make_privacy(noise_multiplier=30.0, max_noise_multiplier=100.0),
    )
    chance = random.Random(20261)
    coordinator = tmp_path / "coordinator"
    killed: list[str] = []
    with consortium(nodes, plan.consortium, coordinator) as consorts:
        request = requests.ask_for(coordinator, "killed", plan, release, SETTINGS)
        reaper = Reaper(consorts, nodes)
        journal = request.folder / "journal.jsonl"
        while len(killed) < KILLS:
            request = wait_for_work(request, journal, time.monotonic())
            assert request.state not in ("finished", "stopped"), (len(killed), request)
            time.sleep(chance.uniform(0.0, 1.0))
            victim = chance.choice(VICTIMS)
            if reaper.kill(victim):
                killed.append(victim)
        deadline = time.monotonic() + 4 * PATIENCE
        while request.state not in ("finished", "stopped") and time.monotonic() < deadline:
            time.sleep(0.5)
            request = requests.read(request.folder)
        assert request.state == "finished", request
    outcome = finished(request.folder)
    assert [log.round for log in outcome.rounds] == list(range(1, ROUNDS + 1))
    for site, folder in nodes.items():
        held = charged(folder, site)
        assert reaper.before[site] <= held
        took_part = {("update", log.round, log.attempts) for log in outcome.rounds if site in log.survivors}
        assert took_part <= held, "a sum holds an update that nobody was charged for"
    for log in outcome.rounds:
        assert len(log.survivors) >= plan.quorum
