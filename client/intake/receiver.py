"""The DICOM receiver: C-STORE and C-ECHO for named peers, straight into the encrypted spool.

A data set is encrypted while it arrives and is never held whole, in memory or in plain on disk; it is not parsed here
at all. Status 0 goes out only after file and folder are synced. pynetdicom leaves open what a hospital needs closed:
UIDs are not checked by default, any AE title is answered, and a protocol unit is read whole whatever its length; each
of these is set or overridden here.
"""

from __future__ import annotations

import logging
import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from socketserver import BaseServer
from typing import Any, cast

from pydicom.filewriter import write_file_meta_info
from pynetdicom import AE, _config, evt
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import create_file_meta
from pynetdicom.sop_class import Verification  # pyright: ignore[reportAttributeAccessIssue]  made at run time
from pynetdicom.transport import ThreadedAssociationServer

from ..audit_log import Trail, Untraced
from ..disk import DiskFullError
from ..errors import NodeError
from ..gate import SOP_CLASSES, TRANSFER_SYNTAXES
from ..spool import Arriving, Spool
from .settings import IntakeSettings, IntakeSettingsError

_log = logging.getLogger("medquorum.receive")
# pynetdicom prints tracebacks of hostile peers' mistakes; what matters of them is said in our own lines.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
_config.ENFORCE_UID_CONFORMANCE = True
_config.LOG_HANDLER_LEVEL = "none"

SUCCESS, OUT_OF_RESOURCES, PROCESSING_FAILURE, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0x0110, 0xC000
# What is announced to peers as the largest protocol data unit, and what is read at most: an association request is
# not bound by the former and may list hundreds of storage classes.
_PDU_BYTES, _LONGEST_PDU = 256 << 10, 1 << 20
_LONGEST_COMMAND = 64 << 10
# How long what this side wants to say may have to wait while nothing arrives.
_LOOK_SECONDS = 0.005
_REFUSAL_SECONDS, _MOST_REFUSALS = 600.0, 1000
_HANDSHAKE_SECONDS, _NETWORK_SECONDS = 10.0, 60.0


class Receiver:
    """Listens as `settings` say and puts what it accepts into `spool`; use it in a `with`, or start and stop it.

    Raises IntakeSettingsError when nobody may send, when a certificate cannot be used, or the address is taken.
    """

    def __init__(self, spool: Spool, settings: IntakeSettings, trail: Trail | None = None) -> None:
        """trail: where refusals are noted."""
        self._trail = trail or Untraced()
        self._noted: dict[tuple[str, str], float] = {}
        if not settings.peers:
            raise IntakeSettingsError(
                "nobody may send to this node yet: peers is empty",
                fix='list the senders in intake.toml, as peers = ["AETITLE@10.0.0.7"]',
            )
        self._spool = spool
        self._settings = settings
        entity = AE(settings.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = sorted({peer.ae_title for peer in settings.allowed})
        entity.maximum_associations = settings.associations
        entity.maximum_pdu_size = _PDU_BYTES
        entity.network_timeout = entity.dimse_timeout = _NETWORK_SECONDS
        entity.acse_timeout = _HANDSHAKE_SECONDS
        entity.add_supported_context(Verification)
        for sop_class in (*SOP_CLASSES, *settings.extra_classes):
            entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
        tls = _tls(settings)

        class Server(_Server):
            """The server of this receiver; pynetdicom makes the instance and passes nothing on."""

            receiver = self
            tls_context = tls

        handlers = [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]
        try:
            self._server: Any = entity.make_server(
                (settings.listen, settings.port), evt_handlers=cast(Any, handlers), server_class=Server
            )
        except OSError as fault:
            raise IntakeSettingsError(
                f"this node cannot listen on {settings.listen} port {settings.port} ({fault.strerror})",
                fix="choose another address or port in intake.toml, or stop what uses it",
            ) from fault
        self.associations = settings.associations
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="receive", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and end the associations that are open; what was accepted is on disk."""
        if self._thread.is_alive():
            BaseServer.shutdown(self._server)
        for association in self._server.active_associations:
            association.abort()
        self._server.server_close()

    def __enter__(self) -> Receiver:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def admits(self, address: str, ae_title: str | None = None) -> bool:
        """Whether some peer may send from this address (under this AE title, once it is known)."""
        return any(
            peer.address in ("", address) and ae_title in (None, peer.ae_title) for peer in self._settings.allowed
        )

    def refused(self, address: str, ae_title: str = "") -> None:
        """Note that a stranger was turned away: each at most once in ten minutes, so that no flood fills the log."""
        now = time.monotonic()
        if now - self._noted.get((address, ae_title), -_REFUSAL_SECONDS) < _REFUSAL_SECONDS:
            return
        if len(self._noted) >= _MOST_REFUSALS:
            self._noted.clear()
        self._noted[address, ae_title] = now
        _log.warning("refused %s from %s: not among this node's peers", ae_title or "a connection", address)
        with suppress(NodeError):  # a full disk must not keep strangers waiting
            self._trail.append("refusal", "receiver", address=address, ae_title=ae_title)

    # ---- pynetdicom's events

    def _opened(self, event: Any) -> None:
        """A connection: bound what it may make us read, and encrypt what it sends as it comes."""
        association = event.assoc
        association.dimse = _Provider(association, self._spool, self._settings.file_megabytes << 20)
        _bound(association.dul.socket)
        _wait_for_data(association.dul)

    def _requested(self, event: Any) -> None:
        association = event.assoc
        title = str(association.requestor.primitive.calling_ae_title).strip()
        address = _address(association)
        if not self.admits(address, title):
            self.refused(address, title)
            # Rejected permanently, by the service user: calling AE title not recognised (PS3.8 table 9-21).
            association.acse.send_reject(0x01, 0x01, 0x03)
            association.kill()

    def _closed(self, event: Any) -> None:
        provider = event.assoc.dimse
        if isinstance(provider, _Provider):
            provider.hung_up()


class _Provider(DIMSEServiceProvider):
    """pynetdicom's message assembly with the data set going into the spool, and commands bounded."""

    def __init__(self, association: Any, spool: Spool, longest: int) -> None:
        super().__init__(association)
        self._spool = spool
        self._longest = longest
        self._command_bytes = 0
        self.msg_queue = _Inbox(self._store)

    def _store(self, context: int, request: Any) -> bool:
        """Answer a C-STORE request whose data set has arrived, at once and in this thread; False for other messages.

        pynetdicom would hand it to a thread that looks for messages once a millisecond, and knows no private classes.
        """
        if not isinstance(request, C_STORE) or not request.is_valid_request or not isinstance(request.DataSet, _Inflow):
            return False
        answer = C_STORE()
        answer.MessageID = answer.MessageIDBeingRespondedTo = request.MessageID
        answer.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
        answer.AffectedSOPClassUID = request.AffectedSOPClassUID
        answer.Status, comment = request.DataSet.settle()
        answer.ErrorComment = cast(Any, comment)  # annotated as None alone
        self.send_msg(answer, context)
        return True

    def receive_primitive(self, primitive: Any) -> None:
        """Take one P-DATA primitive; anything unexpected in it ends the association."""
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = _Inflow(self.message, self.assoc, self._spool, self._longest)
            self._command_bytes = 0
        try:
            for _, fragment in primitive.presentation_data_value_list:
                self._command_bytes += len(fragment) if fragment[0] & 1 else 0
            if self._command_bytes > _LONGEST_COMMAND:
                raise ValueError("a command of more than 64 KiB")
            super().receive_primitive(primitive)
        except Exception as fault:  # whatever a hostile message made pynetdicom trip over
            _log.warning("ended an association with %s: %s", _address(self.assoc), type(fault).__name__)
            self.hung_up()
            self.dul.event_queue.put("Evt19")

    def hung_up(self) -> None:
        """Forget a data set that did not arrive whole."""
        message, self.message = self.message, None
        if message is not None and isinstance(message.data_set, _Inflow):
            message.data_set.discard()


class _Inbox(queue.Queue[Any]):
    """Messages for pynetdicom's own handling, less those that `serve` deals with."""

    def __init__(self, serve: Callable[[int, Any], bool]) -> None:
        super().__init__()
        self._serve = serve

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Deal with a message or keep it."""
        if not self._serve(*item):
            super().put(item, block, timeout)


class _Inflow(BytesIO):
    """Stands where pynetdicom would collect a data set in memory: what is written goes into the spool, encrypted."""

    def __init__(self, message: Any, association: Any, spool: Spool, longest: int) -> None:
        super().__init__()
        self._message = message
        self._association = association
        self._spool = spool
        self._longest = longest
        self._arriving: Arriving | None = None
        self._refusal: tuple[int, str] | None = None

    def write(self, data: Any, /) -> int:
        """Take a fragment; a failure is kept for the answer, since the sender listens only after its last one."""
        if self._refusal is None:
            with self._kept():
                if self._arriving is None:
                    self._arriving = self._begin()
                self._arriving.write(data)
                if self._arriving.size > self._longest:
                    self._refuse(OUT_OF_RESOURCES, f"larger than {self._longest >> 20} MB")
        return len(data)

    def _begin(self) -> Arriving:
        if not isinstance(self._message, C_STORE_RQ):
            raise ValueError("a data set that no C-STORE request announced")
        command: Any = self._message.command_set
        context = self._association._accepted_cx[self._message.context_id]
        if command.AffectedSOPClassUID != context.abstract_syntax:
            raise ValueError("an object of another class than was agreed upon")
        head = BytesIO()
        head.write(bytes(128) + b"DICM")
        meta = create_file_meta(
            sop_class_uid=command.AffectedSOPClassUID,
            sop_instance_uid=command.AffectedSOPInstanceUID,
            transfer_syntax=context.transfer_syntax[0],
        )
        write_file_meta_info(cast(Any, head), meta)  # any binary stream will do, whatever its annotation says
        sender = str(self._association.requestor.ae_title).strip()
        arriving = self._spool.begin(f"received from {sender}, {command.AffectedSOPInstanceUID}")
        arriving.write(head.getvalue())
        return arriving

    def settle(self) -> tuple[int, str | None]:
        """Bring the file to disk and say which status and comment its sender gets: 0 only if it is there."""
        with self._kept():
            if self._refusal is None and self._arriving is not None:
                self._arriving.finish()
        if self._refusal is not None:
            return self._refusal
        return (SUCCESS, None) if self._arriving is not None else (CANNOT_UNDERSTAND, "an empty data set")

    def discard(self) -> None:
        """Leave nothing of it behind."""
        if self._arriving is not None:
            self._arriving.discard()

    @contextmanager
    def _kept(self) -> Generator[None]:
        """A fault of the disk within the block refuses the file."""
        try:
            yield
        except DiskFullError as fault:
            _log.error("%s", fault)
            self._refuse(OUT_OF_RESOURCES, "the disk is full")
        except NodeError as fault:
            _log.error("%s", fault)
            self._refuse(PROCESSING_FAILURE, "it cannot be kept")

    def _refuse(self, status: int, comment: str) -> None:
        self._refusal = status, comment
        self.discard()


class _Server(ThreadedAssociationServer):
    """pynetdicom's server with strangers turned away at the door and TLS agreed upon in the connection's own thread."""

    daemon_threads = True
    receiver: Receiver
    tls_context: ssl.SSLContext | None

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether to talk to this address at all, now."""
        address = _plain(client_address[0])
        if not self.receiver.admits(address):
            self.receiver.refused(address)
            return False
        return len(self.active_associations) < 2 * self.receiver.associations

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Agree on TLS, if it is on, and hand the connection to pynetdicom. A peer that stalls holds up only itself."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request.settimeout(_HANDSHAKE_SECONDS)
        if self.tls_context is not None:
            request = self.tls_context.wrap_socket(request, server_side=True)
        request.settimeout(_NETWORK_SECONDS)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that came to nothing, such as a failed TLS handshake."""
        _log.warning("a connection from %s came to nothing", _plain(client_address[0]))


def _bound(connection: Any) -> None:
    """Let this connection's peer make us read no more at a time than a protocol data unit should be."""

    def receive(length: int) -> bytearray:
        if length > _LONGEST_PDU:
            raise OSError(f"a protocol data unit of {length} bytes")
        data = bytearray(length)
        view, at = memoryview(data), 0
        while at < length:
            got = connection.socket.recv_into(view[at:])
            if not got:
                return data[:at]
            at += got
        return data

    connection.recv = receive


def _wait_for_data(dul: Any) -> None:
    """Let this connection's thread wait for data in the kernel, where it would sleep and look by turns."""
    look = dul._is_transport_event

    def wait() -> bool:
        wire = dul.socket.socket if dul.socket is not None else None
        if wire is not None and wire.fileno() >= 0 and not (isinstance(wire, ssl.SSLSocket) and wire.pending()):
            select.select([wire], [], [], _LOOK_SECONDS)
        return look()

    dul._is_transport_event = wait
    dul._run_loop_delay = 0


def _address(association: Any) -> str:
    return _plain(str(association.requestor.address))


def _plain(address: str) -> str:
    """An IPv4 address that came over an IPv6 socket, as IPv4."""
    return address.removeprefix("::ffff:")


def _tls(settings: IntakeSettings) -> ssl.SSLContext | None:
    if not settings.tls_certificate:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(Path(settings.tls_certificate), Path(settings.tls_key))
        if settings.tls_authority:
            context.load_verify_locations(settings.tls_authority)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
    except (OSError, ssl.SSLError) as fault:
        raise IntakeSettingsError(
            f"the receiver's certificate or key cannot be used ({fault})",
            fix="check tls_certificate, tls_key and tls_authority in intake.toml",
        ) from fault
