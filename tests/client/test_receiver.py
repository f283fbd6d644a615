"""The DICOM receiver: who may send, what status 0 promises, and what is left of what did not arrive."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import struct
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from modalities import HOME, KEY, PIXELS, VERIFICATION, image, names, sending
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from medquorum.client.audit_log import AuditLog
from medquorum.client.intake.receiver import Receiver
from medquorum.client.intake.settings import IntakeSettings, IntakeSettingsError
from medquorum.client.pixels import open_dicom
from medquorum.client.spool import Spool


def wait_until(holds: object, seconds: float = 10.0) -> None:
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_what_is_sent_waits_in_the_spool_as_a_whole_file(spool: Spool, tmp_path: Path) -> None:
    with Receiver(spool, HOME) as receiver, sending(receiver) as association:
        assert association.send_c_echo().Status == 0
        for number in (1, 2):
            assert association.send_c_store(image(number)).Status == 0
            assert len(spool.waiting()) == number  # on disk before the status was read
    first, second = (spool.read(entry) for entry in spool.waiting())
    assert first.source == "received from MODALITY, 1.2.3.1" and second.source == "received from MODALITY, 1.2.3.2"
    opened = open_dicom(first.content)
    assert opened.PatientID == "P1" and opened.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    np.testing.assert_array_equal(opened.pixel_array, PIXELS)
    on_disk = b"".join(path.read_bytes() for path in (tmp_path / "spool").iterdir())
    assert b"P1" not in on_disk and b"1.2.3.1" not in on_disk and b"CHEST" not in on_disk
    assert all("1.2.3" not in path.name for path in (tmp_path / "spool").iterdir())


@pytest.mark.parametrize(
    ("title", "called", "peers"),
    [
        ("STRANGER", "MEDQUORUM", ("MODALITY",)),
        ("MODALITY", "OTHERNODE", ("MODALITY",)),
        ("MODALITY", "MEDQUORUM", ("MODALITY@192.0.2.1", "PACS@127.0.0.1")),
    ],
    ids=["calling-title", "called-title", "address"],
)
def test_strangers_are_rejected(spool: Spool, title: str, called: str, peers: tuple[str, ...]) -> None:
    settings = IntakeSettings(port=0, peers=peers)
    with Receiver(spool, settings) as receiver, sending(receiver, title, called) as association:
        assert not association.is_established and association.is_rejected
    assert spool.waiting() == []


def test_refusals_are_noted_once(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    trail = AuditLog(tmp_path / "store", KEY)
    with Receiver(spool, HOME, trail) as receiver:
        for _ in range(3):
            with sending(receiver, "STRANGER") as association:
                assert association.is_rejected
    (entry,) = list(trail.entries())
    assert entry.kind == "refusal" and entry.what == {"address": "127.0.0.1", "ae_title": "STRANGER"}


def test_an_address_that_nobody_may_send_from_is_not_talked_to(spool: Spool) -> None:
    with Receiver(spool, IntakeSettings(port=0, peers=("MODALITY@192.0.2.1",))) as receiver:
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=5) as stranger:
            assert stranger.recv(1) == b""  # closed at once
        with sending(receiver) as association:
            assert not association.is_established


def test_only_images_are_agreed_upon(spool: Spool) -> None:
    with Receiver(spool, HOME) as receiver, sending(receiver) as association:
        agreed = {context.abstract_syntax for context in association.accepted_contexts}
    assert DigitalXRayImageStorageForPresentation in agreed and BasicTextSRStorage not in agreed


def test_without_peers_it_does_not_start(spool: Spool) -> None:
    with pytest.raises(IntakeSettingsError, match="nobody may send") as caught:
        Receiver(spool, IntakeSettings(port=0))
    assert "peers" in caught.value.fix


def test_a_port_in_use_is_one_clear_line(spool: Spool) -> None:
    with Receiver(spool, HOME) as receiver, pytest.raises(IntakeSettingsError, match="cannot listen"):
        Receiver(spool, IntakeSettings(port=receiver.port, peers=("MODALITY",)))


def full_after(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """From now on the disk takes `allowed` more bytes in files of the spool."""
    real, left = os.write, [allowed]

    def write(descriptor: int, data: bytes) -> int:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".part":
            if left[0] < len(data):
                raise OSError(errno.ENOSPC, "No space left on device")
            left[0] -= len(data)
        return real(descriptor, data)

    monkeypatch.setattr("medquorum.client.spool.spool.os.write", write)


def test_a_disk_that_fills_up_in_the_middle_is_out_of_resources_and_loses_nothing(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.zeros((1500, 1000), np.uint16)
    with Receiver(spool, HOME) as receiver, sending(receiver) as association:
        assert association.send_c_store(image(1)).Status == 0
        with monkeypatch.context() as patched:
            full_after(patched, 2 << 20)
            status = association.send_c_store(image(2, large))
            assert (status.Status, status.ErrorComment) == (0xA700, "the disk is full")
            assert len(spool.waiting()) == 1
        assert names(tmp_path / "spool") == [".entry"]  # nothing half-written is left
        assert association.send_c_store(image(2, large)).Status == 0  # the same association, once there is room
    assert [open_dicom(spool.read(entry).content).PatientID for entry in spool.waiting()] == ["P1", "P2"]


def test_a_sync_that_fails_is_no_success(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with Receiver(spool, HOME) as receiver, sending(receiver) as association:
        with monkeypatch.context() as patched:
            patched.setattr("medquorum.client.spool.spool.os.fsync", failing)
            assert association.send_c_store(image()).Status == 0x0110
        assert names(tmp_path / "spool") == []
        assert association.send_c_store(image()).Status == 0


def test_too_little_free_disk_is_said_before_anything_is_written(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", KEY, free_bytes=1 << 60)
    with Receiver(spool, HOME) as receiver, sending(receiver) as association:
        assert association.send_c_store(image()).Status == 0xA700
    assert names(tmp_path / "spool") == []


def test_a_file_larger_than_allowed_is_refused_and_not_kept(spool: Spool, tmp_path: Path) -> None:
    settings = IntakeSettings(port=0, peers=("MODALITY",), file_megabytes=1)
    with Receiver(spool, settings) as receiver, sending(receiver) as association:
        status = association.send_c_store(image(1, np.zeros((1000, 1000), np.uint16)))
        assert (status.Status, status.ErrorComment) == (0xA700, "larger than 1 MB")
        assert association.send_c_store(image(2)).Status == 0
    assert len(spool.waiting()) == 1


def test_a_sender_that_hangs_up_leaves_nothing_half(spool: Spool, tmp_path: Path) -> None:
    """The connection is cut after the first fragments of a data set of which more was announced."""
    with Receiver(spool, HOME) as receiver, sending(receiver) as association:
        context = next(c for c in association.accepted_contexts if c.abstract_syntax != VERIFICATION)
        command = Dataset()
        command.AffectedSOPClassUID = DigitalXRayImageStorageForPresentation
        command.CommandField, command.MessageID, command.Priority, command.CommandDataSetType = 1, 1, 0, 0
        command.AffectedSOPInstanceUID = "1.2.3.9"
        from pynetdicom.dsutils import encode

        encoded = encode(command, True, True)
        assert encoded is not None
        group = struct.pack("<HHII", 0, 0, 4, len(encoded)) + encoded
        wire = association.dul.socket.socket
        for control, data in ((0x03, group), (0x00, bytes(200_000))):
            item = struct.pack(">IBB", len(data) + 2, context.context_id, control) + data
            wire.sendall(struct.pack(">BBI", 4, 0, len(item)) + item)
        wait_until(lambda: names(tmp_path / "spool") == [".part"])
        wire.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: names(tmp_path / "spool") == [])
        with sending(receiver) as another:
            assert another.send_c_store(image()).Status == 0
    assert len(spool.waiting()) == 1


def test_a_giant_protocol_data_unit_is_not_waited_for(spool: Spool) -> None:
    """Its header announces 800 MB: the connection ends there, and nothing of that size is ever allocated."""
    with Receiver(spool, HOME) as receiver, socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as wire:
        wire.sendall(struct.pack(">BBI", 1, 0, 800 << 20))
        assert wire.recv(100) == b""


@pytest.mark.parametrize(
    "junk",
    [b"", b"\x01", b"GET / HTTP/1.1\r\n\r\n", b"\x04\x00\x00\x00\x00\x06" + bytes(6)],
    ids=["silence", "one-byte", "http", "data"],
)
def test_junk_ends_one_connection_and_no_other(spool: Spool, junk: bytes) -> None:
    with Receiver(spool, HOME) as receiver:
        with socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as wire:
            wire.sendall(junk)
            wire.shutdown(socket.SHUT_WR)
        with sending(receiver) as association:
            assert association.send_c_store(image()).Status == 0


def test_a_received_uid_that_is_none_is_refused(spool: Spool, tmp_path: Path) -> None:
    hostile = image()
    with Receiver(spool, HOME) as receiver, sending(receiver) as association:
        from pynetdicom import _config

        assert _config.ENFORCE_UID_CONFORMANCE
        command_uid = "1.2.3./../../etc/passwd"
        hostile.SOPInstanceUID = command_uid
        try:
            status = association.send_c_store(hostile)
            assert status.get("Status", None) != 0
        except (ValueError, RuntimeError):
            pass  # our own sender, checked by the same library, may refuse to send it
    assert spool.waiting() == [] and names(tmp_path / "spool") == []


def test_senders_at_the_same_time_do_not_mix(spool: Spool) -> None:
    with Receiver(spool, HOME) as receiver:

        def send(start: int) -> None:
            with sending(receiver) as association:
                for number in range(start, start + 5):
                    pixels = np.full((64, 64), number, np.uint16)
                    assert association.send_c_store(image(number, pixels)).Status == 0

        threads = [threading.Thread(target=send, args=(100 * n,)) for n in range(1, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [open_dicom(spool.read(entry).content) for entry in spool.waiting()]
    assert sorted(int(str(one.SOPInstanceUID).rpartition(".")[2]) for one in found) == sorted(
        100 * n + k for n in range(1, 4) for k in range(5)
    )
    assert all((one.pixel_array == int(str(one.SOPInstanceUID).rpartition(".")[2])).all() for one in found)


def certificates(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for "node", and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("node")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "node.pem", folder / "node.key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private


def test_tls_and_a_stalled_handshake_holds_up_nobody(spool: Spool, tmp_path: Path) -> None:
    pem, private = certificates(tmp_path)
    settings = IntakeSettings(
        port=0, peers=("MODALITY",), tls_certificate=str(pem), tls_key=str(private), tls_authority=str(pem)
    )
    context = ssl.create_default_context(cafile=str(pem))
    context.load_cert_chain(pem, private)
    with (
        Receiver(spool, settings) as receiver,
        socket.create_connection(("127.0.0.1", receiver.port)),  # says nothing
        sending(receiver, tls=context) as association,
    ):
        assert association.send_c_store(image()).Status == 0
        with sending(receiver) as plain:
            assert not plain.is_established
    assert len(spool.waiting()) == 1


def test_a_certificate_that_is_none_is_one_clear_line(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    settings = IntakeSettings(
        port=0, peers=("A",), tls_certificate=str(tmp_path / "x.pem"), tls_key=str(tmp_path / "x.pem")
    )
    with pytest.raises(IntakeSettingsError, match="certificate or key"):
        Receiver(spool, settings)
