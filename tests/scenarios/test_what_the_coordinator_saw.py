"""Every byte that reaches the coordinator in a whole federation, on the wire and after TLS: what is not among them.

The coordinator's service runs in this process with its front door tapped; between it and the nodes stands a relay
that keeps what passes on the wire.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import socket
import threading
import time
import zlib
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from flwr.app import ConfigRecord
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.supercore.inflatable.inflatable_object import get_object_type_from_object_content
from hospitals import fill_node, make_plan, make_release
from numpy.typing import NDArray
from scipy.stats import chi2
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medquorum.client.answering import reply
from medquorum.client.finetune import Workbench
from medquorum.client.keys import read_node_key
from medquorum.client.network.enrol import enrol, listed
from medquorum.client.network.fleet import Endpoint, FleetTransport, tls_context
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
from medquorum.privacy.secure_aggregation.steps import Masked
from medquorum.server.network import requests
from medquorum.server.network.consortium import Consortium
from medquorum.server.network.front_door import FLEET_ROUTES
from medquorum.server.network.service import Address, Service
from medquorum.server.network.superlink import LOOPBACK, free_port
from medquorum.server.run_folder import Settings

# Put into everything at the sites that names a patient, a file or a reader.
SECRET = "Wilhelmina-Quartzovic-MRN88231-"
# Training patients of each site: none is a round's or an attempt's number, and none is the declared 20.
SITES = {"east": 9, "north": 11, "south": 13, "west": 14}
ROUNDS = 2
# Two-sided bound on a chi-square test's p-value: a true uniform vector fails with probability 1e-9.
LEAST_P = 1e-9
SETTINGS = Settings(aggregation="secure", gather_seconds=300.0, step_seconds=300.0, wait_seconds=1.0)
TLS_1_3 = b"\x03\x04"


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


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Generator[Capture]:
    base = tmp_path_factory.mktemp("saw")
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


pytestmark = pytest.mark.timeout(1500)


def disguises(secret: bytes) -> list[bytes]:
    """A secret as it is, and as it would look in base64 at each of the three alignments, in hexadecimal, in UTF-16."""
    found = [secret, secret.hex().encode(), secret.hex().upper().encode()]
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            coded = encode(b"\0" * shift + secret)
            found.append(coded[4 if shift else 0 : len(coded) - 4])
    with contextlib.suppress(UnicodeDecodeError):
        found.append(secret.decode().encode("utf-16-le"))
    return found


def unpacked(data: bytes) -> list[bytes]:
    """Whatever zlib, gzip or raw deflate streams begin anywhere in the data at one of their usual headers."""
    found: list[bytes] = []
    for header in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b\x08"):
        at = data.find(header)
        while at >= 0:
            with contextlib.suppress(zlib.error):
                found.append(zlib.decompressobj(47).decompress(data[at:], 1 << 20))
            at = data.find(header, at + 1)
    return [one for one in found if len(one) >= 8]


def test_the_tap_hears_everything(capture: Capture) -> None:
    """Without this, what follows would also hold of a tap that is deaf."""
    seen = capture.service.everything
    assert b"north" in seen
    masked = [one for one in capture.answers() if isinstance(one, StepAnswer)]
    # Five exchanges by four sites in each round, whatever was attempted again on top.
    assert len(masked) >= 5 * len(SITES) * ROUNDS
    assert {site for site, _, _ in capture.updates} == set(SITES)


def test_no_name_of_a_patient_a_file_or_a_reader_is_in_it(capture: Capture) -> None:
    seen = capture.service.everything
    for haystack in (seen, *unpacked(seen)):
        for word in ("Wilhelmina", "Quartzovic", "MRN88231", "-0-0.png", f"1.2.{sum(b'east')}.0.0"):
            assert not any(form in haystack for form in disguises(word.encode())), word


def test_no_weights_or_update_of_one_site_are_in_it(capture: Capture) -> None:
    seen = capture.service.everything
    haystacks = [seen, *unpacked(seen)]
    for _, start, update in capture.updates:
        begun = np.frombuffer(start, dtype="<f4").astype(np.float64)
        mean = update / 20.0
        for values in (update, mean, begun + mean):
            for kind in ("<f4", "<f8", ">f4", ">f8", "<f2"):
                data = values.astype(kind).tobytes()
                size = np.dtype(kind).itemsize
                # Four values in a row: at 16 bits and more each, chance does not find them.
                for at in range(0, len(data) - 4 * size, 16 * size):
                    piece = data[at : at + 4 * size]
                    if any(piece) and not start.count(piece):
                        assert not any(piece in haystack for haystack in haystacks), (kind, at)


def test_no_private_count_and_no_metric_is_in_it(capture: Capture) -> None:
    """A node's messages hold whole numbers and real ones in known places only: the round, the attempt, its cap."""

    def numbers(value: object) -> list[int | float]:
        if isinstance(value, bool):
            return []
        if isinstance(value, int | float):
            return [value]
        if isinstance(value, tuple | list):
            return [one for item in value for one in numbers(item)]
        if dataclasses.is_dataclass(value):
            return [one for part in dataclasses.fields(value) for one in numbers(getattr(value, part.name))]
        return []

    for answer in capture.answers():
        if isinstance(answer, StepAnswer):
            assert answer.round in range(1, ROUNDS + 1) and numbers(answer) == [answer.round, answer.attempt]
            assert answer.attempt <= 3
        elif isinstance(answer, Countersignature):
            assert numbers(answer) == [50.0]
        else:
            assert numbers(answer) == []


def chi_square_p(values: NDArray[np.uint8]) -> float:
    """The p-value of Pearson's test that all 256 values of a byte are alike likely."""
    counts = np.bincount(values, minlength=256)
    expected = len(values) / 256.0
    return float(chi2.sf(float(((counts - expected) ** 2 / expected).sum()), 255))


def test_every_masked_vector_is_indistinguishable_from_uniform(capture: Capture) -> None:
    """Each of the four bytes of the 32-bit values by itself, and all differences of neighbours, by chi-square tests."""
    vectors: list[NDArray[np.uint32]] = []
    for answer in capture.answers():
        if isinstance(answer, StepAnswer):
            with contextlib.suppress(WireError):
                vectors.append(np.frombuffer(wire.decode(Masked, answer.payload).vector, dtype="<u4"))
    assert len(vectors) >= len(SITES) * ROUNDS
    for vector in vectors:
        for values in (vector, np.diff(vector)):
            columns = values.astype("<u4").view(np.uint8).reshape(-1, 4)
            for place in range(4):
                assert chi_square_p(columns[:, place].copy()) > LEAST_P, place
    # The same test on what the masks hide: it can fail, and would.
    _, _, update = capture.updates[0]
    bare = np.round(update / np.abs(update).max() * 2**20).astype(np.int64).astype(np.uint32)
    assert chi_square_p(bare.view(np.uint8).reshape(-1, 4)[:, 3].copy()) < LEAST_P


def test_on_the_wire_there_is_tls_1_3_and_nothing_else(capture: Capture) -> None:
    assert len(capture.relay.said) >= len(SITES)
    whole = [(bytes(client), bytes(server)) for client, server in capture.relay.said if client and server]
    assert whole
    for client, server in whole:
        assert selected_version(server) == TLS_1_3
        for said in (client, server):
            kinds = records(said)
            assert kinds[0] == 22
            # Handshake, change_cipher_spec (for middle boxes) and encrypted records; no plaintext alert or data.
            assert set(kinds) <= {20, 22, 23}
            assert kinds.count(22) == 1
        assert b"medquorum" not in client + server and b"fleet" not in client + server


def records(said: bytes) -> list[int]:
    """Content types of the TLS records in a stream (RFC 8446, section 5.1), whole ones only."""
    found: list[int] = []
    at = 0
    while at + 5 <= len(said):
        assert said[at + 1 : at + 3] in (b"\x03\x01", b"\x03\x03")
        length = int.from_bytes(said[at + 3 : at + 5])
        assert length <= 16384 + 256
        found.append(said[at])
        at += 5 + length
    return found


def selected_version(server: bytes) -> bytes:
    """The version that the ServerHello's supported_versions extension selects (RFC 8446, section 4.2.1)."""
    assert server[0] == 22 and server[5] == 2
    at = 5 + 4 + 2 + 32
    at += 1 + server[at] + 2 + 1  # the session's id, the cipher suite, the compression method
    end = at + 2 + int.from_bytes(server[at : at + 2])
    at += 2
    while at + 4 <= end:
        kind, length = int.from_bytes(server[at : at + 2]), int.from_bytes(server[at + 2 : at + 4])
        if kind == 43:
            return server[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def test_flowers_other_interfaces_cannot_be_reached_from_outside(capture: Capture) -> None:
    allowed = {("fleet", route) for route in FLEET_ROUTES} | {("medquorum", "enrol"), ("medquorum", "consortium")}
    assert {tuple(path.split("/")[2:]) for path in capture.service.paths} <= allowed
    with httpx.Client(verify=tls_context(capture.authority), trust_env=False) as http:
        for path in (
            "control/start-run",
            "control/list-runs",
            "control/register-node",
            "runtime/pull-messages",
            "runtime/get-nodes",
            "fleet/get-fab",
            "fleet/register-node",
        ):
            assert http.post(f"https://{LOOPBACK}:{capture.port}/v1/{path}", content=b"").status_code == 404, path
        # The same door does answer what exists, so the refusals above say something.
        assert http.get(f"https://{LOOPBACK}:{capture.port}/v1/medquorum/consortium").status_code == 200
