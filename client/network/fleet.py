"""The Fleet interface of an unmodified Flower SuperLink, spoken by our own process: the one file that knows it.

Flower's client classes carry the protocol (protobuf over HTTP, a signature over the time by the node's P-384 key);
everything around them is ours. Nothing received is installed, imported or run, and the routes that hand out code are
never called. Contract tests pin this file to the installed Flower.
"""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Error, Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.runtime_version_compatibility import (
    RuntimeVersionMetadata,
    get_runtime_version_incompatibility_exit_message,
)
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from .bounded import BoundedTransport
from .errors import ClockError, ConnectionLostError, FlowerVersionError, NotAdmittedError, UntrustedError

HEARTBEAT_SECONDS = 20.0
# SuperLink takes a node for gone after this; generous, so that a slow training step does not look like a loss.
PRESUMED_GONE_SECONDS = 90.0
REQUEST_SECONDS = 120.0
OBJECT_SECONDS = 120.0
MAX_OBJECTS = 4096
MAX_MESSAGE_BYTES = 512 * 1024 * 1024
DAMAGED = 7101
# Flower accepts signatures over the time that are up to five minutes old; clocks this far apart are worth naming.
CLOCK_SECONDS = 60.0
VERSION_NOTICE = "flwr-version-incompatibility-message"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the coordinator is and how to know it: host:port, the consortium authority's certificate (PEM file),
    and the hospital's HTTP proxy, if connections must go through one."""

    address: str
    authority: Path
    proxy: str | None = None


def tls_context(authority: Path) -> ssl.SSLContext:
    """TLS 1.3 only, trusting the consortium's authority and nobody else (not the system's list)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cafile=str(authority))
    except (OSError, ssl.SSLError) as fault:
        raise UntrustedError(
            "the consortium authority's certificate cannot be read",
            where=str(authority),
            fix="ask the operator for authority.pem and run medquorum node enrol again",
        ) from fault
    return context


class _VersionHeaders:
    """Says which Flower speaks. Flower's own interceptor ends the process when an answer asks for it; no answer of a
    coordinator may do that to a hospital's node."""

    def __init__(self) -> None:
        self._headers = dict(RuntimeVersionMetadata.from_local_component("SuperNode").as_metadata())

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Add the headers and pass the request on."""
        context.request.headers.update(self._headers)
        return call_next(context)


class FleetTransport:
    """A `Transport` over the Fleet interface; heartbeats may come from another thread.

    memory: a file for the number that SuperLink gave this node. SuperLink activates no node that it still takes for
    online, as it does for minutes after the node was killed; one that knows its number goes on at once.
    """

    def __init__(self, endpoint: Endpoint, key: ec.EllipticCurvePrivateKey, memory: Path | None = None) -> None:
        self._endpoint = endpoint
        self._memory = memory
        self._public_key = public_key_to_bytes(key.public_key())
        context = tls_context(endpoint.authority)
        interceptors = [
            _VersionHeaders(),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ]
        self._client = FleetHttpClient(f"https://{endpoint.address}", interceptors=interceptors, verify=context)
        # Flower's client follows redirects and takes proxies from the environment; a hospital's connections must
        # go exactly where its settings say.
        self._client.close()
        straight = httpx.HTTPTransport(verify=context, trust_env=False, proxy=endpoint.proxy)
        http = httpx.Client(
            transport=BoundedTransport(straight, MAX_MESSAGE_BYTES),
            timeout=REQUEST_SECONDS,
            follow_redirects=False,
            trust_env=False,
            headers={"accept-encoding": "identity"},
        )
        cast("Any", self._client)._client = http
        self._node: Node | None = None

    @property
    def heartbeat_seconds(self) -> float:
        """How often `stay_known` is due."""
        return HEARTBEAT_SECONDS

    def connect(self) -> None:
        """Say that the node is there, or activate it; see `Transport.connect`."""
        self._node = self._node or self._remembered()
        if self._node is not None:
            # Whatever is wrong, a number that is not this node's any more or a lost connection, activating will tell.
            with contextlib.suppress(NotAdmittedError, ConnectionLostError):
                self.stay_known()
                return
        request = ActivateNodeRequest(public_key=self._public_key, heartbeat_interval=PRESUMED_GONE_SECONDS)
        self._node = Node(node_id=self._call(lambda: self._client.ActivateNode(request)).node_id)
        if self._memory is not None:
            self._memory.write_text(str(self._node.node_id))

    def stay_known(self) -> None:
        """Send a heartbeat; see `Transport.stay_known`."""
        request = SendNodeHeartbeatRequest(node=self._known(), heartbeat_interval=PRESUMED_GONE_SECONDS)
        if not self._call(lambda: self._client.SendNodeHeartbeat(request)).success:
            raise NotAdmittedError(
                "the coordinator does not know this node", where=self._endpoint.address, fix=_ENROL_AGAIN
            )

    def receive(self) -> Message | None:
        """Pull one message with all its parts; see `Transport.receive`."""
        node = self._known()
        pulled = self._call(lambda: self._client.PullMessages(PullMessagesRequest(node=node)))
        if not pulled.messages_list:
            return None
        try:
            message, tree = message_from_proto(pulled.messages_list[0]), pulled.message_object_trees[0]
        except Exception as fault:  # any shape of damage; without its head, nothing can be said in return
            raise ConnectionLostError(
                "the coordinator's message cannot be read", where=self._endpoint.address
            ) from fault
        try:
            return self._whole(node, message, tree)
        except _DamagedError as damage:
            self._push(Message(Error(DAMAGED, str(damage)), reply_to=message))
            return None

    def reply(self, message: Message) -> None:
        """Push an answer and its parts; see `Transport.reply`."""
        self._push(message)

    def close(self) -> None:
        """Deactivate the node when the coordinator is reachable, and close the connection."""
        if self._node is not None:
            request = DeactivateNodeRequest(node_id=self._node.node_id)
            # Without a goodbye it is presumed gone after a while.
            with contextlib.suppress(ConnectionLostError, UntrustedError, NotAdmittedError):
                self._call(lambda: self._client.DeactivateNode(request))
            self._node = None
        self._client.close()

    def _remembered(self) -> Node | None:
        """The node under the number that it had last; whether that is right still, SuperLink will say."""
        try:
            number = int(self._memory.read_text()) if self._memory is not None else 0
        except (OSError, ValueError):
            return None
        return Node(node_id=number) if 0 < number < 1 << 64 else None

    def _known(self) -> Node:
        if self._node is None:
            raise ConnectionLostError("the node is not connected", where=self._endpoint.address)
        return self._node

    def _whole(self, node: Node, message: Message, tree: ObjectTree) -> Message:
        """Pull every part of a message, within bounds, and put it together."""
        run, identifier = message.metadata.run_id, message.metadata.message_id
        parts: dict[str, bytes] = {}
        size = 0
        for branch in iterate_object_tree(tree):
            if branch.object_id in parts:
                continue
            part = self._part(node, run, branch.object_id)
            if hashlib.sha256(part).hexdigest() != branch.object_id:
                raise _DamagedError("a part of the message is not the one that was announced")
            size += len(part)
            if len(parts) >= MAX_OBJECTS or size > MAX_MESSAGE_BYTES:
                raise _DamagedError("the message is too large")
            parts[branch.object_id] = part
        confirm = ConfirmMessageReceivedRequest(node=node, run_id=run, message_object_id=identifier)
        self._call(lambda: self._client.ConfirmMessageReceived(confirm))
        try:
            whole = cast("Message", inflate_object_from_contents(identifier, parts))
            # Flower leaves the identifier, the hash of the message's head, for the caller to set.
            whole.metadata.__dict__["_message_id"] = identifier
        except Exception as fault:  # any shape of damage in what a hostile coordinator sent
            raise _DamagedError("the message does not fit together") from fault
        return whole

    def _part(self, node: Node, run: int, identifier: str) -> bytes:
        request = PullObjectRequest(node=node, run_id=run, object_id=identifier)
        deadline, pause = time.monotonic() + OBJECT_SECONDS, 0.02
        while time.monotonic() < deadline:
            answer = self._call(lambda: self._client.PullObject(request))
            if not answer.object_found:
                raise _DamagedError("a part of the message is gone")
            if answer.object_available:
                return answer.object_content
            time.sleep(pause)
            pause = min(2 * pause, 1.0)
        raise _DamagedError("a part of the message never arrived")

    def _push(self, message: Message) -> None:
        node, run = self._known(), message.metadata.run_id
        with no_object_id_recompute():
            message.metadata.__dict__["_message_id"] = message.object_id
            tree, parts = get_object_tree(message), get_all_nested_objects(message)
            bare = remove_content_from_message(message) if message.has_content() else message
            pushed = self._call(
                lambda: self._client.PushMessages(
                    PushMessagesRequest(
                        node=node,
                        messages_list=[message_to_proto(bare)],
                        message_object_trees=[tree],
                        clientapp_runtime_list=[0.0],  # a duration of training would say how many patients there are
                    )
                )
            )
            for identifier in set(pushed.objects_to_push):
                request = PushObjectRequest(
                    node=node,
                    run_id=run,
                    object_id=identifier,
                    object_content=parts[identifier].deflate(),
                    session_id=pushed.session_id,
                )
                if not self._call(lambda request=request: self._client.PushObject(request)).stored:
                    raise ConnectionLostError("the coordinator did not store an answer", where=self._endpoint.address)

    def _call(self, request: Callable[[], T]) -> T:
        """Make one request; every fault becomes one of ours, with what to do about it."""
        where = self._endpoint.address
        try:
            return request()
        except httpx.HTTPStatusError as fault:
            status = fault.response.status_code
            if fault.response.is_redirect:
                raise UntrustedError("the coordinator answered with a redirect", where=where, fix=_TELL) from fault
            if reason := _other_flower(fault.response):
                raise FlowerVersionError(
                    f"the coordinator refuses this version of Flower ({reason})", where=where, fix=_SAME_VERSION
                ) from fault
            if status in (401, 403):
                raise _not_admitted(fault.response, where) from fault
            raise ConnectionLostError(f"the coordinator answered {status}", where=where) from fault
        except httpx.TransportError as fault:
            if isinstance(fault.__context__, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY" in str(fault):
                raise UntrustedError(
                    f"the coordinator's certificate is not from the consortium's authority ({fault})",
                    where=where,
                    fix="compare the authority's fingerprint with the operator; is a proxy opening TLS?",
                ) from fault
            raise ConnectionLostError(f"the coordinator cannot be reached ({fault})", where=where) from fault
        except ValueError as fault:  # Flower's client raises it on bytes that are not protobuf
            raise ConnectionLostError(f"the coordinator's answer cannot be read ({fault})", where=where) from fault


def _other_flower(answer: httpx.Response) -> str:
    """Why SuperLink refuses this Flower, shortened since it ends in a log; empty when that is not what it says. Its
    status alone does not tell: it answers 412 as well to a node that it still takes for online."""
    reason = get_runtime_version_incompatibility_exit_message(answer.text) or answer.headers.get(VERSION_NOTICE, "")
    return " ".join(reason.split())[:200]


def _not_admitted(answer: httpx.Response, where: str) -> NotAdmittedError:
    """Why a signed request was refused. The signature is over the time, so a wrong clock looks like a wrong key."""
    with contextlib.suppress(TypeError, ValueError):
        theirs = parsedate_to_datetime(answer.headers.get("date", ""))
        apart = abs((datetime.now(UTC) - theirs).total_seconds())
        if apart > CLOCK_SECONDS:
            return ClockError(
                f"this machine's clock and the coordinator's are {apart:.0f} s apart",
                where=where,
                fix="set this machine's clock (timedatectl set-ntp true), or tell the operator that theirs is wrong",
            )
    return NotAdmittedError("the coordinator does not admit this node's key", where=where, fix=_ENROL_AGAIN)


_SAME_VERSION = "install the medquorum release that the operator names"
_ENROL_AGAIN = "ask the operator to approve it, or run medquorum node enrol again"
_TELL = "tell the consortium's operator; nothing was sent to the other address"


class _DamagedError(Exception):
    """A message that cannot be put together, with the reason that is sent back."""
