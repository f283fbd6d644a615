"""Attacks through the Fleet interface, over real TLS: what a hostile coordinator answers to a node's own requests.

Whatever comes back, the node sends nothing elsewhere, asks for no code, imports nothing, keeps its memory, and names
the fault with its number; nothing ends its process.
"""

from __future__ import annotations

import gzip
import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import ArrayRecord, ConfigRecord, Message, Metadata, MetricRecord, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import ActivateNodeResponse, PullMessagesResponse, PushMessagesResponse
from flwr.proto.message_pb2 import ConfirmMessageReceivedResponse, PullObjectRequest, PullObjectResponse
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.interceptors.http import runtime_version
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medquorum.client import answering
from medquorum.client.answering import reply
from medquorum.client.errors import NodeError
from medquorum.client.network import fleet as adapter
from medquorum.client.network.errors import (
    ClockError,
    ConnectionLostError,
    FlowerVersionError,
    NotAdmittedError,
    UntrustedError,
)
from medquorum.client.network.fleet import Endpoint, FleetTransport
from medquorum.privacy.certificates import issue, make_authority
from medquorum.server.network.front_door import FLEET_ROUTES

KEY = ec.generate_private_key(ec.SECP384R1())
NODE = 7
Answer = tuple[int, dict[str, str], bytes]


class Coordinator:
    """A TLS server that answers every route as it is told to, and remembers what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.authority = make_authority(folder, "tests")
        certificate = issue(folder, "front", ("127.0.0.1",))
        self.routes: dict[str, Callable[[bytes], Answer]] = {}
        self.seen: list[str] = []
        coordinator = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body leave together, or each answer waits for an acknowledgement

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                route = self.path.removeprefix("/v1/fleet/")
                coordinator.seen.append(route)
                status, headers, content = coordinator.routes.get(route, lambda _: (200, {}, b""))(body)
                self.send_response_only(status)
                for name, value in {"content-length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.behave()

    def behave(self) -> None:
        """Admit the node and have no message for it."""
        self.seen.clear()
        self.routes.clear()
        self.says("activate-node", ActivateNodeResponse(node_id=NODE).SerializeToString())
        self.says("confirm-message-received", ConfirmMessageReceivedResponse().SerializeToString())
        self.says("push-messages", PushMessagesResponse().SerializeToString())

    def says(self, route: str, content: bytes, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.routes[route] = lambda _: (status, named, content)

    def hands_out(self, message: Message, change: Callable[[bytes], bytes] = lambda part: part) -> None:
        """Offer a message, each of its parts changed."""
        with no_object_id_recompute():
            message.metadata.__dict__["_message_id"] = message.object_id
            tree, parts = get_object_tree(message), get_all_nested_objects(message)
            bare = message_to_proto(remove_content_from_message(message))
            contents = {name: part.deflate() for name, part in parts.items()}
        pulled = PullMessagesResponse(messages_list=[bare], message_object_trees=[tree])
        self.says("pull-messages", pulled.SerializeToString())

        def part(body: bytes) -> Answer:
            asked = PullObjectRequest.FromString(body).object_id
            content = change(contents[asked])
            found = PullObjectResponse(object_found=True, object_available=True, object_content=content)
            return 200, {}, found.SerializeToString()

        self.routes["pull-object"] = part

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    server = Coordinator(tmp_path_factory.mktemp("coordinator"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter, "OBJECT_SECONDS", 0.01)  # parts that are promised and never come
        yield server
    server.close()


@pytest.fixture
def coordinator(server: Coordinator) -> Coordinator:
    server.behave()
    return server


@pytest.fixture
def node(coordinator: Coordinator) -> Iterator[FleetTransport]:
    transport = FleetTransport(Endpoint(coordinator.address, coordinator.authority), KEY)
    transport.connect()
    yield transport
    coordinator.behave()
    transport.close()


def message(**records: Any) -> Message:
    metadata = Metadata(
        run_id=1,
        message_id="",
        src_node_id=1,
        dst_node_id=NODE,
        reply_to_message_id="",
        group_id="",
        created_at=datetime.now(UTC).timestamp(),
        ttl=600.0,
        message_type="query",
    )
    return make_message(metadata, RecordDict(records))


def body(content: bytes = b"hello") -> ConfigRecord:
    return ConfigRecord({"body": content})


class Echo:
    """Stands for the node's rooms."""

    def answer(self, kind: str, body: bytes) -> bytes:
        return b"answer to " + body


def test_a_certificate_of_another_authority(coordinator: Coordinator, tmp_path: Path) -> None:
    other = make_authority(tmp_path, "impostor")
    with pytest.raises(UntrustedError, match=r"not from the consortium's authority.*MQ302"):
        FleetTransport(Endpoint(coordinator.address, other), KEY).connect()
    assert coordinator.seen == [], "nothing was sent"


def test_a_redirect_is_not_followed(coordinator: Coordinator, tmp_path: Path) -> None:
    elsewhere = Coordinator(tmp_path)
    coordinator.says("activate-node", b"", 307, location=f"https://{elsewhere.address}/v1/fleet/activate-node")
    transport = FleetTransport(Endpoint(coordinator.address, coordinator.authority), KEY)
    with pytest.raises(UntrustedError, match="redirect"):
        transport.connect()
    assert elsewhere.seen == []
    elsewhere.close()


def test_a_wrong_clock_is_told_from_a_wrong_key(coordinator: Coordinator) -> None:
    transport = FleetTransport(Endpoint(coordinator.address, coordinator.authority), KEY)
    for apart, kind in ((timedelta(hours=1), ClockError), (timedelta(0), NotAdmittedError)):
        coordinator.says("activate-node", b"", 401, date=format_datetime(datetime.now(UTC) - apart, usegmt=True))
        with pytest.raises(NotAdmittedError) as refusal:
            transport.connect()
        assert type(refusal.value) is kind
    assert "MQ304" in str(ClockError("x"))


def test_a_node_still_taken_for_online_is_not_told_of_versions(coordinator: Coordinator) -> None:
    coordinator.says("activate-node", b'{"detail": "node is online"}', 412)
    transport = FleetTransport(Endpoint(coordinator.address, coordinator.authority), KEY)
    with pytest.raises(ConnectionLostError, match="412"):
        transport.connect()


def test_a_wrong_version_is_said_and_ends_nothing(coordinator: Coordinator, monkeypatch: Any) -> None:
    fault = FlowerError(ApiErrorCode.RUNTIME_VERSION_INCOMPATIBLE, "inner", public_details="needs 1.99")
    coordinator.says("activate-node", json.dumps(fault.to_json("Runtime version check failed.")).encode(), 412)
    transport = FleetTransport(Endpoint(coordinator.address, coordinator.authority), KEY)
    with pytest.raises(FlowerVersionError, match=r"needs 1\.99.*MQ305"):
        transport.connect()

    # Flower's own interceptor, in the place of ours, ends the process on the same answer.
    def end_of_process(*_: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(runtime_version, "flwr_exit", end_of_process)
    client: Any = transport._client  # pyright: ignore[reportPrivateUsage]
    stock = runtime_version.RuntimeVersionHttpInterceptor(component_name="SuperNode")
    client._interceptors = (stock, *client._interceptors[1:])
    with pytest.raises(SystemExit):
        transport.connect()


def test_an_endless_answer_is_cut_off(coordinator: Coordinator, monkeypatch: Any) -> None:
    coordinator.says("pull-messages", bytes(100_000))
    monkeypatch.setattr(adapter, "MAX_MESSAGE_BYTES", 10_000)
    transport = FleetTransport(Endpoint(coordinator.address, coordinator.authority), KEY)
    transport.connect()
    with pytest.raises(ConnectionLostError, match="more than 10000 bytes"):
        transport.receive()


def test_an_answer_that_unpacks_to_more_is_not_unpacked(coordinator: Coordinator, node: FleetTransport) -> None:
    coordinator.says("pull-messages", gzip.compress(bytes(50_000_000)), content_encoding="gzip")
    with pytest.raises(ConnectionLostError, match="compressed"):
        node.receive()


def test_code_shipped_as_an_app(coordinator: Coordinator, node: FleetTransport, monkeypatch: Any) -> None:
    """A bundle beside our message, arrays, metrics, other fields: nothing is imported, and no code is asked for."""
    coordinator.hands_out(message(message=body()))
    received = node.receive()
    assert received is not None
    answered = reply(Echo(), received)
    assert answered.content["message"]["body"] == b"answer to hello"
    node.reply(answered)
    fab = b"PK\x03\x04 import os; os.system('touch /tmp/owned')"
    shipped = (
        {"message": body(), "fab": body(fab)},
        {"message": body(), "arrays": ArrayRecord([np.zeros(3)])},
        {"message": body(), "metrics": MetricRecord({"x": 1.0})},
        {"message": ConfigRecord({"body": b"hello", "fab": fab})},
        {"fab": body(fab)},
        {"message": ArrayRecord([np.zeros(3)])},
    )
    before = set(sys.modules)
    for records in shipped:
        coordinator.hands_out(message(**records))
        received = node.receive()
        assert received is not None
        refused = reply(Echo(), received)
        assert refused.has_error() and "nothing else" in refused.error.reason
        node.reply(refused)
    assert set(sys.modules) == before, "nothing was imported"
    assert set(coordinator.seen) <= FLEET_ROUTES, "and no code was asked for"
    assert not {"get-fab", "get-run"} & set(coordinator.seen)
    # Without the check that a message is one body and nothing else, what was shipped beside it gets through.
    monkeypatch.setattr(answering, "_body", lambda message: message.content["message"]["body"])
    coordinator.hands_out(message(**shipped[0]))
    received = node.receive()
    assert received is not None
    assert not reply(Echo(), received).has_error()


def test_parts_that_were_exchanged_are_refused_with_the_reason(
    coordinator: Coordinator, node: FleetTransport, monkeypatch: Any
) -> None:
    for change in (lambda part: part[:-1], lambda part: part + b"x", lambda part: b"", lambda part: bytes(len(part))):
        coordinator.hands_out(message(message=body(b"x" * 50)), change)
        assert node.receive() is None
    assert coordinator.seen.count("push-messages") == 4, "each refusal was sent back"
    monkeypatch.setattr(adapter, "MAX_MESSAGE_BYTES", 20)
    coordinator.hands_out(message(message=body(b"x" * 50)))
    assert node.receive() is None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_and_mutilated_answers(coordinator: Coordinator, node: FleetTransport, data: st.DataObject) -> None:
    """Any bytes on any route a node calls: a message, nothing, or one of our errors."""
    coordinator.behave()
    coordinator.hands_out(message(message=body()))
    route = data.draw(st.sampled_from(["pull-messages", "pull-object", "confirm-message-received", "push-messages"]))
    if route == "pull-messages":
        whole = coordinator.routes[route](b"")[2]
        place = data.draw(st.integers(0, len(whole) - 1))
        content = data.draw(
            st.one_of(
                st.binary(max_size=200),
                st.just(whole[:place]),
                st.builds(
                    lambda bit: whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :],
                    st.integers(0, 7),
                ),
            )
        )
    else:
        content = data.draw(st.binary(max_size=200))
    coordinator.says(
        route, content, data.draw(st.sampled_from([200, 200, 200, 204, 301, 400, 401, 403, 429, 500, 503]))
    )
    try:
        received = node.receive()
        if received is not None:
            node.reply(reply(Echo(), received))
    except NodeError as fault:
        assert fault.number in ("MQ301", "MQ302", "MQ303", "MQ304", "MQ305")
    assert set(coordinator.seen) <= FLEET_ROUTES
