"""A whole federation in this process with every byte kept that reaches the coordinator, on the wire and after TLS.

The coordinator's service has its front door tapped; between it and the nodes stands a relay that keeps what passes on
the wire.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.supercore.inflatable.inflatable_object import get_object_type_from_object_content
from hospitals import fill_node, make_plan, make_release
from numpy.typing import NDArray
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medquorum.client.answering import reply
from medquorum.client.finetune import Workbench
from medquorum.client.keys import read_node_key
from medquorum.client.network.enrol import enrol, listed
from medquorum.client.network.fleet import Endpoint, FleetTransport
from medquorum.client.network.resident import Resident
from medquorum.client.network.secure import secure_side
from medquorum.client.network.settings import NetworkSettings
from medquorum.client.node import Node
from medquorum.client.policy import Policy
from medquorum.privacy import wire
from medquorum.privacy.certificates import make_authority
from medquorum.privacy.errors import WireError
from medquorum.privacy.identity import fingerprint
from medquorum.privacy.messages import Countersignature, Introduction, StepAnswer
from medquorum.privacy.randomness import Randomness
from medquorum.privacy.roster import admit_by_word
from medquorum.server.network import requests
from medquorum.server.network.consortium import Consortium
from medquorum.server.network.service import Address, Service
from medquorum.server.network.superlink import LOOPBACK, free_port
from medquorum.server.run_folder import Settings

# Put into everything at the sites that names a patient, a file or a reader.
SECRET = "Wilhelmina-Quartzovic-MRN88231-"
# Training patients of each site: none is a round's or an attempt's number, and none is the declared 20.
SITES = {"east": 9, "north": 11, "south": 13, "west": 14}
ROUNDS = 2
SETTINGS = Settings(aggregation="secure", gather_seconds=300.0, step_seconds=300.0, wait_seconds=1.0)


class TappedService(Service):
    """The coordinator's service, keeping every request that its front door gets."""

    def __init__(self, folder: Path, address: Address) -> None:
        super().__init__(folder, address)
        self.paths: list[str] = []
        self.bodies: list[tuple[str, bytes]] = []
        self.headers = bytearray()

    def wrap(self, app: ASGIApp) -> ASGIApp:
        async def tapped(scope: Scope, receive: Receive, send: Send) -> None:
            body = bytearray()

            async def heard() -> Message:
                message = await receive()
                if message["type"] == "http.request":
                    body.extend(message.get("body", b""))
                return message

            await app(scope, heard if scope["type"] == "http" else receive, send)
            if scope["type"] == "http":
                self.headers += scope["raw_path"] + b"\n" + b"".join(b"%s: %s\n" % pair for pair in scope["headers"])
                self.paths.append(scope["path"])
                self.bodies.append((scope["path"], bytes(body)))

        return tapped

    @property
    def everything(self) -> bytes:
        return bytes(self.headers) + b"".join(body for _, body in self.bodies)


class Relay:
    """Passes TCP on to another port and keeps what each side said."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server = socket.create_server((LOOPBACK, 0))
        self.port: int = self._server.getsockname()[1]
        self.said: list[tuple[bytearray, bytearray]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((LOOPBACK, self._target))
            except OSError:
                near.close()
                continue
            kept = bytearray(), bytearray()
            self.said.append(kept)
            threading.Thread(target=self._pump, args=(near, far, kept[0]), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, kept[1]), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                kept += data
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._server.close()


@dataclass
class Capture:
    """What a whole federation showed the coordinator, and what the sites kept to themselves."""

    service: TappedService
    relay: Relay
    authority: Path
    port: int
    updates: list[tuple[str, bytes, NDArray[np.float64]]] = field(default_factory=list)

    def answers(self) -> list[object]:
        """Every answer of a node's, decoded; whatever is not one of our messages fails here."""
        found: list[object] = []
        for path, body in self.service.bodies:
            if not path.endswith("push-object"):
                continue
            content = PushObjectRequest.FromString(body).object_content
            if get_object_type_from_object_content(content) == "ConfigRecord":
                found.append(answer_of(bytes(ConfigRecord.inflate(content)["body"])))  # pyright: ignore
        return found


def answer_of(body: bytes) -> object:
    for kind in (Introduction, Countersignature, StepAnswer):
        with contextlib.suppress(WireError):
            return wire.decode(kind, body)
    raise AssertionError("a node sent something that is none of its messages")


def introduce(folders: dict[str, Path], endpoint: Endpoint, operator: Consortium) -> None:
    settings = {
        site: NetworkSettings(folder, read_node_key(folder / "store" / "node.key")) for site, folder in folders.items()
    }
    for site, own in settings.items():
        own.create_keys()
        enrol(own, site, endpoint)
        operator.approve(site, " ".join(fingerprint(own.identity().public)))
    for site, own in settings.items():
        roster = own.roster()
        for other, theirs in settings.items():
            if other != site:
                words = " ".join(fingerprint(theirs.identity().public))
                roster = admit_by_word(roster, other, listed(endpoint, other).key, words, int(time.time()))
        own.keep_roster(roster)


def live(folder: Path, residents: list[Resident], started: threading.Event) -> None:
    """`medquorum node run`, in a thread."""
    settings = NetworkSettings(folder, read_node_key(folder / "store" / "node.key"))
    trust = settings.trust()
    with Node.open(folder, side=secure_side(trust.identity, settings.roster, 3), trust=trust) as node:
        transport = FleetTransport(settings.endpoint(), settings.flower_key())
        resident = Resident(transport, lambda message: reply(node, message))
        residents.append(resident)
        started.set()
        resident.run()


@contextmanager
def captured(base: Path) -> Generator[Capture]:
    """Four sites join in folders of `base`, train two rounds under the encrypted sum, and are still there after it."""
    folders = {site: base / site for site in SITES}
    for site, folder in folders.items():
        policy = Policy(plan_epsilon=50.0)
        with Node.create(folder, site, policy, epsilon_cap=100.0, delta=0.1, held_out_share=0.0) as node:
            fill_node(node, site, SITES[site], 2, 2, mark=SECRET)
    release = make_release()
    plan = make_plan(release, dict.fromkeys(SITES, 20), quorum=3, rounds=ROUNDS, evaluation=None)
    coordinator = base / "coordinator"
    coordinator.mkdir()
    operator = Consortium.create(coordinator, plan.consortium)
    authority, port = make_authority(coordinator, plan.consortium), free_port()
    service = TappedService(coordinator, Address(LOOPBACK, port, (LOOPBACK,)))
    relay = Relay(port)
    kept = Capture(service, relay, authority, port)
    honest = Workbench.update

    def watched(self: Workbench, parameters: bytes, site: str, round: int, source: Randomness) -> NDArray[np.float64]:
        made = honest(self, parameters, site, round, source)
        kept.updates.append((site, parameters, made.copy()))
        return made

    serving = threading.Thread(target=service.run)
    residents: list[Resident] = []
    threads: list[threading.Thread] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Workbench, "update", watched)
        serving.start()
        try:
            assert service.ready.wait(240)
            introduce(folders, Endpoint(f"{LOOPBACK}:{relay.port}", authority), operator)
            for folder in folders.values():
                started = threading.Event()
                threads.append(threading.Thread(target=live, args=(folder, residents, started)))
                threads[-1].start()
                assert started.wait(120)
            request = requests.ask_for(coordinator, "seen", plan, release, SETTINGS)
            deadline = time.monotonic() + 900
            while request.state not in ("finished", "stopped") and time.monotonic() < deadline:
                time.sleep(0.1)
                request = requests.read(request.folder)
            assert request.state == "finished", request
            yield kept
        finally:
            for resident in residents:
                resident.stop()
            for thread in threads:
                thread.join(60)
            service.stop()
            serving.join(60)
            relay.close()
