"""Seconds that a federated round takes beyond training: our nodes with the encrypted sum, beside stock SuperNodes.

Both sides run on this machine over loopback, with TLS, node authentication, the same SuperLink program and four node
processes, and carry a vector of the same length down and up. Ours agrees on keys, trains on four tiny images (counted
in its time), masks and opens the sum; a stock SuperNode starts a process for each message, which returns the vector it
was sent. The two are measured in turn while the other's processes idle.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from itertools import count
from pathlib import Path

from _harness import Cell, compare, main, say
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from hospitals import make_node, make_plan, make_privacy, make_release, make_training

from medquorum.client.policy import Policy
from medquorum.models.parameters import to_vector
from medquorum.privacy.certificates import Issued, issue, make_authority
from medquorum.server.network import requests
from medquorum.server.network.superlink import LOOPBACK, SuperLink, environment, free_port, running
from medquorum.server.run_folder import Settings
from medquorum.simulations.engine.processes import Consorts, consortium, finished

SITES = ("east", "north", "south", "west")
SETTINGS = Settings(aggregation="secure", gather_seconds=300.0, step_seconds=300.0, attempts=3, wait_seconds=0.5)
NOTES = (
    "four node processes each, TLS 1.3 and node authentication on loopback; medians of the rounds after the first",
    "ours includes the front door, key agreement, shares, masking, unmasking, the checkpoint, and training on 4 images",
    "stock includes no training and no privacy: the app returns the vector that it was sent",
)
_PROJECT = b"""[project]
name = "echo"
version = "0.1.0"
description = "Returns what it is sent."
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "medquorum"
[tool.flwr.app.components]
serverapp = "echo.app:server"
clientapp = "echo.app:client"
[tool.flwr.app.config]
length = 0
rounds = 0
result = ""
"""
_MODULE = b"""import json
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

client, server = ClientApp(), ServerApp()


@client.train()
def train(message, context):
    return Message(message.content, reply_to=message)


@server.main()
def main(grid, context):
    config = context.run_config
    vector = np.zeros(int(config["length"]), dtype=np.float32)
    while len(nodes := list(grid.get_node_ids())) < 4:
        time.sleep(0.2)
    seconds = []
    for number in range(int(config["rounds"])):
        begun = time.monotonic()
        content = RecordDict({"vector": ArrayRecord([vector])})
        messages = [Message(content, node, "train", group_id=str(number)) for node in nodes]
        answers = list(grid.send_and_receive(messages, timeout=900))
        vector = sum(answer.content["vector"].to_numpy_ndarrays()[0] for answer in answers) / len(nodes)
        seconds.append(time.monotonic() - begun)
    result = Path(config["result"])
    result.with_suffix(".new").write_text(json.dumps(seconds))
    result.with_suffix(".new").replace(result)
"""


class Ours:
    """Federations of a running consortium."""

    def __init__(self, consorts: Consorts, width: int, rounds: int) -> None:
        self._consorts = consorts
        self._release = make_release(width=width)
        self._rounds = rounds
        self._turns = count(1)
        self.length = int(to_vector(self._release.network().trainable()).numel())

    def round(self) -> float:
        """Seconds of a round: the median of a federation's, but for the first, before which images are loaded."""
        name = f"turn{next(self._turns)}"
        plan = make_plan(
            self._release,
            dict.fromkeys(SITES, 10),
            name=name,
            quorum=3,
            rounds=self._rounds,
            evaluation=None,
            training=make_training(local_steps=1),
            privacy=make_privacy(noise_multiplier=30.0, max_noise_multiplier=100.0, epsilon=5.0),
        )
        request = requests.ask_for(self._consorts.coordinator, name, plan, self._release, SETTINGS)
        while request.state not in ("finished", "stopped"):
            time.sleep(0.5)
            request = requests.read(request.folder)
        if request.state == "stopped":
            raise SystemExit(f"the federation stopped: {request.detail}")
        return statistics.median(log.seconds for log in finished(request.folder).rounds[1:])


class Stock:
    """Runs of the echoing app on stock SuperNodes."""

    def __init__(self, link: SuperLink, folder: Path, length: int, rounds: int) -> None:
        self._link = link
        self._folder = folder
        self._length = length
        self._rounds = rounds
        self._turns = count(1)

    def round(self) -> float:
        """Seconds of a round: the median of a run's, but for the first, for which the nodes install the app."""
        result = self._folder / f"turn{next(self._turns)}.json"
        files = {
            "pyproject.toml": _PROJECT,
            "README.md": b"Returns what it is sent.\n",
            "LICENSE": b"Apache-2.0\n",
            "echo/__init__.py": b"",
            "echo/app.py": _MODULE,
        }
        run = self._link.start_app(files, {"length": self._length, "rounds": self._rounds, "result": str(result)})
        while not result.exists():
            time.sleep(0.5)
            over = self._link.run_is_over(run)
            if over is not None and not result.exists():
                raise SystemExit(f"the stock run ended without a result: {over}")
        return statistics.median(json.loads(result.read_text())[1:])


@contextlib.contextmanager
def supernodes(link: SuperLink, folder: Path, certificate: Issued) -> Generator[None]:
    """Four stock SuperNodes with keys of their own, admitted and running."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for site in SITES:
            key, path = ec.generate_private_key(ec.SECP384R1()), folder / f"{site}.key"
            private = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
            path.write_bytes(key.private_bytes(*private))
            public = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            link.register(key.public_key().public_bytes(*public))
            command = [
                str(Path(sys.executable).parent / "flower-supernode"),
                *("--superlink", f"{LOOPBACK}:{link.port}", "--root-certificates", str(certificate.authority)),
                *("--auth-supernode-private-key", str(path)),
                *("--port", str(free_port())),  # of the API that its own app processes call
            ]
            with (folder / f"{site}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(command, env=environment(folder / site), stdout=log, stderr=log, cwd=folder)
                )
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()


def measure(quick: bool) -> Sequence[Cell]:
    """Both sides, set up beside each other and measured in turn."""
    width, rounds, runs = (8, 3, 1) if quick else (96, 6, 3)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        nodes = {site: folder / site for site in SITES}
        for site, place in nodes.items():
            policy = Policy(plan_epsilon=50.0)
            make_node(
                place, site, patients=4, held_out=1, images=1, policy=policy, rights=None, epsilon_cap=1e3
            ).close()
        stock = folder / "stock"
        stock.mkdir()
        make_authority(stock, "stock")
        certificate = issue(stock, "loopback", (LOOPBACK, "localhost"))
        say("starting a consortium of four nodes, and a SuperLink with four SuperNodes")
        with (
            consortium(nodes, "tests", folder / "coordinator") as consorts,
            running(stock / "flower", certificate) as link,
            supernodes(link, stock, certificate),
        ):
            ours = Ours(consorts, width, rounds)
            theirs = Stock(link, stock, ours.length, rounds)
            case = f"one round, 4 nodes, {ours.length:,} parameters"
            return [compare(case, ours.round, theirs.round, "stock flwr 1.41 SuperNode", "s", "cost", runs)]


if __name__ == "__main__":
    main("round_overhead", __doc__ or "", measure, NOTES)
