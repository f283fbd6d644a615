"""The audit log grows and does nothing else: what is edited, taken out or cut off is found."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medquorum.client.annotations import Annotation, new_id, utc_now
from medquorum.client.audit_log import HEAD, LOG, AuditLog
from medquorum.client.disk import DiskFullError
from medquorum.client.errors import TamperError
from medquorum.client.keys import NodeKey, open_node_key
from medquorum.client.store import NewInstance, Store

KEY = NodeKey(b"k" * 32)


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    made = AuditLog(tmp_path, KEY)
    for number in range(5):
        made.append("review", "Dr. Marked", instance=f"{number:032x}")
    return made


def log_of(store: Store) -> AuditLog:
    return AuditLog(store.folder, open_node_key(store.folder))


def lines(folder: Path) -> list[bytes]:
    return (folder / LOG).read_bytes().splitlines(keepends=True)


def test_what_was_noted_is_read_back_in_order(log: AuditLog, tmp_path: Path) -> None:
    entries = list(log.entries())
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]
    assert {(entry.kind, entry.who) for entry in entries} == {("review", "Dr. Marked")}
    assert [entry.what["instance"] for entry in entries] == [f"{number:032x}" for number in range(5)]
    assert log.verify() == log.head() == AuditLog(tmp_path, KEY).head()
    assert b"Marked" not in (tmp_path / LOG).read_bytes()
    assert all((tmp_path / name).stat().st_mode & 0o077 == 0 for name in (LOG, HEAD))


def swap(a: int, b: int) -> Callable[[list[bytes]], list[bytes]]:
    def change(kept: list[bytes]) -> list[bytes]:
        kept[a], kept[b] = kept[b], kept[a]
        return kept

    return change


def edited(kept: list[bytes]) -> list[bytes]:
    """An entry's time changed, and its hash made to fit again."""
    plain = json.loads(kept[2])
    plain["at"] = "2020-01-01T00:00:00.000+00:00"
    return [*kept[:2], json.dumps(plain, separators=(",", ":")).encode() + b"\n", *kept[3:]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda kept: kept[:2] + kept[3:], "changed at entry 3", id="middle"),
        pytest.param(lambda kept: kept[1:], "changed at entry 1", id="first"),
        pytest.param(lambda kept: kept[:4], "1 entries are missing from the end", id="last"),
        pytest.param(lambda kept: [], "5 entries are missing from the end", id="all"),
        pytest.param(lambda kept: [*kept[:3], kept[2], *kept[3:]], "changed at entry 4", id="twice"),
        pytest.param(swap(1, 2), "changed at entry 2", id="swapped"),
        pytest.param(edited, "changed at entry 3", id="edited"),
        pytest.param(lambda kept: [*kept, b'{"n":6}\n'], "changed at entry 6", id="forged"),
    ],
)
def test_whatever_is_done_to_its_lines_is_found(
    log: AuditLog, tmp_path: Path, change: Callable[[list[bytes]], list[bytes]], says: str
) -> None:
    (tmp_path / LOG).write_bytes(b"".join(change(lines(tmp_path))))
    with pytest.raises(TamperError, match=says):
        log.verify()


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_any_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    folder = tmp_path_factory.mktemp("flip")
    log = AuditLog(folder, KEY)
    log.append_many("charge", "coordinator", [{"round": number} for number in range(3)])
    stored = bytearray((folder / LOG).read_bytes())
    stored[at % len(stored)] ^= 1 << bit
    (folder / LOG).write_bytes(stored)
    with pytest.raises(TamperError):
        log.verify()


def test_a_log_that_was_cut_takes_no_more_entries_until_a_person_begins_again(log: AuditLog, tmp_path: Path) -> None:
    (tmp_path / LOG).write_bytes(b"".join(lines(tmp_path)[:3]))
    with pytest.raises(TamperError, match="shorter than its head says"):
        log.append("review", "x")
    aside = log.begin_again("admin")
    assert aside is not None and len(aside.read_bytes().splitlines()) == 3
    assert [entry.kind for entry in log.entries()] == ["break"]
    log.append("review", "x")
    assert log.verify().entries == 2


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"entries": 3, "hash": "00", "size": 1, "mac": "00"}'])
def test_a_head_that_is_gone_or_made_up_is_found(log: AuditLog, tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / HEAD).unlink()
    if content is not None:
        (tmp_path / HEAD).write_bytes(content)
    with pytest.raises(TamperError, match=r"head is missing|head was changed"):
        log.verify()


def test_log_and_head_set_back_together_are_found_by_the_database(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    Store.create(folder, "a").close()
    with Store.open(folder) as store:
        store.set_setting("x", "1")
    for name in (LOG, HEAD):
        shutil.copy(folder / name, tmp_path / name)
    with Store.open(folder) as store:
        store.set_setting("x", "2")
        log_of(store).verify(store.audit_head())
    for name in (LOG, HEAD):
        shutil.copy(tmp_path / name, folder / name)
    log_of(store).verify()  # beside each other they fit
    for _ in range(2):
        with Store.open(folder) as store:
            store.set_setting("x", "3")
            with pytest.raises(TamperError, match="the store's database"):
                log_of(store).verify(store.audit_head())
    with Store.open(folder) as store:
        assert store.begin_audit_again(log_of(store)) is not None
        assert log_of(store).verify(store.audit_head()).entries == 1


def test_a_line_that_a_power_cut_tore_is_no_tampering_and_one_that_lost_its_head_counts(
    log: AuditLog, tmp_path: Path
) -> None:
    older = (tmp_path / HEAD).read_bytes()
    log.append("export", "someone")
    (tmp_path / HEAD).write_bytes(older)
    with (tmp_path / LOG).open("ab") as file:
        file.write(b'{"n":7,"at":"2026-')
    assert log.verify().entries == 6
    log.append("export", "another")
    assert [entry.who for entry in log.entries()][-2:] == ["someone", "another"]
    assert log.verify().entries == 7


def _append(folder: Path, who: str) -> None:
    log = AuditLog(folder, KEY)
    for number in range(20):
        log.append("access", who, number=number)


def test_processes_append_beside_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append, args=(tmp_path, f"p{number}")) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    log = AuditLog(tmp_path, KEY)
    assert log.verify().entries == 80
    assert sorted((entry.who, entry.what["number"]) for entry in log.entries()) == [
        (f"p{worker}", number) for worker in range(4) for number in range(20)
    ]


def test_a_full_disk_is_said_and_what_was_noted_stays(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFullError, match="audit log"):
            log.append("review", "x")
    assert AuditLog(tmp_path, KEY).verify().entries >= 5


def test_the_store_notes_what_is_done_in_it_and_names_nobody(store: Store, image: Callable[..., NewInstance]) -> None:
    kept = store.add(image(1, patient_id="MARKED1", source="MARKED.dcm"))
    store.annotate(
        Annotation(new_id(), kept.instance, 0, "reader", utc_now(), None, None, (("f", "present"),), (), 1, 1.0, None)
    )
    store.consent(kept.patient, "opt_out", date(2026, 1, 1))
    item = store.quarantine("MARKED2.dcm", "truncated", "MARKED", b"MARKED")
    store.delete_quarantined(item)
    store.erase(kept.patient)
    entries = list(log_of(store).entries())
    assert [entry.kind for entry in entries] == ["import", "review", "consent", "quarantine", "quarantine", "erasure"]
    assert entries[1].who == "reader" and entries[1].what["instance"] == kept.instance
    assert entries[2].what == {"patient": kept.patient, "says": "opt_out", "on": "2026-01-01"}
    assert "MARKED" not in repr(entries)
    assert log_of(store).verify(store.audit_head()).entries == 6


def test_what_cannot_be_noted_is_not_done(store: Store, image: Callable[..., NewInstance]) -> None:
    kept = store.add(image(1))
    (store.folder / LOG).write_bytes(b"")
    with pytest.raises(TamperError, match="begin-again"):
        store.consent(kept.patient, "opt_out", date(2026, 1, 1))
    with pytest.raises(TamperError):
        store.erase(kept.patient)
    assert [row.id for row in store.patients()] == [kept.patient]
    assert store.verify().events == 1
