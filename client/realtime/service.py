"""The gRPC side: mutual TLS, limits on size, time and number of calls, the standard health service."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ...models.errors import ModelError
from ...privacy.certificates import Issued, issue, issue_caller, make_authority
from ..annotations import Box
from ..errors import NodeError
from ..pixels import UnreadableError
from .looking import Looked, Looking, NoReleaseError, why
from .proposals_pb2 import Finding, Image, Proposal, Region

NAME = "medquorum.realtime.v1.Proposals"
METHOD = f"/{NAME}/Propose"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """message_bytes: of one message; calls: at a time, those beyond are refused at once; seconds: the longest that a
    call may last, which the caller's own deadline may shorten; idle: until a silent connection is closed (seconds)."""

    message_bytes: int = 64 << 20
    calls: int = 100
    seconds: float = 3600.0
    idle: float = 300.0


def callers_folder(folder: Path) -> Path:
    """Where the node keeps the authority of those who may call it, made when there is none."""
    place = folder / "realtime"
    place.mkdir(mode=0o700, exist_ok=True)
    make_authority(place, "medquorum node callers")
    return place


def allow(folder: Path, caller: str, into: Path) -> Issued:
    """Issue a caller's certificate and key into a folder, to be handed over to whoever runs that viewer."""
    return issue_caller(callers_folder(folder), into, caller)


class Service:
    """Listens at `address` (HOST:PORT; port 0: any free one) for as long as its `with` block lasts.

    hosts: the names and addresses that callers use for this machine. note: told who asked, by the name in the
    certificate, and about how many images, when a call ends. Raises NodeError when the address is taken.
    """

    def __init__(
        self,
        folder: Path,
        looking: Looking,
        address: str,
        hosts: tuple[str, ...],
        note: Callable[[str, int], None],
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._looking = looking
        self._note = note
        place = callers_folder(folder)
        mine = issue(place, "server", hosts)
        credentials = grpc.ssl_server_credentials(
            [(mine.key.read_bytes(), mine.certificate.read_bytes())],
            root_certificates=mine.authority.read_bytes(),
            require_client_auth=True,
        )
        self._server = grpc.server(
            ThreadPoolExecutor(self._limits.calls, thread_name_prefix="realtime"),
            maximum_concurrent_rpcs=self._limits.calls,
            options=[
                ("grpc.max_receive_message_length", self._limits.message_bytes),
                ("grpc.max_send_message_length", 1 << 20),
                ("grpc.max_connection_idle_ms", round(self._limits.idle * 1000)),
                ("grpc.so_reuseport", 0),
            ],
        )
        handlers = {
            "Propose": grpc.stream_stream_rpc_method_handler(
                self._propose, request_deserializer=Image.FromString, response_serializer=Proposal.SerializeToString
            )
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as fault:
            raise NodeError(f"cannot listen at {address}", fix="choose another port, or stop who has it") from fault

    def __enter__(self) -> Service:
        self._server.start()
        for name in ("", NAME):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return self

    def __exit__(self, *_: object) -> None:
        self._health.enter_graceful_shutdown()
        self._server.stop(grace=5.0).wait()

    def _propose(self, images: Iterator[Image], context: grpc.ServicerContext) -> Iterator[Proposal]:
        left = cast("float | None", context.time_remaining())  # None without a deadline, whatever its type says
        if left is None or left > self._limits.seconds:
            # A call without a deadline would hold its thread for as long as its caller likes.
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"give the call a deadline of at most {self._limits.seconds:g} s"
            )
        asked = 0
        try:
            for image in images:
                asked += 1
                yield self._answer(image, context)
        finally:
            self._note(_caller(context), asked)

    def _answer(self, image: Image, context: grpc.ServicerContext) -> Proposal:
        kind = image.WhichOneof("what")
        if kind is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "an image with neither a file nor a SOP Instance UID")
        look: Callable[[], Looked] = (
            (lambda: self._looking.at_file(image.instance))
            if kind == "instance"
            else (lambda: self._looking.at_stored(image.sop_instance_uid))
        )
        try:
            return answer(image.id, look())
        except NoReleaseError as fault:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, fault.what)
            raise AssertionError from fault  # abort raises
        except (UnreadableError, NodeError, ModelError) as fault:
            return Proposal(id=image.id, applicable=False, reason=why(fault))


def _caller(context: grpc.ServicerContext) -> str:
    names = cast("dict[str, list[bytes]]", context.auth_context()).get("x509_common_name", [b"?"])
    return names[0].decode("utf-8", "replace")


def answer(identifier: str, looked: Looked) -> Proposal:
    """What was found, as the message."""
    made = Proposal(
        id=identifier, release=looked.release.hex(), applicable=looked.said is not None, reason=looked.reason
    )
    if looked.said is None:
        return made
    codes = {finding.key: finding for finding in looked.card.task.findings}
    for key, probability in looked.said.probabilities:
        coded = codes[key]
        made.findings.append(
            Finding(
                key=key,
                scheme=coded.scheme,
                code=coded.code,
                meaning=coded.meaning,
                probability=probability,
                laterality=coded.laterality,
            )
        )
    for region in looked.said.regions:
        box = region.shape
        assert isinstance(box, Box)  # asked for as boxes
        made.regions.append(Region(finding=region.finding, x0=box.x0, y0=box.y0, x1=box.x1, y1=box.y1))
    return made
