"""A backup is the whole node or nothing, and says nothing without the key; what is restored knows that it is old."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ward import PASSWORD, ward

from medquorum.client.audit_log import AuditLog
from medquorum.client.disk import DiskFullError
from medquorum.client.errors import KeyFileError, NodeError, StoreError, TamperError
from medquorum.client.keys import open_node_key, read_key
from medquorum.client.network.settings import NetworkSettings
from medquorum.client.node import Node
from medquorum.client.operations.backup import Backup, _backup_key, back_up, restore
from medquorum.client.operations.certificate import certify, statement_of, write_certificate
from medquorum.client.operations.rekey import rekey
from medquorum.client.spool.stream import SealingWriter
from medquorum.client.store import NewInstance
from medquorum.client.witnesses import LedgerWitness, Witnesses
from medquorum.privacy.errors import LedgerError
from medquorum.privacy.events import GaussianSteps
from medquorum.privacy.heads import sign_head
from medquorum.privacy.identity import Identity
from medquorum.privacy.ledger import Ledger

Image = Callable[..., NewInstance]
ROUND = GaussianSteps(40.0, 1.0, 1)


@pytest.fixture
def node(tmp_path: Path, image: Image) -> Path:
    """A stopped node with two images and one charge; its key lies beside it as `kept.key` too."""
    folder = tmp_path / "node"
    with Node.create(folder, "a") as made:
        for number in range(2):
            made.store.add(image(number, content=b"MARKED" * 400_000))
        made.ledger.charge(b"p" * 32, "update", 1, 1, [ROUND], 0.5)
    NetworkSettings(folder, open_node_key(folder / "store")).create_keys()
    shutil.copy(folder / "store" / "node.key", tmp_path / "kept.key")
    return folder


@pytest.fixture
def backup(node: Path, tmp_path: Path) -> Backup:
    return back_up(node, tmp_path / "node.backup")


def test_what_is_restored_is_the_node_as_it_was(node: Path, backup: Backup, tmp_path: Path, image: Image) -> None:
    assert backup.path.stat().st_mode & 0o077 == 0
    stored = backup.path.read_bytes()
    assert not any(mark in stored for mark in (b"MARKED", b"SQLite", b"policy", read_key(tmp_path / "kept.key")))
    manifest = restore(backup.path, tmp_path / "again", tmp_path / "kept.key")
    assert (manifest.site, manifest.images, manifest.charges) == ("a", 2, 1)
    left_out = {"node.key", "store.lock", "cache.db", "store.db-wal"}
    for path in node.rglob("*"):
        if path.is_file() and path.name not in left_out:
            assert (tmp_path / "again" / path.relative_to(node)).is_file(), path
    with Node.open(tmp_path / "again") as opened:
        assert [opened.store.content(row.id)[:6] for row in opened.store.instances()] == [b"MARKED"] * 2
        assert len(opened.ledger.charges()) == 1
        log = AuditLog(opened.store.folder, open_node_key(opened.store.folder))
        kinds = [entry.kind for entry in log.entries()]
        assert "backup" in kinds and kinds[-2:] == ["restore", "access"]
    assert open_node_key(tmp_path / "again" / "store") == open_node_key(node / "store")
    assert not list(tmp_path.glob(".*"))


def test_without_the_right_key_nothing_is_restored(node: Path, backup: Backup, tmp_path: Path) -> None:
    rekey(node / "store")
    for key, says in ((node / "store" / "node.key", "no backup that this key opens"), (tmp_path / "x", "missing")):
        with pytest.raises((StoreError, KeyFileError), match=says):
            restore(backup.path, tmp_path / "again", key)
    assert not (tmp_path / "again").exists()
    restore(backup.path, tmp_path / "again", tmp_path / "kept.key")


def test_a_damaged_or_cut_backup_restores_nothing(backup: Backup, tmp_path: Path) -> None:
    whole = backup.path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (bytes(flipped), whole[: len(whole) // 2], whole[:-1], whole + b"x", b"", b"MQW1"):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(StoreError):
            restore(tmp_path / "bad", tmp_path / "again", tmp_path / "kept.key")
        assert not (tmp_path / "again").exists()
        assert not list(tmp_path.glob(".*"))


def test_nothing_is_restored_or_written_over_what_is_there(node: Path, backup: Backup, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="over what is there"):
        restore(backup.path, node, tmp_path / "kept.key")
    with pytest.raises(NodeError, match="there already"):
        back_up(node, backup.path)
    with pytest.raises(NodeError, match="inside the node"):
        back_up(node, node / "x")


def test_a_running_node_is_not_backed_up(node: Path, tmp_path: Path) -> None:
    with Node.open(node), pytest.raises(StoreError, match="already open in process"):
        back_up(node, tmp_path / "x.backup")
    assert not (tmp_path / "x.backup").exists()


@pytest.mark.parametrize("at", [2, 5])
def test_a_full_disk_leaves_no_half_backup(
    node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    real, calls = os.fstat, [0]

    def full(descriptor: int) -> os.stat_result:
        calls[0] += 1
        if calls[0] > at and any(tmp_path.glob(".*.part")):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", full)
        with pytest.raises(DiskFullError, match="does not fit"):
            back_up(node, tmp_path / "x.backup")
    assert not (tmp_path / "x.backup").exists() and not list(tmp_path.glob(".*"))
    back_up(node, tmp_path / "x.backup")


def test_names_that_lead_out_of_the_folder_are_refused(backup: Backup, tmp_path: Path) -> None:
    class Out(io.BytesIO):
        pass

    plain = Out()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        about = b'{"site":"a","at":"","version":"","images":0,"charges":0}'
        for name, content in (("medquorum-backup.json", about), ("../outside", b"x")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with (tmp_path / "evil").open("wb") as file:
        sealing = SealingWriter(file, _backup_key(read_key(tmp_path / "kept.key")))
        sealing.write(plain.getvalue())
        sealing.finish()
    with pytest.raises(TamperError, match="outside"):
        restore(tmp_path / "evil", tmp_path / "again", tmp_path / "kept.key")
    assert not (tmp_path / "outside").exists()


def test_an_erased_patient_does_not_come_back(node: Path, backup: Backup, tmp_path: Path) -> None:
    identity = NetworkSettings(node, open_node_key(node / "store")).identity()
    with Node.open(node) as opened:
        gone, other = (row.id for row in opened.store.patients())
        erasure = opened.store.erase(gone)
    statement = statement_of("a", erasure, 1, b"h" * 32)
    write_certificate(certify(identity, statement), tmp_path / "certificates")
    forged = statement_of("a", erasure, 1, b"h" * 32)
    stranger = certify(Identity.create(), forged)
    write_certificate(stranger, tmp_path / "forged")
    restore(backup.path, tmp_path / "forgotten", tmp_path / "kept.key", tmp_path / "forged")
    restore(backup.path, tmp_path / "again", tmp_path / "kept.key", tmp_path / "certificates")
    with Node.open(tmp_path / "forgotten") as opened:
        assert {row.id for row in opened.store.patients()} == {gone, other}, "another's word erases nobody"
    with Node.open(tmp_path / "again") as opened:
        assert [row.id for row in opened.store.patients()] == [other]


def test_a_restored_ledger_is_not_charged_before_a_peer_has_spoken(node: Path, backup: Backup, tmp_path: Path) -> None:
    """Restored to before its first sum it knows of no witness; it asks for one all the same."""
    restore(backup.path, tmp_path / "again", tmp_path / "kept.key")
    kept, ledger = Witnesses(tmp_path / "again" / "witnesses.sqlite"), Ledger.open(tmp_path / "again" / "ledger.sqlite")
    identity = NetworkSettings(node, open_node_key(node / "store")).identity()
    witness = LedgerWitness("a", ledger, kept, 1)
    with pytest.raises(LedgerError, match="a newer ledger than this one might exist"):
        witness.compare({"b": None, "c": None}, identity.public)
    LedgerWitness("a", ledger, kept, 0).compare({"b": None}, identity.public)  # a person has made sure
    assert kept.doubted()
    newer = Ledger.open(node / "ledger.sqlite")
    newer.charge(b"q" * 32, "update", 1, 1, [ROUND], 0.5)
    claim = sign_head(identity, newer.head(), bytes(32))
    witness.compare({"b": claim, "c": None}, identity.public)
    assert ledger.head().cost.epsilon == newer.head().cost.epsilon
    assert not kept.doubted()
    witness.compare({"b": None, "c": None}, identity.public)


def test_accounts_come_back_and_nobody_is_signed_in(node: Path, tmp_path: Path) -> None:
    with ward(node) as here:
        here.reader("anna", "admin")
        secret = here.signing_in.by_password("anna", PASSWORD, "10.0.0.1", "").secret
    back_up(node, tmp_path / "again.backup")
    restore(tmp_path / "again.backup", tmp_path / "again", tmp_path / "kept.key")
    with ward(tmp_path / "again") as there:
        assert [(one.name, one.role, one.sessions) for one in there.accounts.all()] == [("anna", "admin", 0)]
        assert there.signing_in.session(secret) is None
        assert there.signing_in.by_password("anna", PASSWORD, "10.0.0.1", "").name == "anna"


def test_another_key_of_the_node_changes_nothing_for_who_signs_in(node: Path) -> None:
    with ward(node) as here:
        here.reader("anna", "admin")
        secret = here.signing_in.by_password("anna", PASSWORD, "10.0.0.1", "").secret
        rekey(node / "store")
        assert here.signing_in.session(secret) is not None
