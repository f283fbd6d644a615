"""The federation as it runs in earnest, on one machine: a coordinator and a node for each site as processes of their
own, real TLS on loopback, sites enrolled by their own keys, and the encrypted sum.

Nothing is simulated but the hospitals' patients: the nodes have no simulation rights, so their noise and sampling come
from the operating system.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...client.keys import open_node_key
from ...client.network.enrol import enrol, listed
from ...client.network.fleet import Endpoint
from ...client.network.settings import NetworkSettings
from ...models import checkpoint
from ...models.checkpoint import Release
from ...privacy import wire
from ...privacy.certificates import make_authority
from ...privacy.identity import fingerprint
from ...privacy.plan import Plan
from ...privacy.roster import admit_by_word
from ...server.measuring import gated
from ...server.network import requests
from ...server.network.consortium import Consortium
from ...server.network.superlink import LOOPBACK, free_port
from ...server.outcome import Outcome, RoundLog
from ...server.progress import RoundFinished, RunFinished, Watcher, silent
from ...server.run_folder import Checkpoint, Settings, result_folder
from ..errors import SimulationError

SETTINGS = Settings(
    aggregation="secure", synthetic=False, gather_seconds=120.0, step_seconds=600.0, attempts=3, wait_seconds=1.0
)
STARTUP_SECONDS = 300.0
LOOK_SECONDS = 0.2
# Several processes share this machine. Left alone each would start a thread for every core, and OpenMP's threads spin
# while they wait for one another.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Consorts:
    """The running processes, by site; "" is the coordinator's."""

    coordinator: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]]

    def start_coordinator(self) -> None:
        """Start (or start again) the coordinator's service."""
        serve = ["coordinator", "serve", "--folder", str(self.coordinator), "--name", LOOPBACK]
        self._start("", [*serve, "--host", LOOPBACK, "--port", str(self.port)], self.coordinator / "serve.log")

    def start_node(self, site: str, folder: Path) -> None:
        """Start (or start again) a site's resident node."""
        self._start(site, ["node", "run", "--folder", str(folder)], folder / "node.log")

    def _start(self, name: str, arguments: list[str], log: Path) -> None:
        with log.open("ab") as stream:
            command = [sys.executable, "-m", "medquorum", *arguments]
            self.processes[name] = subprocess.Popen(
                command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, env=os.environ | ONE_THREAD
            )

    def stop(self) -> None:
        """End all processes, the nodes first, so that they can say goodbye."""
        for name in sorted(self.processes, reverse=True):
            self.processes[name].terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def consortium(nodes: Mapping[str, Path], name: str, coordinator: Path) -> Generator[Consorts]:
    """A consortium of `nodes` (folders by site), enrolled, approved and trusting each other, all processes running.

    Every telephone call is made here by one person: the six words are taken from the site's own key file, and given to
    the operator and to every other site.
    """
    coordinator.mkdir(parents=True, exist_ok=True)
    Consortium.create(coordinator, name)
    authority = make_authority(coordinator, name)
    consorts = Consorts(coordinator, free_port(), {})
    try:
        consorts.start_coordinator()
        endpoint = Endpoint(f"{LOOPBACK}:{consorts.port}", authority)
        _wait_for_coordinator(consorts)
        _introduce(nodes, endpoint, Consortium(coordinator))
        for site, folder in nodes.items():
            consorts.start_node(site, folder)
        yield consorts
    finally:
        consorts.stop()


def federate_in_processes(
    nodes: Mapping[str, Path],
    plan: Plan,
    release: Release,
    out: Path,
    on_event: Watcher = silent,
    settings: Settings = SETTINGS,
) -> Outcome:
    """Carry out `plan` among the nodes in these folders by real processes; see the module.

    out: a folder for the coordinator. Raises SimulationError when a process ends by itself or the run stops, with the
    run's own reason.
    """
    with consortium(nodes, plan.consortium, out) as consorts:
        request = requests.ask_for(out, "demo", plan, release, settings)
        seen = 0
        while request.state not in ("finished", "stopped"):
            time.sleep(LOOK_SECONDS)
            _notice_ended(consorts)
            request = requests.read(request.folder)
            rounds = _rounds(request.folder)
            for log in rounds[seen:]:
                on_event(RoundFinished(log))
            seen = len(rounds)
        if request.state == "stopped":
            raise SimulationError(f"the run stopped: {request.detail}", where=str(request.folder))
        outcome = finished(request.folder)
    on_event(RunFinished(outcome.release.hash.hex(), outcome.gated))
    return outcome


def finished(folder: Path) -> Outcome:
    """What came of the finished run in `folder`."""
    state = wire.decode(Checkpoint, (folder / "checkpoint.cbor").read_bytes())
    result = result_folder(folder)
    if result is None:
        raise SimulationError("the run left no model", where=str(folder), fix="run it again")
    verdict = gated(wire.decode(Plan, (folder / "plan.cbor").read_bytes()), state.rounds[-1].evaluation)
    final = checkpoint.load(result)
    return Outcome(final, state.before, state.rounds, (), state.traffic, state.seconds, verdict)


def _rounds(folder: Path) -> tuple[RoundLog, ...]:
    path = folder / "checkpoint.cbor"
    return wire.decode(Checkpoint, path.read_bytes()).rounds if path.exists() else ()


def _introduce(nodes: Mapping[str, Path], endpoint: Endpoint, operator: Consortium) -> None:
    """Enrol every site, approve it, and put it on every other site's roster."""
    settings: dict[str, NetworkSettings] = {}
    for site, folder in nodes.items():
        settings[site] = NetworkSettings(folder, open_node_key(folder / "store"))
        if not settings[site].has_keys:
            settings[site].create_keys()
        enrol(settings[site], site, endpoint)
        operator.approve(site, " ".join(fingerprint(settings[site].identity().public)))
    for site, own in settings.items():
        roster = own.roster()
        for other, theirs in settings.items():
            if other != site and all(member.site != other for member in roster.members):
                spoken = " ".join(fingerprint(theirs.identity().public))
                roster = admit_by_word(roster, other, listed(endpoint, other).key, spoken, int(time.time()))
        own.keep_roster(roster)


def _wait_for_coordinator(consorts: Consorts) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        _notice_ended(consorts)
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, consorts.port), 1.0):
            return
        time.sleep(0.1)
    raise SimulationError(
        "the coordinator did not come up in time", where=str(consorts.coordinator / "serve.log"), fix="read that log"
    )


def _notice_ended(consorts: Consorts) -> None:
    for name, process in consorts.processes.items():
        if process.poll() is not None:
            raise SimulationError(
                f"the {'node of ' + name if name else 'coordinator'} ended by itself (status {process.returncode})",
                where=name or str(consorts.coordinator / "serve.log"),
                fix="read the end of its log",
            )
