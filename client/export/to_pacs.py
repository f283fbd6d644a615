"""Results to a PACS by C-STORE (PS3.4 annex B): an echo first, one association, the answer to each object read."""

from __future__ import annotations

import socket
import ssl
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SegmentationStorage,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # pyright: ignore[reportAttributeAccessIssue]  made at import

from .destination import Proof
from .errors import ExportRequestError, NotTakenError, PacsError
from .objects import Made
from .pacs import Pacs

_PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
# PS3.4 table B.2-1: stored, although something was changed or left out on the way.
_STORED_CHANGED = frozenset({0xB000, 0xB006, 0xB007})
_REASONS = {
    0x0122: "it does not take this kind of object",
    0x0124: "it does not allow us to store",
    0x0110: "it failed while processing",
}
_SECONDS = 30.0


class StoreDestination:
    """A PACS that takes objects by C-STORE. Raises PacsError unless it answers an echo.

    seconds: how long it may take to answer anything.
    """

    def __init__(self, pacs: Pacs, seconds: float = _SECONDS) -> None:
        self._pacs = pacs
        entity = AE(ae_title=pacs.calling)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = seconds
        entity.add_requested_context(Verification)
        entity.add_requested_context(ComprehensiveSRStorage, _PLAIN)
        # Two contexts, since a PACS chooses one transfer syntax of each: it takes RLE, or it is sent plain pixels.
        entity.add_requested_context(SegmentationStorage, RLELossless)
        entity.add_requested_context(SegmentationStorage, _PLAIN)
        self._entity = entity
        self._association = self._associate()

    def _associate(self) -> Association:
        pacs = self._pacs
        association = self._entity.associate(
            pacs.host,
            pacs.port,
            ae_title=pacs.called,
            evt_handlers=[(evt.EVT_CONN_OPEN, _without_delay)],
            tls_args=(_context(pacs), pacs.host) if pacs.tls else None,
        )
        if not association.is_established:
            said = "refuses the association" if association.is_rejected else "cannot be reached"
            raise PacsError(
                f"the PACS {said}",
                where=self._where,
                fix=f"check host and port, and that it knows {pacs.calling} and answers to {pacs.called}",
            )
        if _status(association.send_c_echo()) != 0:
            association.abort()
            raise PacsError("the PACS does not answer an echo", where=self._where, fix="ask the PACS's administrator")
        return association

    @property
    def _where(self) -> str:
        return f"{self._pacs.name} ({self._pacs.called}@{self._pacs.host}:{self._pacs.port})"

    @property
    def name(self) -> str:
        return self._pacs.name

    @property
    def remembered(self) -> bool:
        return True

    def holds(self, made: Made) -> bool:
        return False

    def save(self, made: Made) -> Proof:
        if not self._association.is_established:
            # Making an object of a large image takes longer than some PACS keep a silent association.
            self._association = self._associate()
        dataset = self._sendable(made)
        status = _status(self._association.send_c_store(dataset))
        if status is None:
            raise PacsError(
                "the PACS broke off before it said that it has the object",
                where=self._where,
                fix="export again when it is back; what it said it has is not sent twice",
            )
        if status in _STORED_CHANGED:
            return "stored with changes"
        if status != 0:
            said = _REASONS.get(status, "it has no room" if status & 0xFF00 == 0xA700 else "it gives no reason we know")
            raise NotTakenError(
                f"the PACS did not store the object: {said} (status {status:04X})",
                where=self._where,
                fix="ask the PACS's administrator, then export again",
            )
        return "answered"

    def close(self) -> None:
        if self._association.is_established:
            self._association.release()

    def _sendable(self, made: Made) -> Dataset:
        """The object in a transfer syntax that the PACS accepted."""
        dataset = dcmread(BytesIO(made.data))
        accepted = [
            context.transfer_syntax[0]
            for context in self._association.accepted_contexts
            if context.abstract_syntax == made.sop_class
        ]
        if not accepted:
            raise NotTakenError(
                f"the PACS takes no {made.kind} (SOP class {made.sop_class})",
                where=self._where,
                fix="let it accept this SOP class, or export to a folder",
            )
        if dataset.file_meta.TransferSyntaxUID == RLELossless and RLELossless not in accepted:
            dataset.decompress(generate_instance_uid=False)
        return dataset


def _status(answer: Dataset) -> int | None:
    """The status that was answered; None where no answer came."""
    return int(answer.Status) if "Status" in answer else None


def _without_delay(event: Event) -> None:
    """Send small packets at once (TCP_NODELAY): waiting for acknowledgements cost nine tenths of the time."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _context(pacs: Pacs) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if pacs.authority is None else str(pacs.authority))
    except (OSError, ssl.SSLError) as fault:
        raise ExportRequestError(
            f"the certificate cannot be used ({fault})", where=str(pacs.authority), fix="give a certificate in PEM"
        ) from fault
